"""What the thread that searches does: texts, vectors or labels in, answers with names out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from learned_index.elias.answers import explained, named_answers
from learned_index.elias.model import ELIAS
from learned_index.elias.prediction import Score, predict_points
from learned_index.elias.thresholds import Threshold, search_above
from learned_index.encoding import sparse_features
from learned_index.errors import InputError
from learned_index.serving.metrics import Metrics
from learned_index.serving.models import Served

_NO_TEXT = "-"
"""Stands for the text of a vector, which only the index is asked about; a blank has no answer."""


@dataclass(frozen=True)
class Search:
    """How texts or vectors are searched; requests with equal ones are searched together.

    Attributes:
        k: Labels wanted.
        score: As :meth:`ELIAS.search`.
        by_vectors: Whether the items are vectors: then the index alone is asked.
        threshold: As :meth:`ELIAS.search`; None: all labels are answered.
        allow: Names of the only labels to find; None: all.
        deny: Names of labels not to find; None: none.
        beam_width: As :meth:`ELIAS.search`.
        shortlist_size: Likewise.
        explain: Whether each label tells why.
    """

    k: int
    score: Score = "ranking"
    by_vectors: bool = False
    threshold: Threshold | None = None
    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] | None = None
    beam_width: int | None = None
    shortlist_size: int | None = None
    explain: bool = False

    def work(self, metrics: Metrics) -> Any:
        """The search as :data:`~learned_index.serving.batching.Work`."""
        return lambda served, items: search(served, items, self, metrics)


def search(
    served: Served, items: Sequence[Any], how: Search, metrics: Metrics
) -> list[list[dict[str, Any]]]:
    """Answer texts or vectors.

    Args:
        served: The model.
        items: Texts, or vectors as lists of D numbers.
        how: What is wanted.
        metrics: Where steps and answers are counted.

    Returns:
        For each item its labels, best first: label, key, score, and why if that is wanted.

    Raises:
        InputError: As :meth:`ELIAS.search`.
    """
    model = served.model
    texts = list(items)
    vectors: list[Any] | None = None
    if how.by_vectors:
        _check_vectors(model, how)
        texts, vectors = [_NO_TEXT] * len(items), [np.asarray(items, np.float64)]
    sparse = None
    with metrics.timed("encode"):
        if vectors is None:
            vectors = list(model.encode(texts))
            if model.ranker_ is not None and how.score != "index":
                assert model.features is not None
                sparse = sparse_features(model.features, texts)
    options: Any = {
        "beam_width": how.beam_width,
        "shortlist_size": how.shortlist_size,
        "allow": None if how.allow is None else list(how.allow),
        "deny": None if how.deny is None else list(how.deny),
    }

    with metrics.timed("search"):
        given: Any = {"vectors": vectors, "sparse": sparse, "score": how.score, "options": options}
        if how.threshold is None:
            result = predict_points(model, texts, how.k, **given)
        else:
            result = search_above(model, texts, how.k, threshold=how.threshold, **given)
    with metrics.timed("answer"):
        answers = named_answers(model, result.ids, score=result.scores)
    if how.explain:
        with metrics.timed("explain"):
            for text, answer, ids in zip(texts, answers, result.ids, strict=True):
                explained(model, text, answer, ids)
    metrics.answered(served, result.ids, result.scores)
    return answers


def _check_vectors(model: ELIAS, how: Search) -> None:
    if model.has_own_encoders:
        raise InputError("the members of this model have encoders of their own; send texts")
    if how.explain:
        raise InputError("an explanation needs the text; send texts")
    if how.score != "index" and model.ranker_ is not None:
        raise InputError(
            "this model ranks by words, which a vector has not: send texts, or ask for the score "
            "'index'"
        )


@dataclass(frozen=True)
class Scoring:
    """Which labels are scored for texts.

    Attributes:
        labels: Names or keys, for all texts.
        score: As :meth:`ELIAS.score`.
    """

    labels: tuple[str, ...]
    score: Score = "ranking"

    def work(self, metrics: Metrics) -> Any:
        """As :data:`~learned_index.serving.batching.Work`; an answer is a list of scores."""

        def score(served: Served, items: Sequence[str]) -> list[list[float | None]]:
            with metrics.timed("search"):
                rows = served.model.score(list(items), list(self.labels), score=self.score)
            return [[None if np.isneginf(x) else float(x) for x in row] for row in rows]

        return score
