"""Whether calibrated probabilities can be believed where users look: at the first few labels.

Over all shortlisted pairs nearly every probability and every outcome is 0, so any calibration
looks perfect. Here only the best labels of each point count, and labels are told apart by how often
they were trained.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from learned_index.errors import InputError
from learned_index.metrics import canonical_truth, check_ids, hit_matrix
from learned_index.ranking.bands import FREQUENCY_BANDS, frequency_band
from learned_index.ranking.reliability import brier_score, calibration_error
from learned_index.types import PAD_ID, Int64Array, SearchResult

CALIBRATION_CUTOFFS = (1, 5)
"""Labels of each point whose probabilities are looked at."""


def probability_quality(
    result: SearchResult, truth_NL: Any, label_counts_L: Int64Array
) -> dict[str, dict[str, float | int]]:
    """How good the probabilities of the best labels are, over all labels and by frequency.

    Args:
        result: The best labels of N points with their probabilities in 0 to 1, at least
            :data:`CALIBRATION_CUTOFFS` columns, padded with -1.
        truth_NL: True labels, sparse.
        label_counts_L: Training points of each label.

    Returns:
        For ``all`` and each of :data:`FREQUENCY_BANDS` that has a label among the answers, by the
        label *answered*: ``ECE@k``, the expected calibration error in percent
        (:func:`~learned_index.ranking.reliability.calibration_error`), ``Brier@k``, the mean
        squared error in 0 to 1, and ``n@k``, the (point, label) pairs, of the k best labels.

    Raises:
        InputError: Shapes that do not fit, or scores that are no probabilities.
    """
    truth = canonical_truth(truth_NL)
    deepest = max(CALIBRATION_CUTOFFS)
    ids_NK = check_ids(result, truth.shape, at_least=deepest)[:, :deepest]
    p_NK = np.asarray(result.scores, np.float64)[:, :deepest]
    inside_NK = ids_NK != PAD_ID
    if not ((p_NK[inside_NK] >= 0) & (p_NK[inside_NK] <= 1)).all():
        raise InputError(
            "the scores are no probabilities: expected 0 to 1; search with score='probability'"
        )
    counts = np.asarray(label_counts_L)
    if counts.shape != (truth.shape[1],):
        raise InputError(f"got counts of {counts.size} labels, the truth has {truth.shape[1]}")
    hits_NK = hit_matrix(ids_NK, truth)
    band_NK = frequency_band(counts)[np.maximum(ids_NK, 0)]
    groups = [("all", inside_NK)] + [
        (name, inside_NK & (band_NK == band)) for band, (name, _) in enumerate(FREQUENCY_BANDS)
    ]
    return {name: _quality(p_NK, hits_NK, chosen) for name, chosen in groups if chosen.any()}


def _quality(p_NK: Any, hits_NK: Any, chosen_NK: Any) -> dict[str, float | int]:
    values: dict[str, float | int] = {}
    for k in CALIBRATION_CUTOFFS:
        chosen = chosen_NK[:, :k]
        p, y = p_NK[:, :k][chosen], hits_NK[:, :k][chosen]
        values[f"n@{k}"] = int(chosen.sum())
        if p.size:
            values[f"ECE@{k}"] = calibration_error(p, y)
            values[f"Brier@{k}"] = brier_score(p, y)
    return values
