"""Answers measured on a split of data: every metric, under the labels of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from learned_index.data.dataset import Dataset
from learned_index.data.propensities import DEFAULT_CONSTANTS
from learned_index.elias.model import ELIAS
from learned_index.evaluation.answers import Answers, aligned, answers_of
from learned_index.evaluation.by_frequency import band_sizes, band_values
from learned_index.evaluation.f1 import MarkedAnswers, f1_at, f1_by_threshold
from learned_index.evaluation.probabilities import probability_quality
from learned_index.evaluation.search import Query
from learned_index.evaluation.significance import Metric, bootstrap_intervals, compare_metrics
from learned_index.evaluation.training_points import recall_by_training_points
from learned_index.metrics import (
    canonical_truth,
    check_ids,
    hit_matrix,
    point_values,
    propensities_from_counts,
)


@dataclass(frozen=True, eq=False)
class Measured:
    """Metrics of answers, point by point.

    Attributes:
        metrics: Over all labels, by name.
        bands: Of head, torso and tail labels; empty where nobody knows the training points.
    """

    metrics: dict[str, Metric]
    bands: dict[str, dict[str, Metric]]


def evaluate(
    model: ELIAS,
    dataset: Dataset,
    *,
    vectors: Any | None = None,
    query: Query | None = None,
    propensity: tuple[float, float] = DEFAULT_CONSTANTS,
    n_resamples: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """All metrics of a model on one split, in percent.

    Labels that the model was never trained on stay in the truth: each is a miss, unless the model
    answers it from its text. Propensities come from the model's training counts. Pairs that the
    data filter (:attr:`Dataset.filtered`) count neither as answers nor as truth.

    Args:
        model: The model.
        dataset: The split; its labels may be numbered otherwise than the model's: they are matched
            by key.
        vectors: N x D vectors of the points; None: encode them.
        query: How the model is asked.
        propensity: The constants A and B of the propensities, see
            :func:`~learned_index.data.propensities.propensity_constants`.
        n_resamples: Of the bootstrap intervals; 0: none are made.
        progress: Called with the points that are done and all.

    Returns:
        What :func:`measured_values` tells.

    Raises:
        InputError: The split has no points, or the two share no label.
    """
    answers = answers_of(model, dataset, vectors=vectors, query=query, progress=progress)
    return measured_values(answers, propensity=propensity, n_resamples=n_resamples)


def measured_values(
    answers: Answers,
    *,
    propensity: tuple[float, float] = DEFAULT_CONSTANTS,
    n_resamples: int = 0,
) -> dict[str, Any]:
    """All metrics of answers, in percent.

    Args:
        answers: From :func:`~learned_index.evaluation.answers.answers_of` or
            :func:`~learned_index.evaluation.answers.predicted_answers`.
        propensity: As :func:`evaluate`.
        n_resamples: Likewise.

    Returns:
        The metrics of :func:`learned_index.metrics.evaluate` and of
        :func:`~learned_index.evaluation.f1.f1_at`, ``n_points``, ``n_filtered`` (where pairs do not
        count) and ``n_unseen_labels``: labels of these points that were never trained. Where the
        training points of the labels are known also ``by_training_points``
        (:func:`~learned_index.evaluation.training_points.recall_by_training_points`) and
        ``by_frequency``: for head, torso and tail ``n_labels``, ``n_pairs`` and what
        :func:`~learned_index.evaluation.by_frequency.band_values` tells. Where scores are
        probabilities ``by_threshold``, rows of
        :class:`~learned_index.evaluation.f1.ThresholdQuality`, and of a calibrated model
        ``calibration``
        (:func:`~learned_index.evaluation.probabilities.probability_quality`). With ``n_resamples``
        also ``intervals``, 95 % bootstrap intervals: ``{"P@1": [low, high], ...}``, and
        ``intervals_by_frequency`` likewise by band.
    """
    found, judged = measure(answers, propensity=propensity), _judged(answers)
    values: dict[str, Any] = {name: metric.rate for name, metric in found.metrics.items()}
    values["n_points"] = answers.n_points
    if answers.n_filtered is not None:
        values["n_filtered"] = answers.n_filtered
    counts, used = answers.counts, np.unique(answers.truth.indices)
    values["n_unseen_labels"] = int((counts[used] == 0).sum()) if counts.any() else 0
    if counts.any():
        result, truth = answers.result, answers.truth
        values["by_training_points"] = recall_by_training_points(result, truth, counts)
        sizes = band_sizes(truth, counts)
        values["by_frequency"] = {
            band: sizes[band] | {name: metric.rate for name, metric in metrics.items()}
            for band, metrics in found.bands.items()
        }
    if answers.probable:
        rows = f1_by_threshold(judged, answers.result.scores, best_L=answers.best)
        values["by_threshold"] = [row._asdict() for row in rows]
    if answers.calibrated:
        values["calibration"] = probability_quality(answers.result, answers.truth, counts)
    if n_resamples:
        values |= _intervals(found, n_resamples)
    return values


def measure(answers: Answers, *, propensity: tuple[float, float] = DEFAULT_CONSTANTS) -> Measured:
    """The metrics of answers, point by point: what intervals and comparisons are made of."""
    judged = _judged(answers)
    propensities = propensities_of(answers, propensity)
    metrics: dict[str, Metric] = dict(
        point_values(judged.ids_NK, judged.truth_NL, propensities=propensities)
    )
    metrics |= f1_at(judged)
    bands: dict[str, dict[str, Metric]] = {}
    if answers.counts.any():
        each = band_values(judged, answers.counts, propensities=propensities)
        bands = {band: dict(values) for band, values in each.items()}
    return Measured(metrics, bands)


def compare_answers(
    a: Answers,
    b: Answers,
    *,
    propensity: tuple[float, float] = DEFAULT_CONSTANTS,
    n_resamples: int,
) -> dict[str, Any]:
    """Compare two answers to the same points.

    Args:
        a: The first, see :func:`measured_values`.
        b: The second, to points in the same order. Frequency and propensities of labels are those
            of the first for both.
        propensity: As :func:`evaluate`.
        n_resamples: Resamples of the intervals, and exchanges of the test.

    Returns:
        ``n_points``; ``metrics``, with the fields of each
            :class:`~learned_index.evaluation.significance.ComparedMetric`; ``by_frequency``, the
            same by band.

    Raises:
        InputError: Answers to other points.
    """
    one, other = (measure(each, propensity=propensity) for each in aligned(a, b))
    bands = [band for band in one.bands if band in other.bands]
    # All at once: the same resamples for all of them.
    flat_a, flat_b = (
        {("", name): metric for name, metric in found.metrics.items()}
        | {(band, name): m for band in bands for name, m in found.bands[band].items()}
        for found in (one, other)
    )
    compared = compare_metrics(flat_a, flat_b, n_resamples=n_resamples)
    told: dict[str, dict[str, Any]] = {band: {} for band in ("", *bands)}
    for (band, name), metric in compared.items():
        told[band][name] = metric._asdict()
    return {
        "n_points": a.n_points,
        "metrics": told.pop(""),
        "by_frequency": told,
        "n_resamples": n_resamples,
    }


def _intervals(found: Measured, n_resamples: int) -> dict[str, Any]:
    flat = {("", name): metric for name, metric in found.metrics.items()}
    flat |= {(band, name): m for band, each in found.bands.items() for name, m in each.items()}
    told: dict[str, dict[str, list[float]]] = {band: {} for band in ("", *found.bands)}
    for (band, name), interval in bootstrap_intervals(flat, n_resamples=n_resamples).items():
        told[band][name] = list(interval)
    return {"intervals": told.pop(""), "intervals_by_frequency": told}


def _judged(answers: Answers) -> MarkedAnswers:
    truth = canonical_truth(answers.truth)
    ids = check_ids(answers.result, truth.shape, at_least=0)
    return MarkedAnswers(ids, hit_matrix(ids, truth), truth)


def propensities_of(
    answers: Answers, propensity: tuple[float, float] = DEFAULT_CONSTANTS
) -> npt.NDArray[np.float64]:
    """Propensities of the labels of answers, L; all 1 where nobody knows their training points."""
    counts = answers.counts
    if not counts.any() or not answers.n_trained:
        return np.ones(len(counts))  # nobody knows how often labels were trained
    a, b = propensity
    return propensities_from_counts(counts, n_points=answers.n_trained, a=a, b=b)
