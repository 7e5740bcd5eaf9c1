"""Precision, propensity-scored precision and recall of head, torso and tail labels apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.evaluation.f1 import MarkedAnswers
from learned_index.metrics import RANK_CUTOFFS, RECALL_CUTOFFS, PointValues, point_values
from learned_index.ranking.bands import FREQUENCY_BANDS, frequency_band
from learned_index.types import PAD_ID, Int64Array

BAND_METRICS = tuple(
    [f"{name}@{k}" for name in ("P", "PSP") for k in RANK_CUTOFFS]
    + [f"R@{k}" for k in RECALL_CUTOFFS]
)
"""What is told of each band."""


def band_values(
    judged: MarkedAnswers, label_counts_L: Int64Array, *, propensities: npt.ArrayLike
) -> dict[str, dict[str, PointValues]]:
    """The metrics of the labels of each band, point by point.

    P@k: of the labels of the band among the first k answers, the part that is right. PSP@k and R@k:
    those of :func:`~learned_index.metrics.evaluate` with no other true labels than the band's.

    Args:
        judged: The answers, with as many columns as the largest cut-off.
        label_counts_L: Training points of each label.
        propensities: L values in (0, 1].

    Returns:
        For each of :data:`~learned_index.ranking.bands.FREQUENCY_BANDS` that has a true label:
        its :data:`BAND_METRICS`.
    """
    ids_NK, hits_NK, truth_NL = judged
    band_L = frequency_band(label_counts_L)
    band_NK = np.where(ids_NK == PAD_ID, -1, band_L[np.maximum(ids_NK, 0)])
    found: dict[str, dict[str, PointValues]] = {}
    for band, (name, _) in enumerate(FREQUENCY_BANDS):
        true_NL = of_labels(truth_NL, band_L == band)
        if not true_NL.nnz:
            continue
        of_truth = point_values(ids_NK, true_NL, propensities=propensities)
        inside_NK = band_NK == band
        precision = {
            f"P@{k}": PointValues(
                (hits_NK & inside_NK)[:, :k].sum(axis=1).astype(np.float64),
                inside_NK[:, :k].sum(axis=1).astype(np.float64),
            )
            for k in RANK_CUTOFFS
        }
        found[name] = {metric: (of_truth | precision)[metric] for metric in BAND_METRICS}
    return found


def band_sizes(truth_NL: sp.csr_matrix, label_counts_L: Int64Array) -> dict[str, dict[str, int]]:
    """For each band: different true labels (``n_labels``), and pairs of a point and one of them."""
    band_L = frequency_band(label_counts_L)
    n_pairs = np.bincount(band_L[truth_NL.indices], minlength=len(FREQUENCY_BANDS))
    used = np.unique(truth_NL.indices)
    n_labels = np.bincount(band_L[used], minlength=len(FREQUENCY_BANDS))
    return {
        name: {"n_labels": int(n_labels[band]), "n_pairs": int(n_pairs[band])}
        for band, (name, _) in enumerate(FREQUENCY_BANDS)
    }


def of_labels(truth_NL: sp.csr_matrix, wanted_L: Any) -> sp.csr_matrix:
    """The pairs of some labels: the same shape, without the others."""
    kept = np.asarray(wanted_L)[truth_NL.indices]
    ends = np.append(0, np.cumsum(kept))[truth_NL.indptr]
    return sp.csr_matrix((truth_NL.data[kept], truth_NL.indices[kept], ends), shape=truth_NL.shape)
