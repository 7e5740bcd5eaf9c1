"""The classifiers of the sparse ranker trained in parallel, each label on its own points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from learned_index.kernels.machine.parallel import collect_ranges, split_by_weight
from learned_index.ranking.config import RankerConfig
from learned_index.ranking.dual_descent import train_labels
from learned_index.ranking.float_weights import FloatWeights, no_weights, row_offsets
from learned_index.ranking.hard_points import HardPoints
from learned_index.ranking.margin_parts import RankerPoints
from learned_index.system.threads import current_threads
from learned_index.types import Float32Array

RankerProgress = Callable[[int, int], None]
"""Called as ``progress(labels_done, labels_total)``."""
_CHUNK_WORK = 400_000
"""(label, point) pairs per piece of work: small enough that threads end together."""


def trained_weights(
    config: RankerConfig,
    x: RankerPoints,
    hard: HardPoints,
    alphas: Float32Array,
    n_features: int,
    progress: RankerProgress | None,
    prior: FloatWeights | None = None,
) -> FloatWeights:
    """Train the labels in parallel, each on its own points; near a prior if there is one."""
    n_labels, dim = len(hard.label_indptr) - 1, x.dense.shape[1]
    norms_N = _squared_norms(x)
    costs = np.array([config.cost, config.cost * config.positive_cost], np.float32)
    prior = no_weights(n_labels, dim) if prior is None else prior
    weight_LD, bias_L = prior.weight_LD.copy(), prior.bias_L.copy()
    counts_L = np.zeros(n_labels, np.int64)
    parts = max(1, int(hard.label_indptr[-1]) // _CHUNK_WORK, 4 * current_threads())
    # One more than its points: a label without points takes time too.
    ranges = split_by_weight(hard.label_indptr + np.arange(n_labels + 1), parts)

    def train(start: int, stop: int) -> Any:
        return train_labels(
            start, stop, *hard, *x, norms_N, costs, config.max_iterations,
            np.float32(config.tolerance), config.seed, np.float32(config.weight_threshold),
            n_features, *prior[:3], alphas, weight_LD, bias_L, counts_L,
        )  # fmt: skip

    results = collect_ranges(ranges, train, progress)
    features, kept = (np.concatenate(arrays) for arrays in zip(*results, strict=True))
    return FloatWeights(row_offsets(counts_L), features, kept, weight_LD, bias_L)


def _squared_norms(x: RankerPoints) -> Float32Array:
    """|x|^2 of each point with its constant feature 1, float32 N."""
    # reduceat wants an entry at every offset, and gives a row without entries that of the next.
    squares = np.add.reduceat(np.append(x.values * x.values, np.float32(0)), x.indptr[:-1])
    dense = np.einsum("nd,nd->n", x.dense, x.dense)
    norms_N: Float32Array = (squares * (np.diff(x.indptr) > 0) + dense + 1.0).astype(np.float32)
    return norms_N
