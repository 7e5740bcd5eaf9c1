"""Calibrate on the held-out points and measure on them (paper, section 3.5)."""

from __future__ import annotations

import logging

import numpy as np

from learned_index.elias.parts import EliasParts
from learned_index.elias.prediction import Score, predict_points
from learned_index.elias.request import HeldOut
from learned_index.elias.steps import Steps
from learned_index.errors import InputError
from learned_index.inputs.points import n_rows
from learned_index.metrics import evaluate, hit_matrix, propensities_from_counts
from learned_index.ranking.calibration import Calibrator
from learned_index.ranking.combination import Combination

logger = logging.getLogger(__name__)

_METRIC_WIDTH = 100
_ENOUGH_TO_COMBINE = 100
_RANKINGS: dict[str, Score] = {"without_ranker": "index", "with_ranker": "ranking"}


def validate(model: EliasParts, held: HeldOut, steps: Steps) -> None:
    """Calibrate on the held-out points and measure on them, with and without the ranker."""
    assert held.vectors is not None and model.label_counts is not None
    with steps.step("calibration"):
        _calibrate(model, held)
    with steps.step("validation"):
        propensities = propensities_from_counts(model.label_counts, n_points=model.n_points)
        model.report_["validation"] = {
            name: evaluate(
                predict_points(
                    model,
                    held.texts,
                    _METRIC_WIDTH,
                    vectors=held.vectors,
                    sparse=held.sparse,
                    score=score,
                ),
                held.labels,
                propensities=propensities,
            )
            for name, score in _RANKINGS.items()
            if score == "index" or model.ranker_ is not None
        }


def _calibrate(model: EliasParts, held: HeldOut) -> None:
    """Learn the combination of p and q, and the probabilities, from the held-out points."""
    assert held.vectors is not None and model.label_counts is not None
    config = model.config
    # The labels that a search ranks again: what is learned here is used on such shortlists.
    head, _ = model.shortlist(held.vectors, config.rerank_size)
    relevant = hit_matrix(head.ids, held.labels)
    q_BK = np.zeros_like(head.p)
    if model.ranker_ is not None:
        assert held.sparse is not None
        q_BK = model.ranker_.score(held.sparse, held.vectors[0], head.ids)
        enough = n_rows(held.texts) >= _ENOUGH_TO_COMBINE and bool(relevant.any())
        if config.combination == "learned" or (config.combination == "auto" and enough):
            model.combination = Combination.fit(head.p, q_BK, relevant)
    if config.calibration == "none":
        return
    try:
        calibrator = Calibrator(config.calibration)
        calibrator.fit(head.p, q_BK, head.ids, relevant, model.label_counts)
    except InputError as error:
        if config.calibration != "auto":
            raise
        logger.warning("no calibration: %s", error)
        return
    model.calibrator_ = calibrator
