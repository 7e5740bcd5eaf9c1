"""What retrievers share: a model given as it is or by its path, and its answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from learned_index.elias.answers import named_answers
from learned_index.elias.model import ELIAS
from learned_index.elias.thresholds import Threshold, scored_answers
from learned_index.errors import InputError
from learned_index.inputs.numbers import shown

ModelOrPath: TypeAlias = ELIAS | str | Path
Names: TypeAlias = list[str] | None
"""Names or keys of labels; None: no filter."""


def opened(model: ModelOrPath) -> ELIAS:
    """The model itself, or the one that is saved at a path.

    Raises:
        InputError: Neither.
        ModelFormatError: No model lies there.
        NotFittedError: It is not trained.
    """
    if isinstance(model, str | Path):
        return ELIAS.from_pretrained(model)
    if not isinstance(model, ELIAS):
        raise InputError(f"got {shown(model)} for a model, expected an ELIAS model or its path")
    model.require_fitted()
    return model


def path_of(model: ModelOrPath) -> str:
    """What stands for a model in a saved pipeline.

    Raises:
        InputError: It was given as an object.
    """
    if not isinstance(model, str | Path):
        raise InputError(
            "the model was given as an object, and only its path can be written down; save it with "
            "save_pretrained(directory), and give the directory"
        )
    return str(model)


def found_labels(
    model: ELIAS,
    texts: Sequence[str],
    *,
    k: int,
    threshold: Threshold | None = None,
    allow: Names = None,
    deny: Names = None,
) -> list[list[dict[str, Any]]]:
    """The best labels of each text as plain values.

    Args:
        model: The model.
        texts: B texts.
        k: Labels wanted.
        threshold: Least probability, or least ranking score of a model without calibration;
            ``"best"``: the least probability that is best for the label; None: all k.
        allow: The only labels to find.
        deny: Labels not to find.

    Returns:
        For each text, best first: ``label`` (its text), ``key``, ``score`` (of the ranking), with
        calibration ``probability``, and ``description`` where it has one.
    """
    filters: Any = {
        name: None if labels is None else list(labels)
        for name, labels in (("allow", allow), ("deny", deny))
    }
    found, p_BK = scored_answers(model, list(texts), k, threshold=threshold, options=filters)
    numbers = {"score": found.scores} | ({} if p_BK is None else {"probability": p_BK})
    answers = named_answers(model, found.ids, **numbers)
    descriptions = model.vocabulary.descriptions
    for row, ids in zip(answers, found.ids.tolist(), strict=True):
        for answer, label in zip(row, ids, strict=False):  # pads stand behind
            if descriptions[label]:
                answer["description"] = descriptions[label]
    return answers


def metadata(answer: dict[str, Any]) -> dict[str, Any]:
    """What a document or node tells of a label beside its text."""
    return {name: value for name, value in answer.items() if name != "label"}
