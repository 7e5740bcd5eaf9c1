"""Answers below a threshold left out: one number for all labels, or the best F1 by frequency."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np

from learned_index.elias.parts import EliasParts, SearchOptions
from learned_index.elias.points import Points
from learned_index.elias.prediction import Score, predict_points, with_probabilities
from learned_index.errors import InputError
from learned_index.inputs.matrices import SparseFeatures
from learned_index.inputs.numbers import real_number, shown
from learned_index.metrics import without
from learned_index.types import PAD_ID, Float32Array, Int64Array, SearchResult

Threshold: TypeAlias = float | Literal["best"]


def check_threshold(model: EliasParts, threshold: Any) -> Threshold:
    """Check what is given for a threshold.

    Raises:
        InputError: No number and not ``"best"``; ``"best"`` for a model that knows no thresholds.
    """
    if not isinstance(threshold, str):
        return real_number(threshold, "threshold", low=0.0, high=1.0)
    if threshold != "best":
        raise InputError(f"threshold is {shown(threshold)}, expected a number in 0 to 1, or 'best'")
    if model.calibrator_ is None or model.calibrator_.thresholds_ is None:
        why = (
            "was trained without calibration"
            if model.calibrator_ is None
            else "is of an earlier version"
        )
        raise InputError(
            f"the model {why}, so no best thresholds are known; train it again with points to hold "
            "out, or give a number in 0 to 1"
        )
    return "best"


def search_above(
    model: EliasParts,
    texts: Points,
    k: int,
    *,
    threshold: Threshold,
    score: Score,
    vectors: Any | None,
    sparse: SparseFeatures | None,
    options: SearchOptions,
) -> SearchResult:
    """Search, and leave out answers below a threshold; what stands behind them moves up.

    Args:
        model: The model.
        texts: As :meth:`ELIAS.search`, as are the other arguments.
        k: Likewise.
        threshold: Least score of an answer; ``"best"``: the least calibrated probability that is
            best for the label.
        score: Which score is given, and compared with a number.
        vectors: Likewise.
        sparse: Likewise.
        options: How the members search.
    """
    threshold = check_threshold(model, threshold)
    if threshold == "best" and score == "index":
        raise InputError(
            "the best thresholds are of probabilities; give a number for score 'index'"
        )
    given: dict[str, Any] = {"vectors": vectors, "sparse": sparse, "options": options}
    if threshold == "best" and score == "ranking":
        found, p_BK = with_probabilities(model, texts, k, **given)
    else:
        found = predict_points(model, texts, k, score=score, **given)
        p_BK = found.scores
    return without(found, _is_below(model, found.ids, p_BK, threshold))


def scored_answers(
    model: EliasParts,
    texts: Points,
    k: int,
    *,
    threshold: Threshold | None = None,
    options: SearchOptions | None = None,
) -> tuple[SearchResult, Float32Array | None]:
    """The best labels with all that people ask for: ranking score and calibrated probability.

    Args:
        model: The model.
        texts: B texts, or rows of features.
        k: Labels wanted.
        threshold: Least probability (of a model without calibration: least ranking score);
            ``"best"``: the one that is best for the label; None: all are answers.
        options: How the members search.

    Returns:
        Ids and ranking scores B x k, padded; and their probabilities, float32 B x k, None of a
        model without calibration.

    Raises:
        InputError: As :meth:`ELIAS.search`.
    """
    threshold = None if threshold is None else check_threshold(model, threshold)
    given: dict[str, Any] = {"vectors": None, "sparse": None, "options": options}
    if model.calibrator_ is None:
        found = predict_points(model, texts, k, score="ranking", **given)
        if threshold is None:
            return found, None
        return without(found, _is_below(model, found.ids, found.scores, threshold)), None
    found, p_BK = with_probabilities(model, texts, k, **given)
    if threshold is None:
        return found, p_BK
    below_BK = _is_below(model, found.ids, p_BK, threshold)
    probable = without(SearchResult(found.ids, p_BK), below_BK)
    return without(found, below_BK), probable.scores


def _is_below(model: EliasParts, ids_BK: Int64Array, p_BK: Any, threshold: Threshold) -> Any:
    """Which places are no answers, bool B x k: pads, and what is below its threshold."""
    if threshold != "best":
        return np.asarray(p_BK) < np.float32(threshold)  # pads are minus infinity
    assert model.calibrator_ is not None and model.calibrator_.thresholds_ is not None
    assert model.label_counts is not None
    least_L = model.calibrator_.thresholds_.of_labels(model.label_counts)
    return (ids_BK == PAD_ID) | (np.asarray(p_BK) < least_L[np.maximum(ids_BK, 0)])
