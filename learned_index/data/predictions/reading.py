"""Predictions matched with the points and labels of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from learned_index.data.dataset import Dataset
from learned_index.data.predictions.files import NAMED, format_of, iter_predictions, labels_file
from learned_index.data.predictions.rows import PredictedRow, as_result
from learned_index.data.vocabulary import LabelVocabulary
from learned_index.errors import InputError
from learned_index.persistence.foreign import file_exists
from learned_index.types import SearchResult


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions for the points of a split, in their order.

    Attributes:
        keys: Keys of the labels by id: those of the data, then what only the predictions name.
        result: Ids and scores N x the most labels of a point; scores are the probabilities where
            the file has any.
        probable: Whether all scores lie in 0 to 1, as probabilities do.
        n_unknown: Different labels that the data do not know; each answer of one is wrong.
        n_other: Rows for points that the split has not got.
    """

    keys: tuple[str, ...]
    result: SearchResult
    probable: bool
    n_unknown: int
    n_other: int


def read_predictions(
    path: Path | str, dataset: Dataset, *, labels: Path | None = None
) -> Predictions:
    """Read a file of predictions for a split.

    Rows belong to points by id where the file and the data have ids, else by their order.

    Args:
        path: JSON lines, Parquet, sparse text or a sparse matrix, by its name.
        dataset: The split.
        labels: File that names the labels which the file numbers, ``KEY<TAB>TEXT`` a line; None:
            ``PATH.labels.txt`` where that is there, else the data's own numbers.

    Raises:
        DataFormatError: As :func:`~learned_index.data.predictions.files.iter_predictions`.
        InputError: Rows and points that do not fit together, ambiguous names of labels.
    """
    path = Path(path)
    keys = dict.fromkeys(dataset.vocabulary.keys)
    numbered: Sequence[str] | None = None
    if format_of(path) not in NAMED:
        beside = labels_file(path)
        if labels is None and file_exists(beside):
            labels = beside
        numbered = dataset.vocabulary.keys if labels is None else LabelVocabulary.read(labels).keys
    rows = list(iter_predictions(path, n_labels=0 if numbered is None else len(numbered)))
    ordered, n_other = _by_point(path, rows, dataset)
    number = {key: place for place, key in enumerate(keys)}
    found = []
    probable = all(len(row.probabilities) == len(row.labels) for row in ordered)
    for row in ordered:
        names = row.labels if numbered is None else [numbered[int(n)] for n in row.labels]
        ids = [number.setdefault(_key(str(n), dataset.vocabulary), len(number)) for n in names]
        if len(set(ids)) != len(ids):
            twice = next(n for n, each in zip(names, ids, strict=True) if ids.count(each) > 1)
            raise InputError(f"{path}: the label {twice!r:.80} is predicted twice for one point")
        found.append((ids, row.probabilities if probable else row.scores))
    result = as_result(found)
    values = result.scores[result.ids >= 0]
    has_scores = probable or all(len(row.scores) == len(row.labels) for row in ordered)
    probable = bool(has_scores and values.size and ((values >= 0) & (values <= 1)).all())
    n_unknown = len(number) - len(dataset.vocabulary)
    return Predictions(tuple(number), result, probable, n_unknown, n_other)


def _key(name: str, vocabulary: LabelVocabulary) -> str:
    """The key of a label that the data know by key or text; another name as it is."""
    return vocabulary.keys[vocabulary.id(name)] if name in vocabulary else name


def _by_point(
    path: Path, rows: list[PredictedRow], dataset: Dataset
) -> tuple[list[PredictedRow], int]:
    """The rows in the order of the points, and how many belong to none."""
    ids = dataset.ids
    has_ids = rows and all(row.id is not None for row in rows)
    if ids is None or not has_ids or len(set(ids)) != len(ids):
        if len(rows) != dataset.n_points:
            raise InputError(
                f"{path} has {len(rows)} rows, the {dataset.split} split {dataset.n_points} "
                "points; expected a row for each, in their order, with an empty list where nothing "
                "is predicted"
            )
        return rows, 0
    by_id = {row.id: row for row in rows}
    if len(by_id) != len(rows):
        seen: set[str | None] = set()
        twice = next(row.id for row in rows if row.id in seen or seen.add(row.id))  # type: ignore[func-returns-value]
        raise InputError(f"{path} has two rows for the point {twice!r:.80}; expected one")
    missing = [each for each in ids if each not in by_id]
    if missing:
        raise InputError(
            f"{path} has no row for {len(missing)} of the {dataset.n_points} points of the "
            f"{dataset.split} split, the first of them {missing[0]!r:.80}; expected a row for "
            "each, with an empty list where nothing is predicted"
        )
    return [by_id[each] for each in ids], len(rows) - len(np.unique(ids))
