"""Results of a search as answers with names, and why: what commands print and servers send."""

from __future__ import annotations

from typing import Any

from learned_index.elias.model import ELIAS
from learned_index.types import PAD_ID, Float32Array, Int64Array


def named_answers(
    model: ELIAS, ids_BK: Int64Array, **numbers_BK: Float32Array
) -> list[list[dict[str, Any]]]:
    """The labels of each text, best first, as plain values.

    Args:
        model: Whose labels they are.
        ids_BK: -1 at pads.
        **numbers_BK: What is told of each, by its name in the answers, such as ``score``.

    Returns:
        For each text a list of ``{"label", "key", ...}``, without pads. A number as JSON tells it
        is read back as the same float32.
    """
    names, keys = model.vocabulary, model.vocabulary.keys
    columns = {name: values.tolist() for name, values in numbers_BK.items()}
    return [
        [
            {"label": names.name(label), "key": keys[label]}
            | {name: values[row][place] for name, values in columns.items()}
            for place, label in enumerate(ids)
            if label != PAD_ID
        ]
        for row, ids in enumerate(ids_BK.tolist())
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
