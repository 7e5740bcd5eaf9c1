"""A model measured on a split of data: every metric, under the labels of both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict, cast

import numpy as np

from learned_index.data.dataset import Dataset
from learned_index.data.propensities import DEFAULT_CONSTANTS
from learned_index.elias.model import ELIAS
from learned_index.elias.prediction import Score
from learned_index.errors import InputError
from learned_index.evaluation.probabilities import probability_quality
from learned_index.evaluation.training_points import recall_by_training_points
from learned_index.evaluation.truth import filtered_of, truth_of
from learned_index.inputs.points import n_rows
from learned_index.metrics import (
    RECALL_CUTOFFS,
    most_of_a_point,
    propensities_from_counts,
    without_pairs,
)
from learned_index.metrics import evaluate as metrics_of
from learned_index.types import Int64Array, SearchResult

BATCH = 1024
"""Points that are searched at a time."""


class Query(TypedDict, total=False):
    """How a model is asked: keyword arguments of :meth:`ELIAS.search`."""

    beam_width: int | None
    shortlist_size: int | None
    score: Score


def require_points(dataset: Dataset) -> None:
    """Refuse an empty split.

    Raises:
        InputError: It has no points.
    """
    if dataset.n_points == 0:
        raise InputError(f"the {dataset.split} split has no points; nothing can be measured")


def search_points(
    model: ELIAS,
    points: Any,
    k: int,
    *,
    vectors: Any | None = None,
    query: Query | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SearchResult:
    """Search many points in batches.

    Args:
        model: The model.
        points: N texts or rows of sparse features.
        k: Labels wanted.
        vectors: N x D vectors of the points, where they are known already.
        query: How the model is asked.
        progress: Called with the points that are done and all.

    Returns:
        Ids and scores, N x k.
    """
    total = n_rows(points)
    if vectors is not None and len(vectors) != total:
        raise InputError(f"got {len(vectors)} vectors for {total} points; expected as many")
    ids, scores = np.empty((total, k), np.int64), np.empty((total, k), np.float32)
    for start in range(0, total, BATCH):
        part = slice(start, min(start + BATCH, total))
        known = None if vectors is None else vectors[part]
        ids[part], scores[part] = model.search(points[part], k, vectors=known, **(query or {}))
        if progress is not None:
            progress(part.stop, total)
    return SearchResult(ids, scores)


def evaluate(
    model: ELIAS,
    dataset: Dataset,
    *,
    vectors: Any | None = None,
    query: Query | None = None,
    propensity: tuple[float, float] = DEFAULT_CONSTANTS,
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
        progress: Called with the points that are done and all.

    Returns:
        The metrics, ``n_points``, and ``n_unseen_labels``: labels of these points that the
        model was never trained on. Of a model that knows its counts also ``by_training_points``:
        recall of seen, few-shot and unseen labels apart, see
        :func:`~learned_index.evaluation.training_points.recall_by_training_points`. Of a
        calibrated model asked for its ranking also ``calibration``: how good the probabilities of
        the best labels are, see
        :func:`~learned_index.evaluation.probabilities.probability_quality`.

    Raises:
        InputError: The split has no points, or the two share no label.
    """
    require_points(dataset)
    truth, pairs = truth_of(model, dataset), filtered_of(model, dataset)
    k = max(RECALL_CUTOFFS) + most_of_a_point(pairs)
    asked = cast(Query, dict(query or {}))
    calibrated = model.calibrator_ is not None and asked.get("score", "ranking") == "ranking"
    if calibrated:
        asked["score"] = "probability"  # the same labels in the same order
    result = search_points(
        model, dataset.points, k, vectors=vectors, query=asked, progress=progress
    )
    if pairs is not None:
        result = without_pairs(result, pairs)
    counts = training_counts(model, truth.shape[1])
    propensities = np.ones(len(counts))  # a model that does not know its counts
    if counts.any() and model.n_points:
        a, b = propensity
        propensities = propensities_from_counts(counts, n_points=model.n_points, a=a, b=b)
    values: dict[str, Any] = dict(metrics_of(result, truth, propensities=propensities))
    values["n_points"] = dataset.n_points
    if pairs is not None:
        values["n_filtered"] = int(pairs.nnz)
    used = np.unique(truth.indices)
    values["n_unseen_labels"] = int((counts[used] == 0).sum()) if counts.any() else 0
    if counts.any():
        values["by_training_points"] = recall_by_training_points(result, truth, counts)
    if calibrated:
        values["calibration"] = probability_quality(result, truth, counts)
    return values


def training_counts(model: ELIAS, n_labels: int) -> Int64Array:
    """Training points of the labels of model and data, int64: the model's stand first."""
    counts = np.zeros(n_labels, dtype=np.int64)
    if model.label_counts is not None:
        counts[: len(model.label_counts)] = model.label_counts
    return counts
