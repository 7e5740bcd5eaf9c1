"""Labels by how often they were trained: head, torso and tail."""

from __future__ import annotations

import numpy as np

from learned_index.types import Int64Array

FREQUENCY_BANDS: tuple[tuple[str, int], ...] = (("head", 51), ("torso", 6), ("tail", 0))
"""Bands of labels, each with the smallest number of training points in it."""


def frequency_band(label_counts_L: Int64Array) -> Int64Array:
    """Return the band of each label, an index into :data:`FREQUENCY_BANDS`, int64 L."""
    bounds = [low for _, low in FREQUENCY_BANDS[:-1]]
    below_LB = np.asarray(label_counts_L)[:, None] < bounds
    return np.asarray(below_LB.sum(axis=1), np.int64)
