"""What is measured: the best labels of the points of a split, and what is true of these points.

Legend: N points, K answers each, L labels of the answers and the data together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.data.dataset import Dataset
from learned_index.data.predictions.reading import Predictions
from learned_index.elias.model import ELIAS
from learned_index.errors import InputError
from learned_index.evaluation.search import Query, require_points, search_points
from learned_index.evaluation.truth import filtered_of, training_counts, truth_of
from learned_index.inputs.labels import points_per_label, relabelled
from learned_index.metrics import RECALL_CUTOFFS, canonical_truth, most_of_a_point, without_pairs
from learned_index.system.timing import timed
from learned_index.types import PAD_ID, PAD_SCORE, Int64Array, SearchResult

DEPTH = max(RECALL_CUTOFFS)
"""Answers of a point that are measured."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Answers:
    """Answers to the points of a split, under one numbering with what is true of them.

    Attributes:
        keys: Keys of the L labels, by id.
        result: Ids and scores, N x at least 100, without the pairs that do not count.
        truth: Canonical CSR, N x L.
        counts: int64, L. Training points of each label; zeros where nobody knows them.
        n_trained: Training points in all; 0: unknown.
        probable: Whether the scores are probabilities.
        calibrated: Whether a model vouches for that.
        best: float32, L. The threshold of each label with the best F1, or None.
        n_filtered: Pairs that count neither as answers nor as truth.
    """

    keys: tuple[str, ...]
    result: SearchResult
    truth: sp.csr_matrix
    counts: Int64Array
    n_trained: int
    probable: bool = False
    calibrated: bool = False
    best: npt.NDArray[np.float32] | None = None
    n_filtered: int | None = None

    @property
    def n_points(self) -> int:
        """Number of points N."""
        return int(self.truth.shape[0])


def answers_of(
    model: ELIAS,
    dataset: Dataset,
    *,
    vectors: Any | None = None,
    query: Query | None = None,
    progress: Callable[[int, int], None] | None = None,
    seconds: dict[str, float] | None = None,
) -> Answers:
    """Ask a model; its labels are numbered as it does, those that only the data have come behind.

    Args:
        model: The model.
        dataset: The split.
        vectors: N x D vectors of the points; None: encode them.
        query: How the model is asked.
        progress: Called with the points that are done and all.
        seconds: Gets the time of the search, under ``"search"``.

    Raises:
        InputError: The split has no points, or the two share no label.
    """
    require_points(dataset)
    truth, pairs = truth_of(model, dataset), filtered_of(model, dataset)
    asked = cast(Query, dict(query or {}))
    calibrated = model.calibrator_ is not None and asked.get("score", "ranking") == "ranking"
    if calibrated:
        asked["score"] = "probability"  # the same labels in the same order
    k = DEPTH + most_of_a_point(pairs)
    with timed({} if seconds is None else seconds, "search"):
        result = search_points(
            model, dataset.points, k, vectors=vectors, query=asked, progress=progress
        )
    counts = training_counts(model, truth.shape[1])
    best = None
    if calibrated and model.calibrator_ is not None and model.calibrator_.thresholds_ is not None:
        best = model.calibrator_.thresholds_.of_labels(counts)
    return Answers(
        keys=joint_keys(model.vocabulary.keys, dataset.vocabulary.keys),
        result=result if pairs is None else without_pairs(result, pairs),
        truth=canonical_truth(truth),
        counts=counts,
        n_trained=model.n_points if counts.any() else 0,
        probable=calibrated,
        calibrated=calibrated,
        best=best,
        n_filtered=None if pairs is None else int(pairs.nnz),
    )


def predicted_answers(
    predictions: Predictions, dataset: Dataset, *, train: Dataset | None = None
) -> Answers:
    """Take saved predictions; labels are numbered as in the data, unknown ones come behind.

    Args:
        predictions: From :func:`~learned_index.data.predictions.reading.read_predictions`.
        dataset: The split that they answer.
        train: The training split of the same data, whose points per label are counted; None:
            they are unknown.

    Raises:
        InputError: The split has no points, or no predicted label is one of the data's.
    """
    require_points(dataset)
    n_labels, known = len(predictions.keys), dataset.n_labels
    ids = np.asarray(predictions.result.ids)
    if (ids != PAD_ID).any() and not ((ids != PAD_ID) & (ids < known)).any():
        raise InputError(
            "no predicted label is one of the data's; expected their keys or names "
            f"(predictions: {list(predictions.keys[known : known + 1])} ..., data: "
            f"{list(dataset.vocabulary.keys[:1])} ...)"
        )
    result = predictions.result
    pairs = dataset.filtered
    if pairs is not None and pairs.nnz:
        result = without_pairs(result, _wide(pairs, n_labels))
    counts = np.zeros(n_labels, np.int64)
    if train is not None:
        counts[:known] = points_per_label(train.labels)
    return Answers(
        keys=predictions.keys,
        result=_deep(result),
        truth=canonical_truth(_wide(dataset.labels, n_labels)),
        counts=counts,
        n_trained=0 if train is None else train.n_points,
        probable=predictions.probable,
        n_filtered=None if pairs is None or not pairs.nnz else int(pairs.nnz),
    )


def joint_keys(first: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    """Keys of two vocabularies: those of the first, then what only the other has."""
    return tuple(dict.fromkeys((*first, *more)))


def aligned(a: Answers, b: Answers) -> tuple[Answers, Answers]:
    """Two answers to the same points under one numbering, with one count of training points.

    Labels are matched by key, and thresholds are left out. Counts are those of the first, or of the
    second where the first does not know them, so that frequency and propensities mean the same for
    both.

    Raises:
        InputError: Other numbers of points.
    """
    if a.n_points != b.n_points:
        raise InputError(f"answers to {a.n_points} and to {b.n_points} points; expected the same")
    keys = joint_keys(a.keys, b.keys)
    place = {key: number for number, key in enumerate(keys)}
    joint_L = np.array([place[key] for key in b.keys], np.int64)
    size = len(keys)
    counts = np.zeros(size, np.int64)
    if a.counts.any() or not b.counts.any():
        counts[: len(a.counts)], n_trained = a.counts, a.n_trained
    else:
        counts[joint_L], n_trained = b.counts, b.n_trained
    ids = np.asarray(b.result.ids)
    moved = np.where(ids == PAD_ID, PAD_ID, joint_L[np.maximum(ids, 0)])
    shared: dict[str, Any] = {"keys": keys, "counts": counts, "n_trained": n_trained, "best": None}
    return (
        replace(a, truth=canonical_truth(_wide(a.truth, size)), **shared),
        replace(
            b,
            result=SearchResult(moved, b.result.scores),
            truth=canonical_truth(relabelled(b.truth, joint_L, size)),
            **shared,
        ),
    )


def _wide(labels_NL: sp.csr_matrix, n_labels: int) -> sp.csr_matrix:
    parts = (labels_NL.data, labels_NL.indices, labels_NL.indptr)
    return sp.csr_matrix(parts, shape=(labels_NL.shape[0], n_labels))


def _deep(result: SearchResult) -> SearchResult:
    """As many columns as are measured; missing places are padded."""
    ids, scores = np.asarray(result.ids), np.asarray(result.scores)
    missing = max(0, DEPTH - ids.shape[1])
    wide = ((0, 0), (0, missing))
    return SearchResult(
        np.pad(ids, wide, constant_values=PAD_ID), np.pad(scores, wide, constant_values=PAD_SCORE)
    )
