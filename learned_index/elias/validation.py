"""Calibrate on the held-out points and measure on them (paper, section 3.5)."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from learned_index.elias.final_ranking import N_ALIKE, N_NAMED, alike_of, judged, names_of
from learned_index.elias.label_texts import LabelPoints, with_pretended_unseen
from learned_index.elias.parts import EliasParts
from learned_index.elias.prediction import Score, arranged, predict_points
from learned_index.elias.request import HeldOut
from learned_index.elias.steps import Steps
from learned_index.errors import InputError
from learned_index.inputs.labels import points_per_label
from learned_index.inputs.points import n_rows
from learned_index.metrics import evaluate, hit_matrix, propensities_from_counts
from learned_index.ranking.calibration import Calibrator
from learned_index.ranking.final_models import EvidencePoints
from learned_index.ranking.final_ranker import FinalRanker
from learned_index.types import PAD_ID, PAD_SCORE, Float32Array, Int64Array, SearchResult

logger = logging.getLogger(__name__)

_METRIC_WIDTH = 100
ENOUGH_TO_LEARN = 100
_RANKINGS: dict[str, Score] = {"without_ranker": "index", "with_ranker": "ranking"}


def validate(model: EliasParts, held: HeldOut, steps: Steps, *, texts: LabelPoints | None) -> None:
    """Calibrate on the held-out points and measure on them, with and without the ranker.

    ``texts``: those of the labels, where they take part in the ranking.
    """
    assert held.vectors is not None and model.label_counts is not None
    out_of_fold = None
    with steps.step("calibration"):
        out_of_fold = _final_ranker(model, held, texts)
        if out_of_fold is None and model.config.records != "yes":
            model.records_ = None  # they would serve nothing
        model.calibrator_ = _calibrator(model, held, out_of_fold)
    with steps.step("validation"):
        propensities = propensities_from_counts(model.label_counts, n_points=model.n_points)
        model.report_["validation"] = {
            name: evaluate(
                _answers(model, held, score, out_of_fold), held.labels, propensities=propensities
            )
            for name, score in _RANKINGS.items()
            if score == "index" or model.ranker_ is not None
        }


class OutOfFold(NamedTuple):
    """What final rankers say of labels of points that they have not seen.

    Attributes:
        ids: B x K labels.
        scores: Their scores.
        relevant: Whether the label is one of the point's.
        n_true_L: int64, points that have each label, on the shortlist or not.
    """

    ids: Int64Array
    scores: Float32Array
    relevant: Any
    n_true_L: Int64Array


def _answers(
    model: EliasParts, held: HeldOut, score: Score, out_of_fold: OutOfFold | None
) -> SearchResult:
    if score == "ranking" and out_of_fold is not None:
        assert held.vectors is not None
        _, wide = model.shortlist(held.vectors, _METRIC_WIDTH)
        ids, scores = arranged(out_of_fold.ids, out_of_fold.scores, wide, _METRIC_WIDTH)
        return SearchResult(ids, np.where(ids == PAD_ID, PAD_SCORE, scores).astype(np.float32))
    return predict_points(
        model, held.texts, _METRIC_WIDTH, vectors=held.vectors, sparse=held.sparse, score=score
    )


def _final_ranker(model: EliasParts, held: HeldOut, texts: LabelPoints | None) -> OutOfFold | None:
    """Learn the final ranker on the held-out points; None where the fixed formula ranks."""
    wanted, enough = model.config.final_ranker, n_rows(held.texts) >= ENOUGH_TO_LEARN
    assert held.vectors is not None
    if model.ranker_ is None or wanted == "fixed" or (wanted == "auto" and not enough):
        return None
    assert held.sparse is not None
    names = names_of(model, are_texts=not sp.issparse(held.texts))
    alike = None if texts is None else alike_of(model)
    n_named = 0 if texts is None else N_NAMED if alike is None else N_ALIKE
    ranker = FinalRanker(wanted, names=names, n_named=n_named, alike=alike)
    found = judged(model, held.vectors, held.sparse, held.labels, ranker)
    learned = None if texts is None else _of_pretending(model, held, texts, ranker)
    try:
        scores = ranker.fit(found.evidence_BKF, found.ids_BK, found.relevant_BK, learned=learned)
    except InputError as error:
        if wanted != "auto":
            raise
        logger.warning("no final ranker: %s", error)
        return None
    ranker.report_["n_known"] = model.n_points
    model.report_["final_ranker"] = ranker.report_
    if ranker.method_ == "fixed":
        return None
    model.final_ranker_ = ranker
    return OutOfFold(found.ids_BK, scores, found.relevant_BK, true_points(model, held.labels))


def _of_pretending(
    model: EliasParts, held: HeldOut, texts: LabelPoints, ranker: FinalRanker
) -> EvidencePoints | None:
    """What is said of the points where some labels pretend to have no training points.

    Held-out points have labels that are known; what evidence is worth of labels that are not is
    learned from these. None where fewer than :data:`ENOUGH_TO_LEARN` of the points' labels pretend
    and are listed.
    """
    less = with_pretended_unseen(model, texts)
    if less is None:
        return None
    assert held.vectors is not None and held.sparse is not None
    counts = less.model.label_counts
    assert counts is not None
    found = judged(
        less.model, held.vectors, held.sparse, held.labels, ranker, allowed_L=less.allowed_L
    )
    examples = found.relevant_BK & (counts[np.maximum(found.ids_BK, 0)] == 0)
    return found if int(examples.sum()) >= ENOUGH_TO_LEARN else None


def _calibrator(
    model: EliasParts, held: HeldOut, out_of_fold: OutOfFold | None
) -> Calibrator | None:
    """Learn the probabilities from the held-out points.

    Where there is a final ranker its score, out of fold, takes the place of p, and q is 0.
    """
    assert held.vectors is not None
    if model.config.calibration == "none":
        return None
    # The labels that a search ranks again: what is learned here is used on such shortlists.
    if out_of_fold is not None:
        return calibrated_scores(model, out_of_fold)
    head, _ = model.shortlist(held.vectors, model.config.rerank_size)
    q_BK = np.zeros_like(head.p)
    if model.ranker_ is not None:
        assert held.sparse is not None
        q_BK = model.ranker_.score(held.sparse, held.vectors[0], head.ids)
    relevant_BK = hit_matrix(head.ids, held.labels)
    n_true_L = true_points(model, held.labels)
    return _calibrated(model, head.p, q_BK, head.ids, relevant_BK, n_true_L)


def true_points(model: EliasParts, labels_NL: sp.csr_matrix) -> Int64Array:
    """Points that have each of the model's labels, int64; others than these may be there."""
    return points_per_label(labels_NL)[: model.n_labels]


def calibrated_scores(model: EliasParts, out_of_fold: OutOfFold) -> Calibrator | None:
    """Probabilities of the scores of a final ranker; None where there is nothing to tell them."""
    ids, p_BK, relevant_BK, n_true_L = out_of_fold
    return _calibrated(model, p_BK, np.zeros_like(p_BK), ids, relevant_BK, n_true_L)


def _calibrated(
    model: EliasParts,
    p_BK: Float32Array,
    q_BK: Float32Array,
    ids: Int64Array,
    relevant_BK: Any,
    n_true_L: Int64Array,
) -> Calibrator | None:
    assert model.label_counts is not None
    wanted = model.config.calibration
    if wanted == "none":
        return None
    try:
        return Calibrator(wanted).fit(
            p_BK, q_BK, ids, relevant_BK, model.label_counts, n_true_L=n_true_L
        )
    except InputError as error:
        if wanted != "auto":
            raise
        logger.warning("no calibration: %s", error)
        return None
