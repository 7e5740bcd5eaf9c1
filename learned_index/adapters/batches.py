"""Answers as columns of a table: what the engines for many rows share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from learned_index.adapters.retrieval import found_labels, opened
from learned_index.elias.model import ELIAS
from learned_index.elias.thresholds import Threshold
from learned_index.errors import InputError

_SINGULAR = {
    "labels": "label", "keys": "key", "scores": "score", "probabilities": "probability"
}  # fmt: skip
COLUMNS = tuple(_SINGULAR)
"""Columns of answers, a list for each text: names and keys of its labels, ranking scores, and, of a
calibrated model, probabilities."""


def answer_columns(
    model: ELIAS, texts: Sequence[str], *, k: int, threshold: Threshold | None = None
) -> dict[str, list[list[Any]]]:
    """The best labels of texts, as columns.

    Args:
        model: The model.
        texts: B texts.
        k: Labels wanted of each.
        threshold: As :meth:`ELIAS.search`.

    Returns:
        :data:`COLUMNS`, B lists each; without ``probabilities`` where the model is not calibrated.
    """
    rows = found_labels(model, texts, k=k, threshold=threshold)
    names = [name for name in COLUMNS if name != "probabilities" or model.calibrator_ is not None]
    return {name: [[each[_SINGULAR[name]] for each in row] for row in rows] for name in names}


@lru_cache(maxsize=4)
def opened_once(path: str) -> ELIAS:
    """A saved model, opened once in a process; processes of a machine share a compiled one's pages.

    Raises:
        ModelFormatError: No model lies there.
    """
    return opened(path)


def require_free(columns: Sequence[str], text: str) -> None:
    """Check that a table has texts, and no column of the name of an answer's.

    Raises:
        InputError: Names the column.
    """
    if text not in columns:
        raise InputError(f"there is no column {text!r}; there are {', '.join(columns) or 'none'}")
    taken = [name for name in COLUMNS if name in columns]
    if taken:
        raise InputError(
            f"the table has a column {taken[0]!r} already, as answers have; rename or drop it"
        )
