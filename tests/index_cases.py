"""A small index and its training points, shared by tests of the index."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from learned_index import IndexConfig, TrainingConfig

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
