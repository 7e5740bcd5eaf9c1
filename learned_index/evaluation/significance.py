"""How sure a metric is, and whether two methods differ by more than chance.

Legend: N points, R resamples, G labels of a metric that is a mean over labels.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.errors import InputError
from learned_index.evaluation.f1 import LabelValues
from learned_index.inputs.numbers import real_number, whole_number
from learned_index.metrics import Float64Array, PointValues

Metric: TypeAlias = PointValues | LabelValues
"""A metric point by point: one ratio of sums, or the mean of one for each label."""
Name = TypeVar("Name", bound=Hashable)
N_RESAMPLES = 2000
"""Resamples of an interval, and exchanges of a test."""
_BLOCK = 2**20
"""Numbers of the points in resamples that are held at a time."""
_ROUNDING = 1e-9


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
    low, high = _quantiles(drawn, level)
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


class Interval(NamedTuple):
    """Where a metric lies, at a level of confidence.

    Attributes:
        low: Lower end, in the unit of the metric.
        high: Upper end.
    """

    low: float
    high: float


class ComparedMetric(NamedTuple):
    """One metric of two methods on the same points.

    Attributes:
        a: Of the first, in percent.
        b: Of the second.
        difference: ``b - a``.
        low: Lower end of the bootstrap interval of the difference.
        high: Upper end.
        p: Of the randomisation test: how often a difference at least as large comes about where
            it is chance which of both answers of a point is whose.
    """

    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float


def bootstrap_intervals(
    metrics: Mapping[Name, Metric],
    *,
    level: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> dict[Name, Interval]:
    """Bootstrap intervals of metrics over points (percentile; Efron & Tibshirani 1993).

    Those of means over labels are moved by the difference of the resamples' mean and the metric.

    Args:
        metrics: Each on the same N points.
        level: Part of the resamples inside an interval.
        n_resamples: Resamples drawn, the same ones for all metrics.
        seed: Of the resamples.

    Raises:
        InputError: No points, or numbers out of range.
    """
    drawn: dict[Name, list[Any]] = {name: [] for name in metrics}
    for counts_RN in _resamples(_n_points(metrics), n_resamples, seed):
        for name, metric in metrics.items():
            drawn[name].append(_rates(_sums(metric, counts_RN)))
    found = {}
    for name, each in drawn.items():
        rate = metrics[name].rate
        low, high = _quantiles(_centred(each, metrics[name], rate), level)
        # A metric that is the same in all resamples lies in its interval, however sums are rounded.
        low, high = (rate if abs(end - rate) < _ROUNDING else end for end in (low, high))
        found[name] = Interval(low, high)
    return found


def compare_metrics(
    a: Mapping[Name, Metric],
    b: Mapping[Name, Metric],
    *,
    level: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> dict[Name, ComparedMetric]:
    """Compare two methods on the same points, metric by metric.

    The interval is that of a paired bootstrap: both metrics of each resample are of the same
    points. The test is the approximate randomisation test (Noreen 1989; for rankings Smucker,
    Allan & Carterette, CIKM 2007): the answers of each point are exchanged or not, at random;
    ``p = (1 + r) / (1 + n_resamples)`` with r exchanges whose difference is as large as the
    observed one, in either direction.

    Args:
        a: Metrics of the first method.
        b: The same ones of the second; those that only one of both has are left out.
        level: Part of the resamples inside an interval.
        n_resamples: Resamples, and exchanges, that are drawn.
        seed: Of both.

    Raises:
        InputError: Other points, no points, or numbers out of range.
    """
    names = [name for name in a if name in b]
    pairs = {name: _aligned(a[name], b[name]) for name in names}
    n_points = _n_points({**{f"a {n}": a[n] for n in names}, **{f"b {n}": b[n] for n in names}})
    observed = {name: (each[0].rate, each[1].rate) for name, each in pairs.items()}
    drawn: dict[Name, list[Any]] = {name: [] for name in names}
    for counts_RN in _resamples(n_points, n_resamples, seed):
        for name, (one, other) in pairs.items():
            drawn[name].append(_rates(_sums(other, counts_RN)) - _rates(_sums(one, counts_RN)))
    as_large = dict.fromkeys(names, 0)
    ones = np.ones((1, n_points))
    sums_of = {name: [_sums(each, ones) for each in pair] for name, pair in pairs.items()}
    for swapped_RN in _exchanges(n_points, n_resamples, seed):
        for name, (one, other) in pairs.items():
            sums = sums_of[name]
            moved = [
                more - less
                for less, more in zip(_sums(one, swapped_RN), _sums(other, swapped_RN), strict=True)
            ]
            first = _rates([s + m for s, m in zip(sums[0], moved, strict=True)])
            second = _rates([s - m for s, m in zip(sums[1], moved, strict=True)])
            least = abs(observed[name][1] - observed[name][0]) - _ROUNDING
            as_large[name] += int((np.abs(second - first) >= least).sum())
    found = {}
    for name, (rate_a, rate_b) in observed.items():
        low, high = _quantiles(_centred(drawn[name], a[name], rate_b - rate_a), level)
        p = (1 + as_large[name]) / (1 + n_resamples)
        found[name] = ComparedMetric(rate_a, rate_b, rate_b - rate_a, low, high, p)
    return found


def _n_points(metrics: Mapping[Name, Metric]) -> int:
    sizes = {name: metric[0].shape[0] for name, metric in metrics.items()}
    if len(set(sizes.values())) != 1 or 0 in sizes.values():
        told = ", ".join(f"{name} {size}" for name, size in list(sizes.items())[:4])
        raise InputError(f"metrics of {told or 'no'} points, expected the same points of all")
    return int(next(iter(sizes.values())))


def _blocks(n_points: int, n_resamples: int) -> Iterator[int]:
    """Resamples at a time, so that their counts stay small."""
    n_resamples = whole_number(n_resamples, "n_resamples")
    step = max(1, _BLOCK // n_points)
    for start in range(0, n_resamples, step):
        yield min(step, n_resamples - start)


def _resamples(n_points: int, n_resamples: int, seed: int) -> Iterator[Float64Array]:
    """How often each point is drawn in each resample, R x N."""
    generator = np.random.default_rng(seed)
    for size in _blocks(n_points, n_resamples):
        drawn_RN = generator.integers(n_points, size=(size, n_points))
        drawn_RN += n_points * np.arange(size)[:, None]
        counts = np.bincount(drawn_RN.ravel(), minlength=size * n_points)
        yield counts.reshape(size, n_points).astype(np.float64)


def _exchanges(n_points: int, n_resamples: int, seed: int) -> Iterator[Float64Array]:
    """Whether the answers of each point are exchanged, R x N of 0 and 1."""
    generator = np.random.default_rng(seed)
    for size in _blocks(n_points, n_resamples):
        yield generator.integers(2, size=(size, n_points)).astype(np.float64)


def _sums(metric: Metric, counts_RN: Float64Array) -> list[Any]:
    """Numerators and denominators of a metric, R x G; G is 1 where it is one ratio."""
    values, weights = metric[0], metric[1]
    if isinstance(metric, LabelValues):
        return [np.asarray((each.T @ counts_RN.T).T) for each in (values, weights)]
    return [counts_RN @ each[:, None] for each in (values, weights)]


def _rates(sums: Sequence[Any]) -> Float64Array:
    """The metric of each resample, in percent: the mean over those labels that it has."""
    values_RG, weights_RG = sums
    is_there = weights_RG > _ROUNDING
    ratios = np.divide(values_RG, weights_RG, out=np.zeros_like(values_RG), where=is_there)
    found: Float64Array = 100.0 * ratios.sum(axis=1) / np.maximum(is_there.sum(axis=1), 1)
    return found


def _aligned(a: Metric, b: Metric) -> tuple[Metric, Metric]:
    """Two metrics whose columns are the same labels: those of either."""
    if not isinstance(a, LabelValues) or not isinstance(b, LabelValues):
        return a, b
    labels_G = np.union1d(a.labels_G, b.labels_G)
    if len(labels_G) == len(a.labels_G) == len(b.labels_G):
        return a, b
    return tuple(_widened(each, labels_G) for each in (a, b))  # type: ignore[return-value]


def _widened(metric: LabelValues, labels_G: Any) -> LabelValues:
    place = np.searchsorted(labels_G, metric.labels_G)

    def wide(matrix: sp.csr_matrix) -> sp.csr_matrix:
        parts = (matrix.data, place[matrix.indices], matrix.indptr)
        return sp.csr_matrix(parts, shape=(matrix.shape[0], len(labels_G)))

    return LabelValues(wide(metric.values_NG), wide(metric.weights_NG), labels_G)


def _centred(blocks: Sequence[Any], metric: Metric, observed: float) -> Any:
    """What was drawn; of a mean over labels moved to the observed one.

    A resample has fewer different points, so labels with one or two of them vanish from it or come
    whole: that moves the mean over labels, up or down, and not how far it scatters.
    """
    drawn = np.concatenate(blocks)
    return drawn + (observed - drawn.mean()) if isinstance(metric, LabelValues) else drawn


def _quantiles(drawn_R: Any, level: float) -> Interval:
    level = real_number(level, "level")
    if not 0.0 < level < 1.0:
        raise InputError(f"level is {level}, expected a number between 0 and 1, such as 0.95")
    tail = (1.0 - level) / 2.0
    low, high = np.quantile(drawn_R, [tail, 1.0 - tail])
    return Interval(float(low), float(high))
