"""An index and queries of a given shape, with random contents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from learned_index import IndexConfig, LearnedGraphIndex, TrainingConfig
from learned_index.index.graph import ClusterLabelGraph


@dataclass(frozen=True)
class Shape:
    """Sizes of a run; see the legend in ``learned_index.types``.

    Attributes:
        n_points: N, training points of an epoch.
        n_labels: L.
        dim: D.
        n_clusters: C.
        batch: B.
        beam_width: W.
        shortlist_size: K.
        positives: Labels of a point.
        tokens: Length of a text.
        k: Results of a query in search.
    """

    n_points: int = 294_805
    n_labels: int = 131_073
    dim: int = 768
    n_clusters: int = 2048
    batch: int = 512
    beam_width: int = 20
    shortlist_size: int = 2000
    positives: int = 3
    tokens: int = 32
    k: int = 100


SMALL = Shape(
    n_points=2000, n_labels=600, dim=24, n_clusters=16, batch=8, beam_width=3,
    shortlist_size=40, positives=2, tokens=6, k=10,
)  # fmt: skip
"""Runs anywhere in seconds and shows nothing but that it runs."""


def make_index(shape: Shape, *, seed: int, device: torch.device) -> LearnedGraphIndex:
    """A learned graph: every label in its own cluster and in nine random ones.

    Edges of a cluster number 10 L / C, as the default has it, so clusters overlap as much as
    trained ones may; which labels they hold is random, which is the hardest case for caches.
    """
    rng = np.random.default_rng(seed)
    L, C = shape.n_labels, shape.n_clusters
    M = -(-10 * L // C)
    own = -(-L // C)
    edges = np.full((C, M), -1, np.int32)
    for c in range(C):
        first = np.arange(c * own, min((c + 1) * own, L))
        others = rng.choice(L, size=min(M, L), replace=False)
        row = np.concatenate([first, np.setdiff1d(others, first, assume_unique=True)])[:M]
        edges[c, : len(row)] = rng.permutation(row)
    index = LearnedGraphIndex(
        IndexConfig(
            n_clusters=C,
            beam_width=shape.beam_width,
            shortlist_size=shape.shortlist_size,
            projection="none",
            hierarchy="flat",
        ),
        training=TrainingConfig(batch_size=shape.batch),
    )
    index.allocate(dim=shape.dim, n_labels=L, n_clusters=C)
    generator = torch.Generator().manual_seed(seed)
    index.graph = ClusterLabelGraph(
        torch.from_numpy(edges),
        L,
        edge_logits_CM=torch.rand(C, M, generator=generator),
        scale=L / C,
    )
    with torch.no_grad():
        index.router.weight_CD.normal_(generator=generator)
        index.label_weight_LD.normal_(std=shape.dim**-0.5, generator=generator)
        index.label_bias_L.fill_(-2.0)
    return index.to(device)


def make_queries(shape: Shape, *, seed: int, device: torch.device) -> torch.Tensor:
    """Vectors of length 1, float32 B x D."""
    generator = torch.Generator().manual_seed(seed)
    x_BD = torch.randn(shape.batch, shape.dim, generator=generator)
    return torch.nn.functional.normalize(x_BD, dim=1).to(device)


def make_positives(shape: Shape, *, seed: int, device: torch.device) -> torch.Tensor:
    """Different labels of each point, int64 B x P."""
    rng = np.random.default_rng(seed)
    rows = [
        rng.choice(shape.n_labels, size=shape.positives, replace=False) for _ in range(shape.batch)
    ]
    return torch.from_numpy(np.stack(rows)).to(device)
