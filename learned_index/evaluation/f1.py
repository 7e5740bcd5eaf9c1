"""F1 of answers: of the first k, and of those from a probability on; micro and macro.

F1 = 2 h / (a + t), with h right answers of a answers and t true pairs of a point and a label.
Micro: over all pairs. Macro: the mean over labels, of those that a point has or that are answered.

Legend: N points, L labels, G labels that count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.metrics import RANK_CUTOFFS, PointValues
from learned_index.types import PAD_ID, Int64Array

THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Probabilities from which on labels are answered, in tables."""
Mask = npt.NDArray[np.bool_]


class LabelValues(NamedTuple):
    """A metric that is a mean over labels; each label's is a ratio of sums over points.

    Attributes:
        values_NG: CSR float64, what each point adds to each label's numerator.
        weights_NG: CSR float64, to its denominator; a label without any has no part in the mean.
        labels_G: int64, ascending: which labels the columns are.
    """

    values_NG: sp.csr_matrix
    weights_NG: sp.csr_matrix
    labels_G: Int64Array

    @property
    def rate(self) -> float:
        """The metric over all points, in percent; 0 without labels."""
        weights = np.asarray(self.weights_NG.sum(axis=0)).ravel()
        values = np.asarray(self.values_NG.sum(axis=0)).ravel()
        told = weights > 0
        return 100.0 * float(np.mean(values[told] / weights[told])) if told.any() else 0.0


class MarkedAnswers(NamedTuple):
    """Answers and which of them are right.

    Attributes:
        ids_NK: int64, best first, padded with -1.
        hits_NK: bool, the label is one of the point's.
        truth_NL: Canonical CSR, their labels.
    """

    ids_NK: Int64Array
    hits_NK: Mask
    truth_NL: sp.csr_matrix


def f1_names(ks: Sequence[int] = RANK_CUTOFFS) -> list[str]:
    """The keys of :func:`f1_at`, in their order."""
    return [f"{name}@{k}" for name in ("F1", "macro-F1") for k in ks]


def f1_at(
    judged: MarkedAnswers, *, ks: Sequence[int] = RANK_CUTOFFS
) -> dict[str, PointValues | LabelValues]:
    """F1 of the first k answers.

    Args:
        judged: The answers, at least as many of each point as the largest k.
        ks: Cut-offs.

    Returns:
        ``{"F1@1": ..., "macro-F1@1": ...}``, see :func:`f1_names`.
    """
    place_K = np.arange(judged.ids_NK.shape[1])
    kept = {k: (judged.ids_NK != PAD_ID) & (place_K < k) for k in ks}
    micro = [micro_f1(judged, kept[k]) for k in ks]
    macro = [macro_f1(judged, kept[k]) for k in ks]
    return dict(zip(f1_names(ks), [*micro, *macro], strict=True))


def micro_f1(judged: MarkedAnswers, kept_NK: Mask) -> PointValues:
    """F1 over all pairs, of the answers that are kept."""
    hits_N = (judged.hits_NK & kept_NK).sum(axis=1)
    weights_N = kept_NK.sum(axis=1) + np.diff(judged.truth_NL.indptr)
    return PointValues(2.0 * hits_N, weights_N.astype(np.float64))


def macro_f1(judged: MarkedAnswers, kept_NK: Mask) -> LabelValues:
    """The mean of the labels' F1, of the answers that are kept."""
    shape = judged.truth_NL.shape
    hits_NL = _marked(judged.ids_NK, judged.hits_NK & kept_NK, shape)
    weights_NL = _marked(judged.ids_NK, kept_NK, shape) + judged.truth_NL.astype(np.float64)
    labels_G = np.unique(weights_NL.indices).astype(np.int64)
    return LabelValues(
        (2.0 * hits_NL)[:, labels_G].tocsr(), weights_NL[:, labels_G].tocsr(), labels_G
    )


def _marked(ids_NK: Int64Array, kept_NK: Mask, shape: tuple[int, int]) -> sp.csr_matrix:
    rows, places = np.nonzero(kept_NK)
    ones = np.ones(len(rows))
    return sp.csr_matrix((ones, (rows, ids_NK[rows, places])), shape=shape)


class ThresholdQuality(NamedTuple):
    """How good the answers from a threshold on are.

    Attributes:
        threshold: Least probability; ``"best"``: that of the label's band.
        answers: Mean answers of a point.
        precision: Right ones of all answers, in percent; 0 without any.
        recall: Answered ones of all true pairs, in percent.
        f1: F1, micro, in percent.
        macro_f1: F1, macro, in percent.
    """

    threshold: float | str
    answers: float
    precision: float
    recall: float
    f1: float
    macro_f1: float


def f1_by_threshold(
    judged: MarkedAnswers,
    probability_NK: Any,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    best_L: Any | None = None,
) -> list[ThresholdQuality]:
    """How good the answers from each threshold on are.

    Args:
        judged: The answers.
        probability_NK: Their probabilities.
        thresholds: Thresholds for all labels.
        best_L: A threshold for each label, or None.

    Returns:
        A row for each threshold, and one for ``best_L``, the last.
    """
    inside_NK = judged.ids_NK != PAD_ID
    p_NK = np.asarray(probability_NK, np.float32)
    kept: dict[float | str, Mask] = {
        each: inside_NK & (p_NK >= np.float32(each)) for each in thresholds
    }
    if best_L is not None:
        kept["best"] = inside_NK & (p_NK >= np.asarray(best_L)[np.maximum(judged.ids_NK, 0)])
    return [_quality(judged, threshold, kept_NK) for threshold, kept_NK in kept.items()]


def _quality(judged: MarkedAnswers, threshold: float | str, kept_NK: Mask) -> ThresholdQuality:
    hits, n_true = int((judged.hits_NK & kept_NK).sum()), int(judged.truth_NL.nnz)
    answers = int(kept_NK.sum())
    return ThresholdQuality(
        threshold=threshold,
        answers=answers / max(1, len(kept_NK)),
        precision=100.0 * hits / max(1, answers),
        recall=100.0 * hits / max(1, n_true),
        f1=micro_f1(judged, kept_NK).rate,
        macro_f1=macro_f1(judged, kept_NK).rate,
    )
