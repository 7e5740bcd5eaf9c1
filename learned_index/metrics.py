"""Ranking metrics of extreme classification, for padded id results and sparse truth.

Conventions, those of the XMC repository's evaluation scripts where they define them:

- Everything is in percent.
- Precision, nDCG: means over *all* points. A point without labels cannot be hit, so it counts as
  a miss; a result with fewer than k ids has misses in the places that are padded.
- PSP@k: sum over points of the propensity-scored hits, divided by the sum over points of the best
  sum any ranking could reach (a ratio of sums, not a mean of ratios), Jain et al. 2016.
- Recall@k: the mean over points *with at least one label* of hits / number of labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.errors import InputError
from learned_index.inputs.labels import as_label_matrix, points_per_label
from learned_index.inputs.numbers import real_number, whole_number
from learned_index.types import PAD_ID, Float32Array, Int64Array, SearchResult

Float64Array = npt.NDArray[np.float64]

RANK_CUTOFFS = (1, 3, 5)
"""k of P@k, nDCG@k and PSP@k."""
RECALL_CUTOFFS = (10, 20, 100)
"""k of R@k."""
_ROUNDING = 1e-5
"""Relative rounding allowed between two ways of computing the same inner product."""


def metric_names(
    *, ks: Sequence[int] = RANK_CUTOFFS, recall_ks: Sequence[int] = RECALL_CUTOFFS
) -> list[str]:
    """Return the keys of :func:`evaluate`, in the order in which tables show them."""
    names = [f"{metric}@{k}" for metric in ("P", "nDCG", "PSP") for k in ks]
    return names + [f"R@{k}" for k in recall_ks]


def label_propensities(
    labels_NL: sp.csr_matrix, *, a: float = 0.55, b: float = 1.5
) -> Float64Array:
    """Propensity model of Jain et al. 2016, section 3.2, from the training labels.

    ``p_l = 1 / (1 + C (N_l + B)^-A)`` with ``C = (ln N - 1) (B + 1)^A``; ``N_l`` is the number of
    training points of label l, N the number of training points.

    Args:
        labels_NL: Training labels, any sparse format, zeros and ones.
        a: The constant A; 0.6 for the Amazon data sets, 0.5 for Wikipedia, 0.55 otherwise.
        b: The constant B; 2.6, 0.4 and 1.5 respectively.

    Returns:
        float64, L. Propensities in (0, 1], larger for frequent labels.

    Raises:
        InputError: There is no training point, or a constant is not positive.
    """
    labels_NL = canonical_truth(labels_NL)
    counts_L = points_per_label(labels_NL)
    return propensities_from_counts(counts_L, n_points=labels_NL.shape[0], a=a, b=b)


def propensities_from_counts(
    counts_L: npt.ArrayLike, *, n_points: int, a: float = 0.55, b: float = 1.5
) -> Float64Array:
    """:func:`label_propensities` from the number of training points of each label, and of all."""
    if n_points < 1:
        raise InputError(f"propensities need at least one training point, got {n_points}")
    a, b = real_number(a, "A"), real_number(b, "B")
    if not (a > 0 and b > 0):
        raise InputError(f"the propensity constants must be positive, got A={a}, B={b}")
    # Below e training points the formula's C is negative and p would exceed 1.
    constant = max(np.log(n_points) - 1.0, 0.0) * (b + 1.0) ** a
    counts = np.asarray(counts_L, dtype=np.float64)
    return np.asarray(1.0 / (1.0 + constant * (counts + b) ** -a))


def evaluate(
    result: SearchResult | npt.NDArray[np.integer[Any]],
    truth_NL: sp.csr_matrix,
    *,
    propensities: npt.ArrayLike,
    ks: Sequence[int] = RANK_CUTOFFS,
    recall_ks: Sequence[int] = RECALL_CUTOFFS,
) -> dict[str, float]:
    """All metrics of one ranking, in percent.

    Args:
        result: A search result, or its ids: N x k integers, best first, padded with -1.
        truth_NL: True labels, zeros and ones in any sparse format,
            or a dense indicator.
        propensities: L values in (0, 1], from :func:`label_propensities` of the *training* labels.
        ks: Cut-offs of P, nDCG and PSP.
        recall_ks: Cut-offs of R.

    Returns:
        ``{"P@1": ..., "nDCG@1": ..., "PSP@1": ..., "R@10": ...}``, see :func:`metric_names`.

    Raises:
        InputError: Shapes do not fit, a row names a label twice, an id is out of range, padding
            stands before an id, or the result is narrower than the largest cut-off.

    Example:
        >>> truth = sp.csr_matrix([[1, 0, 1], [0, 1, 0]])
        >>> metrics = evaluate(
        ...     np.array([[0, 1], [2, 1]]), truth, propensities=np.ones(3), ks=(1,), recall_ks=(2,)
        ... )
        >>> metrics["P@1"], metrics["R@2"]
        (50.0, 75.0)
    """
    values = point_values(result, truth_NL, propensities=propensities, ks=ks, recall_ks=recall_ks)
    return {name: point.rate for name, point in values.items()}


class PointValues(NamedTuple):
    """A metric, point by point; the metric is ``100 sum(values) / sum(weights)``.

    Attributes:
        values_N: float64, what each point adds; 0 where its weight is.
        weights_N: float64, 1 for each point of a mean (R: 0 for points without labels); PSP: the
            best sum that any ranking of the point could reach.
    """

    values_N: Float64Array
    weights_N: Float64Array

    @property
    def rate(self) -> float:
        """The metric over all points, in percent; 0 without points."""
        total = float(self.weights_N.sum())
        return 100.0 * float(self.values_N.sum()) / total if total > 0 else 0.0


def point_values(
    result: SearchResult | npt.NDArray[np.integer[Any]],
    truth_NL: sp.csr_matrix,
    *,
    propensities: npt.ArrayLike,
    ks: Sequence[int] = RANK_CUTOFFS,
    recall_ks: Sequence[int] = RECALL_CUTOFFS,
) -> dict[str, PointValues]:
    """The metrics of :func:`evaluate`, point by point; arguments and errors are the same.

    Example:
        >>> truth = sp.csr_matrix([[1, 0, 1], [0, 1, 0]])
        >>> ids = np.array([[0, 1], [2, 1]])
        >>> values = point_values(ids, truth, propensities=np.ones(3), ks=(1,), recall_ks=(2,))
        >>> values["P@1"].values_N, values["R@2"].values_N
        (array([1., 0.]), array([0.5, 1. ]))
    """
    ks, recall_ks = ([whole_number(k, "k") for k in cuts] for cuts in (ks, recall_ks))
    truth_NL = canonical_truth(truth_NL)
    ids_NK = check_ids(result, truth_NL.shape, at_least=max([*ks, *recall_ks]))
    inverse_L = _inverse_propensities(propensities, truth_NL.shape[1])
    hits_NK = hit_matrix(ids_NK, truth_NL)
    ones_N = np.ones(len(ids_NK))
    values = [
        *(PointValues(hits_NK[:, :k].sum(axis=1) / k, ones_N) for k in ks),
        *(PointValues(_ndcg(hits_NK, truth_NL, k), ones_N) for k in ks),
        *(_ps_precision(ids_NK, hits_NK, truth_NL, inverse_L, k) for k in ks),
        *(_recall(hits_NK, truth_NL, k) for k in recall_ks),
    ]
    return dict(zip(metric_names(ks=ks, recall_ks=recall_ks), values, strict=True))


def canonical_truth(labels_NL: Any) -> sp.csr_matrix:
    """Labels as :func:`~learned_index.inputs.labels.as_label_matrix` gives them; rows may be empty.

    Raises:
        InputError: No N x L matrix, other values than 0 and 1, or indices out of range.
    """
    shape: Any = getattr(labels_NL, "shape", ())
    if len(shape) != 2:
        raise InputError(
            f"labels must be a scipy sparse matrix N x L, got {type(labels_NL).__name__}; "
            "build one with scipy.sparse.csr_matrix"
        )
    return as_label_matrix(labels_NL, n_points=shape[0], n_labels=shape[1], need_labels=False)


def check_ids(
    result: SearchResult | npt.NDArray[np.integer[Any]],
    shape: tuple[int, int],
    *,
    at_least: int,
) -> Int64Array:
    """Check the ids of a search result against (N, L), and return them as int64.

    Args and errors as in :func:`evaluate`; ``at_least`` so many columns must be there.
    """
    ids = np.asarray(result.ids if isinstance(result, SearchResult) else result)
    n_points, n_labels = shape
    if ids.ndim != 2 or ids.shape[0] != n_points or not np.issubdtype(ids.dtype, np.integer):
        raise InputError(
            f"ids must be an integer array of {n_points} rows, one for each row of the truth, got "
            f"{ids.dtype} {ids.shape}"
        )
    if ids.shape[1] < at_least:
        raise InputError(
            f"the result has {ids.shape[1]} columns, the largest cut-off is {at_least}; search "
            f"with k={at_least} (missing places are padded with -1)"
        )
    ids = ids.astype(np.int64, copy=False)
    if ids.size == 0:
        return ids
    if ids.min() < PAD_ID or ids.max() >= n_labels:
        raise InputError(
            f"the result holds ids from {ids.min()} to {ids.max()}, expected -1 (padding) or 0 to "
            f"{n_labels - 1}; were these labels numbered by another vocabulary?"
        )
    padded = ids == PAD_ID
    broken = (padded[:, :-1] & ~padded[:, 1:]).any(axis=1)
    if broken.any():
        raise InputError(f"row {int(np.argmax(broken))} has padding (-1) before an id")
    ordered = np.sort(ids, axis=1)
    repeated = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != PAD_ID)
    if repeated.any():
        row, place = np.argwhere(repeated)[0]
        raise InputError(
            f"row {row} names a label twice ({ordered[row, place]}), which would count one hit "
            "twice; a search must return distinct labels"
        )
    return ids


def hit_matrix(ids_NK: Int64Array, truth_NL: sp.csr_matrix) -> npt.NDArray[np.bool_]:
    """Return N x k booleans: is the id at this place a true label of this point?

    ``truth_NL`` is canonical, so (row, label) keys in storage order are sorted and one binary
    search answers all places at once.
    """
    n_points, n_labels = truth_NL.shape
    rows_T = np.repeat(np.arange(n_points, dtype=np.int64), np.diff(truth_NL.indptr))
    keys_T = rows_T * n_labels + truth_NL.indices.astype(np.int64)
    if keys_T.size == 0:
        return np.zeros(ids_NK.shape, dtype=np.bool_)
    wanted_NK = np.arange(n_points, dtype=np.int64)[:, None] * n_labels + ids_NK
    place_NK = np.minimum(np.searchsorted(keys_T, wanted_NK), keys_T.size - 1)
    # A padded place makes the key of another row's last label, so it is left out by itself.
    return np.asarray((keys_T[place_NK] == wanted_NK) & (ids_NK != PAD_ID))


def most_of_a_point(pairs_NL: sp.csr_matrix | None) -> int:
    """The largest number of pairs of a point: so many more answers :func:`without_pairs` needs."""
    return 0 if pairs_NL is None else int(np.diff(pairs_NL.indptr).max(initial=0))


def without_pairs(result: SearchResult, pairs_NL: sp.csr_matrix) -> SearchResult:
    """Take (point, label) pairs out of answers; what stands behind them moves up.

    What the repository's metrics do with the pairs of its filter files, points that are their own
    labels: they count neither as answers nor, taken out of the truth, as misses.

    Args:
        result: Ids and scores, N x k.
        pairs_NL: CSR N x L.

    Returns:
        Another result N x k; rows that lost ids end in padding (-1, -inf).

    Example:
        >>> found = SearchResult(np.array([[2, 0, 1]]), np.array([[0.9, 0.5, 0.1]], np.float32))
        >>> without_pairs(found, sp.csr_matrix([[1, 0, 0]])).ids
        array([[ 2,  1, -1]])
    """
    ids_NK = np.asarray(result.ids).astype(np.int64, copy=False)
    return without(result, hit_matrix(ids_NK, canonical_truth(pairs_NL)))


def without(result: SearchResult, taken_NK: npt.NDArray[np.bool_]) -> SearchResult:
    """Take the answers at some places away; what stands behind them moves up.

    Args:
        result: Ids and scores, N x k.
        taken_NK: Bool, the places.
    """
    ids_NK, scores_NK = np.asarray(result.ids), np.asarray(result.scores)
    order_NK = np.argsort(taken_NK, axis=1, kind="stable")
    moved_NK = np.take_along_axis(taken_NK, order_NK, axis=1)
    ids_NK = np.where(moved_NK, PAD_ID, np.take_along_axis(ids_NK, order_NK, axis=1))
    scores_NK = np.where(moved_NK, -np.inf, np.take_along_axis(scores_NK, order_NK, axis=1))
    return SearchResult(ids_NK, scores_NK.astype(result.scores.dtype, copy=False))


def neighbour_recall(
    found_scores_NK: npt.NDArray[np.floating[Any]],
    exact_scores_NK: npt.NDArray[np.floating[Any]],
    *,
    k: int = 100,
) -> float:
    """Recall of the exact k best, in percent, with ties counted by score.

    An id counts when its *exact* score reaches that of the k-th exact neighbour: of several labels
    with equal scores any choice is right (the rule of ann-benchmarks).

    Args:
        found_scores_NK: Exact scores of the distinct labels found, in any order; -inf where padded.
        exact_scores_NK: Scores of the exact neighbours, best first; -inf where there are fewer.
        k: Neighbours asked for.

    Returns:
        Mean over queries of (found and right) / (number of exact neighbours), 0 to 100.
    """
    found = np.asarray(found_scores_NK)[:, :k]
    exact = np.asarray(exact_scores_NK)[:, :k]
    if found.shape[0] != exact.shape[0]:
        raise InputError(f"got {found.shape[0]} result rows and {exact.shape[0]} exact rows")
    wanted_N = np.isfinite(exact).sum(axis=1)
    kept = wanted_N > 0
    if not kept.any():
        return 0.0
    found, exact, wanted_N = found[kept], exact[kept], wanted_N[kept]
    threshold_N = exact[np.arange(len(exact)), wanted_N - 1]
    # Relative to the largest scores at play: the k-th may be near zero where the first is not.
    slack_N = _ROUNDING * np.maximum(np.abs(exact[:, 0]), np.abs(threshold_N))
    right_N = (found >= (threshold_N - slack_N)[:, None]).sum(axis=1)
    return float(100.0 * np.mean(np.minimum(right_N, wanted_N) / wanted_N))


def scores_of(
    ids_NK: Int64Array,
    queries_NE: Float32Array,
    items_LE: Float32Array,
    *,
    block: int = 64,
) -> Float32Array:
    """Exact inner products of each query with the items it found (-inf where padded).

    Args:
        ids_NK: int64, N x k, padded with -1.
        queries_NE: float32, N x E.
        items_LE: float32, L x E (may be memory-mapped).
        block: Queries gathered at a time; memory is block x k x E floats.
    """
    scores_NK = np.full(ids_NK.shape, -np.inf, dtype=np.float32)
    for start in range(0, len(ids_NK), block):
        ids_BK = ids_NK[start : start + block]
        gathered_BKE = items_LE[np.maximum(ids_BK, 0)]
        found_BK = np.matmul(gathered_BKE, queries_NE[start : start + block, :, None])[:, :, 0]
        scores_NK[start : start + block] = np.where(ids_BK == PAD_ID, -np.inf, found_BK)
    return scores_NK


def _inverse_propensities(propensities: npt.ArrayLike, n_labels: int) -> Float64Array:
    values_L = np.asarray(propensities, dtype=np.float64)
    if values_L.shape != (n_labels,):
        raise InputError(f"propensities must have shape ({n_labels},), got {values_L.shape}")
    if not (np.isfinite(values_L).all() and (values_L > 0).all() and (values_L <= 1).all()):
        raise InputError(
            "propensities must lie in (0, 1]; pass what label_propensities returns, not its inverse"
        )
    return 1.0 / values_L


def _ndcg(hits_NK: npt.NDArray[np.bool_], truth_NL: sp.csr_matrix, k: int) -> Float64Array:
    discount_K = 1.0 / np.log2(np.arange(2, k + 2))
    ideal_K = np.concatenate([[0.0], np.cumsum(discount_K)])
    best_N = ideal_K[np.minimum(np.diff(truth_NL.indptr), k)]
    gain_N = hits_NK[:, :k].astype(np.float64) @ discount_K
    ndcg_N: Float64Array = np.divide(gain_N, best_N, out=np.zeros_like(gain_N), where=best_N > 0)
    return ndcg_N


def _ps_precision(
    ids_NK: Int64Array,
    hits_NK: npt.NDArray[np.bool_],
    truth_NL: sp.csr_matrix,
    inverse_L: Float64Array,
    k: int,
) -> PointValues:
    reached_N = (inverse_L[np.maximum(ids_NK[:, :k], 0)] * hits_NK[:, :k]).sum(axis=1)
    weights_T = inverse_L[truth_NL.indices]
    rows_T = np.repeat(np.arange(truth_NL.shape[0]), np.diff(truth_NL.indptr))
    # Within each row the largest weights first: the last key sorts first.
    order_T = np.lexsort((-weights_T, rows_T))
    place_T = np.arange(weights_T.size) - truth_NL.indptr[:-1][rows_T]
    best_T = np.where(place_T < k, weights_T[order_T], 0.0)
    best_N = np.bincount(rows_T, weights=best_T, minlength=truth_NL.shape[0])
    return PointValues(reached_N, best_N.astype(np.float64))


def _recall(hits_NK: npt.NDArray[np.bool_], truth_NL: sp.csr_matrix, k: int) -> PointValues:
    counts_N = np.diff(truth_NL.indptr)
    found_N = hits_NK[:, :k].sum(axis=1)
    return PointValues(found_N / np.maximum(counts_N, 1), (counts_N > 0).astype(np.float64))
