"""A small index and its training points, shared by tests of the index."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch

from learned_index import IndexConfig, LearnedGraphIndex, TrainingConfig

L, D = 120, 16
SMALL = IndexConfig(n_clusters=12, beam_width=3, edges_per_cluster=40)
QUICK = TrainingConfig(stage1_epochs=2, stage2_epochs=2, batch_size=64)


def planted(n=1500, seed=0):
    """Each point is the sum of its two labels' vectors and noise."""
    rng = np.random.default_rng(7)
    centres = rng.normal(size=(L, D))
    rng = np.random.default_rng(seed)
    pairs = rng.integers(0, L, size=(n, 2))
    X = centres[pairs].sum(1) + 0.2 * rng.normal(size=(n, D))
    Y = sp.csr_matrix((np.ones(2 * n), (np.repeat(np.arange(n), 2), pairs.ravel())), shape=(n, L))
    return X.astype(np.float32), (Y > 0).astype(np.float32).tocsr()


def small_index(*, shortlist_size=9, projection="residual", routing="flat", seed=0):
    """Routing: flat; all: deep, all clusters scored in training; candidates: deep, some."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(60, 6)).astype(np.float32)
    Y = sp.csr_matrix((rng.random((60, 24)) < 0.1).astype(np.float32))
    Y[:, 0] = 1
    index = LearnedGraphIndex(
        IndexConfig(
            n_clusters=5,
            edges_per_cluster=10,
            beam_width=2,
            shortlist_size=shortlist_size,
            router_scale=3.0,
            projection=projection,
            hierarchy="flat" if routing == "flat" else "deep",
            n_regions=None if routing == "flat" else 3,
            edges_per_region=4,
            region_scale=2.0,
            region_beam_width=1,
            candidate_clusters=3,
        ),
        training=TrainingConfig(
            router_init_scale=1.0,
            label_init_bias=-1.0,
            region_loss_weight=0.7,
            cluster_softmax="auto" if routing == "flat" else routing,
            seed=seed,
        ),
    )
    index.build_partition(X, Y).build_graph(X, Y)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in index.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return index, torch.from_numpy(X[:7]), Y[:7]
