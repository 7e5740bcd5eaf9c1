"""Labels that come with texts: ids or names, with or without a vocabulary."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any

import numpy as np
import scipy.sparse as sp

from learned_index.data.dataset import Dataset
from learned_index.data.vocabulary import LabelVocabulary
from learned_index.errors import InputError
from learned_index.inputs.labels import as_label_matrix, relabelled
from learned_index.inputs.numbers import shown
from learned_index.inputs.points import n_rows
from learned_index.inputs.vectors import is_tensor
from learned_index.types import Int64Array


def as_vocabulary(vocabulary: Any) -> LabelVocabulary | None:
    """A vocabulary from one, or from a list of the labels' names by id; None stays None.

    Raises:
        InputError: Something else, or names that are not allowed.
    """
    if vocabulary is None or isinstance(vocabulary, LabelVocabulary):
        return vocabulary
    if isinstance(vocabulary, str | bytes | Mapping | Set) or not isinstance(vocabulary, Iterable):
        raise InputError(
            f"the vocabulary is {shown(vocabulary)}, expected a LabelVocabulary or a list with the "
            "name of each label; LabelVocabulary.read(path) reads a file"
        )
    return LabelVocabulary(vocabulary)


def named_label_matrix(
    points: Any, labels: Any, vocabulary: Any
) -> tuple[sp.csr_matrix, LabelVocabulary]:
    """Labels of points as a matrix, and what its columns are called.

    Args:
        points: N texts, or CSR N x F.
        labels: What :func:`~learned_index.inputs.labels.as_label_matrix` takes; or N lists of
            names, or N names where each point has one label; or a data frame that is an indicator,
            whose columns are the labels' names.
        vocabulary: A vocabulary, a list of the labels' names, or None: names that are given
            become one, in alphabetic order; ids are called "0", "1", ...

    Returns:
        Canonical CSR of ones, N x L, and a vocabulary of L labels.

    Raises:
        InputError: Numbers of points, labels or names that do not fit together, unknown names,
            names beside ids.
    """
    n_points = n_rows(points)
    known = as_vocabulary(vocabulary)
    if known is None:
        known = _named_columns(labels)
    labels = read_labels(labels)
    labels, known = _ids_of_names(labels, known)
    if n_rows(labels, name="labels") != n_points:
        raise InputError(
            f"got {n_points} texts and {n_rows(labels)} rows of labels; expected as many"
        )
    shape: Any = getattr(labels, "shape", ())
    if known is not None and len(shape) == 2 and shape[1] != len(known):
        raise InputError(
            f"labels have {shape[1]} columns, but the vocabulary names {len(known)} labels; give "
            "the name of each column, in their order"
        )
    n_labels = None if known is None else len(known)
    matrix = as_label_matrix(labels, n_points=n_points, n_labels=n_labels)
    return matrix, known or LabelVocabulary.numbered(matrix.shape[1])


def read_labels(labels: Any) -> Any:
    """Labels that may be read more than once: frames and columns of Arrow as NumPy or lists."""
    if hasattr(labels, "columns") and hasattr(labels, "to_numpy"):
        return labels.to_numpy()
    if hasattr(labels, "to_pylist"):
        return labels.to_pylist()
    return list(labels) if isinstance(labels, Iterator) else labels


def _named_columns(labels: Any) -> LabelVocabulary | None:
    """The names of the columns of a data frame; None where it is none, or numbers its columns."""
    columns = list(getattr(labels, "columns", ()))
    if not columns or not all(isinstance(name, str) for name in columns):
        return None
    return LabelVocabulary(columns)


def ids_of(labels: Any, vocabulary: LabelVocabulary) -> Any:
    """A list of names as ids; ids, masks and None as they are.

    Raises:
        InputError: A name that no label has.
    """
    if isinstance(labels, list | tuple | set | frozenset | np.ndarray) and any(
        isinstance(label, str) for label in labels
    ):
        return vocabulary.ids(labels)
    return labels


def _ids_of_names(
    labels: Any, vocabulary: LabelVocabulary | None
) -> tuple[Any, LabelVocabulary | None]:
    """Rows of names as rows of ids; everything else as it is."""
    # Names come as objects, texts, bytes or variable-length strings (kinds O, U, S, T).
    numeric = getattr(getattr(labels, "dtype", None), "kind", "O") not in "OUST"
    other = (
        sp.issparse(labels) or is_tensor(labels) or isinstance(labels, str | bytes | Mapping | Set)
    )
    if numeric or other or not isinstance(labels, Iterable):
        return labels, vocabulary
    labels = [list(row) if isinstance(row, Iterator) else row for row in labels]
    # The first row that has a label decides: names and ids do not mix.
    first = next((row for row in labels if not hasattr(row, "__len__") or len(row)), ())
    if not _holds_name(first):
        return labels, vocabulary
    rows = [_names(row, number) for number, row in enumerate(labels)]
    if vocabulary is None:
        vocabulary = LabelVocabulary(sorted({name for row in rows for name in row}))
    ids: list[list[int]] = []
    for number, row in enumerate(rows):
        try:
            ids.append([vocabulary.id(name) for name in row])
        except InputError as error:
            raise InputError(f"row {number}: {error}") from None
    return ids, vocabulary


def _holds_name(row: Any) -> bool:
    if isinstance(row, str):
        return True
    return hasattr(row, "__len__") and any(isinstance(label, str) for label in row)


def _names(row: Any, number: int) -> list[str]:
    names = [row] if isinstance(row, str) or not isinstance(row, Iterable) else list(row)
    for name in names:
        if not isinstance(name, str):
            raise InputError(
                f"row {number} has the label {shown(name)} beside names in other places; give the "
                "names of all labels, or the ids of all"
            )
    return [str(name) for name in names]


def joint_ids(model: LabelVocabulary, data: LabelVocabulary) -> tuple[Int64Array, int]:
    """Number the labels of a data set and of a model together, by key.

    Args:
        model: The model's labels.
        data: The data set's labels; they keep their ids.

    Returns:
        int64, L of the model: the joint id of each of the model's labels (those that the data
        set does not know get ids behind its own); and the number of joint ids.
    """
    id_of_key = {key: number for number, key in enumerate(data.keys)}
    # What the data do not know gets the next free id, in the order of the model.
    joint = [id_of_key.setdefault(key, len(id_of_key)) for key in model.keys]
    return np.array(joint, dtype=np.int64), len(id_of_key)


def renumbered(
    model: LabelVocabulary, dataset: Dataset, pairs_NL: sp.csr_matrix | None = None
) -> sp.csr_matrix:
    """Labels of a split under the model's numbers; labels it does not know come behind.

    Args:
        model: The model's labels.
        dataset: The split.
        pairs_NL: Other pairs than its labels, CSR N x L of the split's labels.

    Raises:
        InputError: The two share no label.
    """
    joint, size = joint_ids(dataset.vocabulary, model)
    if joint.size == 0 or joint.min() >= len(model):
        raise InputError(
            "the model and the data have no label in common; was it trained on other data? "
            f"(model: {list(model.keys[:1])} ..., data: {list(dataset.vocabulary.keys[:1])} ...)"
        )
    return relabelled(dataset.labels if pairs_NL is None else pairs_NL, joint, size)
