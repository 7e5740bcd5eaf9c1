"""Folds of points for cross-validation."""

from __future__ import annotations

from typing import Any

import numpy as np

N_FOLDS = 5


def folds_of(rows: Any, points: Any, seed: int) -> Any:
    """The fold of each pair: pairs of one point are alike, so a point is in one fold only.

    Args:
        rows: The point of each pair.
        points: The points, ascending.
        seed: Seed of the choice.
    """
    fold_of_point = np.zeros(int(points[-1]) + 1, np.int64)
    shuffled = np.random.default_rng(seed).permutation(points)
    fold_of_point[shuffled] = np.arange(len(points)) % N_FOLDS
    return fold_of_point[rows]
