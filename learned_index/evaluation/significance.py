"""How sure metrics are: bootstraps of a metric, and of the paired difference of two methods."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from learned_index.errors import InputError
from learned_index.inputs.numbers import real_number, whole_number
from learned_index.metrics import PointValues

Name = TypeVar("Name", bound=Hashable)
N_RESAMPLES = 2000
"""Resamples of an interval."""
_RESAMPLES_AT_ONCE = 64
"""Resamples whose counts are held at a time."""


class Interval(NamedTuple):
    """Where a metric lies, at a level of confidence.

    Attributes:
        low: Lower end, in the unit of the metric.
        high: Upper end.
    """

    low: float
    high: float


class PairedDifference(NamedTuple):
    """A metric of one method less that of another on the same points.

    Attributes:
        difference: ``a - b`` on all points, mean over the runs, in the unit of the values.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    difference: float
    low: float
    high: float

    @property
    def is_tie(self) -> bool:
        """Whether the interval holds 0."""
        return self.low <= 0.0 <= self.high


def paired_bootstrap(
    values_a: npt.ArrayLike,
    values_b: npt.ArrayLike,
    *,
    weights: npt.ArrayLike | None = None,
    level: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> PairedDifference:
    """Bootstrap of the difference of two methods over points and runs (percentile interval).

    Each resample draws N points and S runs with replacement, the same for both methods: their
    values at one point are paired, whatever makes that point hard (Efron & Tibshirani 1993,
    chapter 13; for rankings Sakai, SIGIR 2006). A run is a training with a seed of its own. The
    metric is the ratio ``sum(values) / sum(weights)``, a plain mean where the weights are 1; see
    :func:`learned_index.metrics.point_values`. The interval is that of the *mean over so many
    runs*; of the variance that comes from the seeds it misses 1 part in S.

    Args:
        values_a: S x N values of the metric, or N of the only run.
        values_b: Those of the other method: as many points; as many runs, or one (a method without
            a seed), which then stands beside each of the other's.
        weights: N, not negative, not all 0; None: 1 each.
        level: Part of the resamples inside the interval.
        n_resamples: Resamples drawn.
        seed: Of the resamples.

    Raises:
        InputError: Shapes that do not fit, no points, NaN or infinity, weights that cannot be.

    Example:
        >>> hits = np.random.default_rng(0).random(1000) < 0.5
        >>> paired_bootstrap(hits + 0.1, hits).is_tie, paired_bootstrap(hits, hits).is_tie
        (False, True)
    """
    n_resamples = whole_number(n_resamples, "n_resamples")
    a_SN, b_SN = _runs(values_a, "values_a"), _runs(values_b, "values_b")
    if a_SN.shape[1] != b_SN.shape[1] or (
        len(a_SN) != len(b_SN) and 1 not in (len(a_SN), len(b_SN))
    ):
        raise InputError(
            f"got values of shapes {a_SN.shape} and {b_SN.shape} (runs x points), expected equal "
            "points and equal runs, or one run on either side"
        )
    differences_SN = a_SN - b_SN
    n_runs, n_points = differences_SN.shape
    weights_N = _weights(weights, n_points)
    generator = np.random.default_rng(seed)
    drawn = np.empty(n_resamples)
    for number in range(n_resamples):
        counts_N = np.bincount(generator.integers(n_points, size=n_points), minlength=n_points)
        runs = generator.integers(n_runs, size=n_runs)
        total = float(weights_N @ counts_N)
        # A resample of points without weight has no metric: as a mean over no points, 0.
        mean_S = differences_SN @ counts_N / total if total > 0 else np.zeros(n_runs)
        drawn[number] = mean_S[runs].mean()
    low, high = np.quantile(drawn, _tails(level))
    difference = differences_SN.mean(axis=0).sum() / weights_N.sum()
    return PairedDifference(float(difference), float(low), float(high))


def _runs(values: npt.ArrayLike, name: str) -> npt.NDArray[np.float64]:
    """Values as S x N."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim not in (1, 2) or array.size == 0:
        raise InputError(
            f"{name} has shape {array.shape}, expected runs x points, at least one of each"
        )
    if not np.isfinite(array).all():
        raise InputError(f"{name} holds NaN or infinity; leave such points away on both sides")
    return np.atleast_2d(array)


def _weights(weights: npt.ArrayLike | None, n_points: int) -> npt.NDArray[np.float64]:
    array = np.ones(n_points) if weights is None else np.asarray(weights, dtype=np.float64)
    if array.shape != (n_points,):
        raise InputError(f"weights have shape {array.shape}, expected ({n_points},)")
    if not (np.isfinite(array).all() and (array >= 0).all() and array.any()):
        raise InputError("weights must be finite, not negative, and not all 0")
    return array


def bootstrap_intervals(
    metrics: Mapping[Name, PointValues],
    *,
    level: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> dict[Name, Interval]:
    """Bootstrap intervals of metrics over points (percentile; Efron & Tibshirani 1993, chapter 13).

    An interval tells how far the metric of another sample of points might lie, not that of another
    training.

    Args:
        metrics: Each on the same N points.
        level: Part of the resamples inside an interval.
        n_resamples: Resamples drawn, the same ones for all metrics.
        seed: Of the resamples.

    Raises:
        InputError: No points, or numbers out of range.

    Example:
        >>> hits = PointValues(np.repeat([0.0, 1.0], 500), np.ones(1000))
        >>> found = bootstrap_intervals({"P@1": hits})["P@1"]
        >>> found.low < 50 < found.high, found.high - found.low < 7
        (True, True)
    """
    n_resamples = whole_number(n_resamples, "n_resamples")
    sizes = {len(metric.values_N) for metric in metrics.values()}
    if len(sizes) != 1 or 0 in sizes:
        raise InputError(f"got metrics of {sorted(sizes)} points, expected equal and at least one")
    (n_points,) = sizes
    sums_NM = np.column_stack([metric.values_N for metric in metrics.values()])
    weights_NM = np.column_stack([metric.weights_N for metric in metrics.values()])
    generator = np.random.default_rng(seed)
    drawn = np.empty((n_resamples, len(metrics)))
    for start in range(0, n_resamples, _RESAMPLES_AT_ONCE):
        part = drawn[start : start + _RESAMPLES_AT_ONCE]
        counts_RN = np.stack(
            [
                np.bincount(generator.integers(n_points, size=n_points), minlength=n_points)
                for _ in range(len(part))
            ]
        )
        weights = counts_RN @ weights_NM
        part[:] = 0.0  # a resample of points without weight has no metric
        np.divide(100.0 * (counts_RN @ sums_NM), weights, out=part, where=weights > 0)
    low_M, high_M = np.quantile(drawn, _tails(level), axis=0)
    ends = zip(low_M.tolist(), high_M.tolist(), strict=True)
    return {name: Interval(*each) for name, each in zip(metrics, ends, strict=True)}


def _tails(level: float) -> list[float]:
    level = real_number(level, "level")
    if not 0.0 < level < 1.0:
        raise InputError(f"level is {level}, expected a number between 0 and 1, such as 0.95")
    tail = (1.0 - level) / 2.0
    return [tail, 1.0 - tail]
