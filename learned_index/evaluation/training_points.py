"""Recall of labels by how many training points they had: many, few, or none (zero-shot)."""

from __future__ import annotations

from typing import Any

import numpy as np

from learned_index.evaluation.deciles import recall_by_group
from learned_index.metrics import RECALL_CUTOFFS, canonical_truth
from learned_index.types import Int64Array, SearchResult

TRAINING_BANDS: tuple[tuple[str, int], ...] = (("seen", 4), ("few-shot", 1), ("unseen", 0))
"""Groups of labels, each with the smallest number of training points in it."""


def recall_by_training_points(
    result: SearchResult, truth_NL: Any, label_counts_L: Int64Array
) -> dict[str, dict[str, float | int]]:
    """Recall of seen labels, of those with few training points and of those without, apart.

    Args:
        result: The best labels of N points, at least 100 columns, padded with -1.
        truth_NL: True labels, sparse.
        label_counts_L: Training points of each label.

    Returns:
        For each of :data:`TRAINING_BANDS` that has a true label: ``n_labels`` and ``n_pairs``, how
        many different labels and (point, true label) pairs it has, and ``R@k``, the percent of
        these pairs that are among the best k (see
        :func:`~learned_index.evaluation.deciles.recall_by_group`).
    """
    truth = canonical_truth(truth_NL)
    bounds = [low for _, low in TRAINING_BANDS[:-1]]
    below_LB = np.asarray(label_counts_L)[:, None] < bounds
    band_L = below_LB.sum(axis=1).astype(np.int64)
    n_labels = np.bincount(band_L[np.unique(truth.indices)], minlength=len(TRAINING_BANDS))
    recall = {k: recall_by_group(result, truth, band_L, k=k) for k in RECALL_CUTOFFS}
    return {
        name: {
            "n_labels": int(n_labels[band]),
            "n_pairs": int(recall[RECALL_CUTOFFS[0]].n_pairs_G[band]),
            **{f"R@{k}": float(recall[k].recall_G[band]) for k in RECALL_CUTOFFS},
        }
        for band, (name, _) in enumerate(TRAINING_BANDS)
        if n_labels[band]
    }
