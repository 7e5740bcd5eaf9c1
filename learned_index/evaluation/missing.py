"""Labels that points of a data set probably miss: probable ones that the points do not have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from learned_index.data.dataset import Dataset
from learned_index.elias.model import ELIAS
from learned_index.elias.points import take
from learned_index.errors import InputError
from learned_index.evaluation.search import BATCH, require_points
from learned_index.evaluation.truth import truth_of
from learned_index.inputs.numbers import real_number, whole_number
from learned_index.metrics import hit_matrix

LOOKED_AT = 100
"""Best labels of each point that are looked at unless another number is asked for."""


@dataclass(frozen=True)
class MissingLabel:
    """A label that a point probably misses.

    Attributes:
        row: The point's row in the split, from 0.
        id: Its name; None where the data name no points.
        text: None for points without texts.
        label: Name of the suggested label.
        key: Its key.
        probability: Calibrated, 0 to 1.
        score: Ranking score, 0 to 1: tells labels of equal probability apart.
        labels: Names of the labels that the point has.
    """

    row: int
    id: str | None
    text: str | None
    label: str
    key: str
    probability: float
    score: float
    labels: list[str]

    def to_dict(self) -> dict[str, Any]:
        """All of it as lists, dictionaries, numbers and strings."""
        return asdict(self)


@dataclass(frozen=True)
class MissingLabels:
    """Suggestions for a split.

    Attributes:
        split: Name of the split.
        threshold: Least probability.
        n_points: Points of the split.
        n_unlabelled: Points without labels, which were left out.
        n_unanswered: Labelled points without an answer: blank, or without a word that the model
            knows.
        n_found: Labels that reach the threshold and that their points do not have.
        n_points_found: Points that have such a label.
        suggestions: The most probable of them first; of equal probability (calibration can give
            many pairs the same) that of the largest ranking score, then the first point.
    """

    split: str
    threshold: float
    n_points: int
    n_unlabelled: int
    n_unanswered: int
    n_found: int
    n_points_found: int
    suggestions: list[MissingLabel]

    def to_dict(self) -> dict[str, Any]:
        """All of it as lists, dictionaries, numbers and strings."""
        return asdict(self)


def suggest_missing(
    model: ELIAS,
    dataset: Dataset,
    *,
    threshold: float = 0.5,
    limit: int | None = None,
    k: int = LOOKED_AT,
    vectors: Any | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> MissingLabels:
    """Find labels that the model holds probable and that the points do not have.

    A point without any label was not labelled, rather than that one was forgotten: it is left out,
    and counted. What such a point has is what :meth:`ELIAS.predict_proba` answers.

    Args:
        model: Trained with calibration; compiled or not.
        dataset: The split; labels are matched by key, those that the model does not know are
            labels that the point has.
        threshold: Least probability, 0 to 1.
        limit: Suggestions wanted, at most; None: all.
        k: Best labels of each point that are looked at.
        vectors: N x D vectors of the points; None: encode them.
        progress: Called with the points that are done and all.

    Raises:
        InputError: A model without calibration, a split without points, no label in common,
            numbers that do not fit.
        NotFittedError: The model is not trained.
    """
    require_calibration(model)
    threshold = real_number(threshold, "threshold", low=0.0, high=1.0)
    limit = None if limit is None else whole_number(limit, "limit")
    k = min(whole_number(k, "k"), model.n_labels)
    require_points(dataset)
    truth = truth_of(model, dataset)
    n = dataset.n_points
    if vectors is not None and len(vectors) != n:
        raise InputError(f"got {len(vectors)} vectors for {n} points; expected as many")
    is_labelled = np.diff(truth.indptr) > 0
    kept = _Kept(limit)
    n_unanswered = 0
    for start in range(0, n, BATCH):
        part = slice(start, min(start + BATCH, n))
        points, known = dataset.points[part], None if vectors is None else vectors[part]
        ids, p = model.search(points, k, vectors=known, score="probability")
        asked_B = is_labelled[part]
        n_unanswered += int((asked_B & (ids < 0).all(axis=1)).sum())
        # Pads score minus infinity, below every threshold.
        is_missing = (p >= threshold) & ~hit_matrix(ids, truth[part]) & asked_B[:, None]
        (some,) = np.nonzero(is_missing.any(axis=1))
        # Few points have any, so these are asked again: the same labels in the same order.
        known = None if known is None else known[some]
        score = model.search(take(points, some), k, vectors=known).scores
        rows, places = np.nonzero(is_missing[some])
        at = some[rows], places
        kept.add(at[0] + start, ids[at], p[at], score[rows, places])
        if progress is not None:
            progress(part.stop, n)
    return MissingLabels(
        split=dataset.split,
        threshold=threshold,
        n_points=n,
        n_unlabelled=int((~is_labelled).sum()),
        n_unanswered=n_unanswered,
        n_found=kept.n_found,
        n_points_found=kept.n_rows,
        suggestions=[
            MissingLabel(
                row=row,
                id=None if dataset.ids is None else dataset.ids[row],
                text=None if dataset.texts is None else dataset.texts[row],
                label=model.vocabulary.name(label),
                key=model.vocabulary.keys[label],
                probability=p,
                score=score,
                labels=dataset.label_names(row),
            )
            for row, label, p, score in kept.pairs()
        ],
    )


def require_calibration(model: ELIAS) -> None:
    """Refuse a model that has no probabilities.

    Raises:
        InputError: It was trained without calibration.
        NotFittedError: It is not trained.
    """
    model.require_fitted()
    if model.calibrator_ is None:
        raise InputError(
            "the model was trained without calibration, so it has no probabilities to compare with "
            "a threshold; train it by li train, with points to hold out and --calibration auto "
            "(calibration of EliasConfig)"
        )


class _Kept:
    """The best pairs of all that have been seen: at most the limit, and a batch's."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.n_found = self.n_rows = 0
        self._columns: list[Any] = [
            np.empty(0, dtype) for dtype in (np.int64, np.int64, np.float32, np.float32)
        ]

    def add(self, rows: Any, labels: Any, p: Any, scores: Any) -> None:
        """Take the pairs of a batch, in the order of its rows."""
        self.n_found += len(rows)
        self.n_rows += len(np.unique(rows))
        given = (rows, labels, p, scores)
        columns = [np.concatenate(both) for both in zip(self._columns, given, strict=True)]
        # By its last key first; stable: of equal pairs what came first stays first.
        order = np.lexsort((-columns[3], -columns[2]))[: self.limit]
        self._columns = [column[order] for column in columns]

    def pairs(self) -> Iterator[tuple[int, int, float, float]]:
        """Row, label, probability, ranking score of each, the most probable first."""
        return zip(*(column.tolist() for column in self._columns), strict=True)
