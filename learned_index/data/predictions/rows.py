"""Predicted labels of points, row by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from learned_index.errors import InputError
from learned_index.types import PAD_ID, PAD_SCORE, SearchResult


class PredictedRow(NamedTuple):
    """What is predicted for one point.

    Attributes:
        labels: Keys or names of labels, or their ids, best first; none twice.
        scores: As many numbers, not rising; empty: nobody gave any.
        probabilities: As many numbers in 0 to 1; empty: likewise.
        id: Name of the point, or None.
    """

    labels: Sequence[str] | Sequence[int]
    scores: Sequence[float] = ()
    probabilities: Sequence[float] = ()
    id: str | None = None


def checked_row(
    labels: Sequence[str] | Sequence[int],
    scores: Sequence[float],
    probabilities: Sequence[float],
    point_id: str | None,
) -> PredictedRow:
    """Put the labels of a point in the order of their scores; of equal ones the first stays first.

    Raises:
        InputError: A label twice, numbers of labels and scores that differ, NaN or infinity.
    """
    for what, values in (("scores", scores), ("probabilities", probabilities)):
        if len(values) and len(values) != len(labels):
            raise InputError(f"{len(labels)} labels and {len(values)} {what}; expected as many")
        if len(values) and not np.isfinite(np.asarray(values, np.float64)).all():
            raise InputError(f"the {what} hold NaN or infinity; expected finite numbers")
    if len(set(labels)) != len(labels):
        twice = next(label for label in labels if list(labels).count(label) > 1)
        raise InputError(f"the label {twice!r:.80} is predicted twice; expected each once")
    if len(scores):
        order = np.argsort(-np.asarray(scores, np.float64), kind="stable").tolist()
        if order != list(range(len(order))):
            labels = [labels[place] for place in order]
            scores = [scores[place] for place in order]
            probabilities = [probabilities[place] for place in order] if len(probabilities) else ()
    return PredictedRow(labels, scores, probabilities, point_id)


def as_result(rows: Sequence[tuple[Sequence[int], Sequence[float]]]) -> SearchResult:
    """Ids and scores of N points, padded to the longest."""
    width = max((len(ids) for ids, _ in rows), default=0)
    found = np.full((len(rows), width), PAD_ID, np.int64)
    scores = np.full((len(rows), width), PAD_SCORE, np.float32)
    for row, (ids, values) in enumerate(rows):
        found[row, : len(ids)] = ids
        # Without scores the order is all that is known, and any falling numbers say it.
        scores[row, : len(ids)] = values if len(values) else -np.arange(len(ids))
    return SearchResult(found, scores)
