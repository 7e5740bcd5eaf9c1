"""Folds of points for cross-validation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from learned_index.kernels.machine.parallel import run_ranges
from learned_index.system.threads import current_threads, limit_threads

N_FOLDS = 4
"""As many as share out evenly over two or four cores."""


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


def for_each_fold(work: Callable[[int], None], *, n_folds: int = N_FOLDS) -> None:
    """Call ``work(fold)`` for all folds, several side by side, each on one thread.

    The libraries' own threads gain little on what is fitted here.

    Args:
        work: Takes the number of the fold.
        n_folds: How many there are. One more than :data:`N_FOLDS` is a fit of all points, which
            so needs not wait for the others.
    """
    n_threads = current_threads()
    with limit_threads(1):
        run_ranges(
            [(fold, fold + 1) for fold in range(n_folds)],
            lambda _part, fold, _stop: work(fold),
            n_threads,
        )
