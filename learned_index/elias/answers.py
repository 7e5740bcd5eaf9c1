"""Results of a search as answers with names, and why: what commands print and servers send."""

from __future__ import annotations

from typing import Any

from learned_index.elias.model import ELIAS
from learned_index.types import PAD_ID, Int64Array, SearchResult


def named_answers(model: ELIAS, result: SearchResult) -> list[list[dict[str, Any]]]:
    """The labels of each text, best first, as plain values.

    Args:
        model: Whose labels they are.
        result: B x k.

    Returns:
        For each text a list of ``{"label", "key", "score"}``, without pads. A score as JSON tells
        it is read back as the same float32.
    """
    names, keys = model.vocabulary, model.vocabulary.keys
    return [
        [
            {"label": names.name(label), "key": keys[label], "score": score}
            for label, score in zip(ids, scores, strict=True)
            if label != PAD_ID
        ]
        for ids, scores in zip(result.ids.tolist(), result.scores.tolist(), strict=True)
    ]


def explained(model: ELIAS, text: str, answer: list[dict[str, Any]], ids_K: Int64Array) -> None:
    """Add to the labels of one text why each has its score, as ``"why"``.

    Args:
        model: That answered.
        text: What was asked.
        answer: Of :func:`named_answers`.
        ids_K: The row of the result.
    """
    found = ids_K[ids_K != PAD_ID].tolist()
    why = model.explain(text, found) if found else []
    for each, told in zip(answer, why, strict=True):
        each["why"] = told.to_dict()
