"""Labels of points, positives of a batch, lists and masks of labels.

A label is a whole number of 0 to L - 1. Fractions, truth values and texts are none. Names become
ids by a vocabulary, see :mod:`learned_index.data.naming`.

A table of zeros and ones is read as an indicator, whose columns are the labels, where nothing else
can be meant, and refused where something else can. It is never read as lists of the ids 0 and 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import chain
from operator import index as whole
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.errors import InputError
from learned_index.inputs.matrices import canonical_labels
from learned_index.inputs.numbers import shown
from learned_index.inputs.vectors import as_array, is_sparse_tensor

Labels: TypeAlias = sp.csr_matrix | npt.NDArray[Any] | Sequence[Sequence[int]]
"""Labels of N points, see :func:`as_label_matrix`."""
LabelIds: TypeAlias = Sequence[int] | npt.NDArray[Any]
"""Ids of labels in any order, or a mask of L booleans."""

_SMALL = 10_000
_SPREAD = 20
"""Ids may run to so many times their number; more is an accident that costs memory."""
_SMALL_MATRIX = 100_000
_SPREAD_MATRIX = 1000
"""The same of the columns of a matrix, whose width somebody chose."""


def as_label_matrix(
    labels: Any,
    *,
    n_points: int,
    n_labels: int | None = None,
    need_labels: bool = True,
    name: str = "labels",
) -> sp.csr_matrix:
    """Canonical CSR (sorted, no duplicates, float32 ones) from labels in any form.

    Args:
        labels: One of

            - a scipy sparse matrix N x L of zeros and ones (a stored 0 is no label);
            - N sequences of label ids, or N ids where each point has one label;
            - a dense array or tensor N x L of booleans, or of zeros and ones in at least two
              columns: an indicator. An array of ids is refused: ``labels.tolist()`` says that
              its rows are lists. So are lists that are all of one length and hold only 0 and 1,
              where they could be an indicator.
        n_points: N expected.
        n_labels: L; None: the columns, or the largest id + 1, if these are no more than fit the
            number of labels that occur.
        need_labels: Refuse a matrix without any label.
        name: What they are, in errors about their number.

    Raises:
        InputError: Another shape, no labels, values that are no label ids, an array that can be
            read in two ways, ids or columns far beyond the number of labels.
    """
    if sp.issparse(labels):
        matrix = canonical_labels(labels)
    else:
        table = _table(labels)
        matrix = _from_lists(labels, n_labels, guess=True) if table is None else _indicator(table)
    rows, columns = matrix.shape
    if rows != n_points:
        raise InputError(f"{name} have {rows} rows, expected {n_points}, one for each point")
    if n_labels is not None and columns != n_labels:
        raise InputError(f"{name} have {columns} columns, expected {n_labels}, one for each label")
    if need_labels and matrix.nnz == 0:
        raise InputError("no point has a label; expected at least one")
    if n_labels is None:
        _check_width(matrix)
    return matrix


def points_per_label(labels_NL: sp.csr_matrix) -> npt.NDArray[np.int64]:
    """Points of each label, int64 L; no point has a label twice."""
    return np.bincount(labels_NL.indices, minlength=labels_NL.shape[1]).astype(np.int64)


def relabelled(
    labels_NL: sp.csr_matrix, target_L: npt.NDArray[np.int64], n_labels: int
) -> sp.csr_matrix:
    """The same labels under other ids, in ascending order.

    Args:
        labels_NL: CSR.
        target_L: int64, the new id of each label.
        n_labels: Of how many labels they are then.
    """
    moved = (labels_NL.data, target_L[labels_NL.indices], labels_NL.indptr)
    matrix = sp.csr_matrix(moved, shape=(labels_NL.shape[0], n_labels))
    matrix.sort_indices()
    return matrix


def labels_from_lists(rows: Iterable[Any], n_labels: int) -> sp.csr_matrix:
    """The same from lists of ids below ``n_labels``, which may be a generator.

    Raises:
        InputError: An id is out of range, or no whole number.
    """
    return _from_lists(rows, n_labels, guess=False)


def _table(labels: Any) -> Any:
    """The labels as an array, if they are one of two dimensions (or of a number that is wrong)."""
    ndim = getattr(labels, "ndim", None)
    if ndim is None or ndim == 1:
        return None
    if is_sparse_tensor(labels):
        raise InputError("labels are a sparse tensor, expected a scipy.sparse matrix N x L")
    table = as_array(labels, name="labels")
    if table.ndim != 2:
        raise InputError(f"labels have shape {table.shape}, expected two dimensions (points x L)")
    return table


def _is_zero_or_one(table: Any) -> bool:
    return table.dtype.kind == "b" or (
        table.dtype.kind in "iuf" and bool(((table == 0) | (table == 1)).all())
    )


def _indicator(table: Any) -> sp.csr_matrix:
    if not _is_zero_or_one(table) or (table.shape[1] == 1 and table.dtype.kind != "b"):
        raise InputError(
            f"labels are an array of {table.dtype} {table.shape} that may be read in two ways; if "
            "its columns are the labels, give scipy.sparse.csr_matrix(labels != 0), if its rows "
            "are lists of label ids, give labels.tolist()"
        )
    return canonical_labels(sp.csr_matrix(table != 0))


def _from_lists(labels: Any, n_labels: int | None, *, guess: bool) -> sp.csr_matrix:
    if isinstance(labels, str | bytes | Set | Mapping) or not isinstance(labels, Iterable):
        raise InputError(
            f"labels are a {type(labels).__name__} ({shown(labels)}), expected a scipy.sparse "
            "matrix N x L or a list of lists of label ids"
        )
    rows = [_row(row) for row in labels]
    counts = np.fromiter(map(len, rows), np.int64, len(rows))
    flat = list(chain.from_iterable(rows))
    # Nearly always all are ints, and no loop of Python goes over them.
    if set(map(type, flat)) - {int}:
        flat = [_label_id(value, number) for number, row in enumerate(rows) for value in row]
    # One less than int64 holds, for the width is the largest id + 1.
    largest = 2**63 - 2 if n_labels is None else n_labels - 1
    if flat and not (min(flat) >= 0 and max(flat) <= largest):
        wrong = next(place for place, label in enumerate(flat) if not 0 <= label <= largest)
        row = int(np.searchsorted(np.cumsum(counts), wrong, side="right"))
        end = " or more, in 63 bits" if n_labels is None else f" to {n_labels - 1}"
        raise InputError(f"row {row} has label id {shown(flat[wrong])}, expected 0{end}")
    indices = np.array(flat, dtype=np.int64)
    most = int(indices.max(initial=-1))
    width = int(counts[0]) if len(counts) else 0
    same = width > 1 and most <= 1 and bool((counts == width).all())
    if guess and same and (width > 2 or n_labels in (None, 2)):
        raise InputError(
            f"labels are lists of {width} numbers each, all of them 0 or 1; an indicator is given "
            "as numpy.array(labels) or as scipy.sparse.csr_matrix(labels), lists of label ids "
            "name an id once"
        )
    # Small ids are never far: most callers need not have their number counted.
    if n_labels is None and most >= _SMALL:
        different = len(np.unique(indices))
        if is_far_beyond(most, different):
            raise _too_wide(f"label ids run to {most}", different)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    shape = (len(rows), most + 1 if n_labels is None else n_labels)
    ones = np.ones(len(indices), np.float32)
    matrix = sp.csr_matrix((ones, indices, indptr), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix


def is_far_beyond(largest: int, different: int) -> bool:
    """Whether the largest id says that ids were not numbered from 0: each below is a label.

    Args:
        largest: The largest id.
        different: Number of ids that occur.
    """
    return largest >= max(_SMALL, _SPREAD * different)


def _row(row: Any) -> Any:
    """The labels of a point as a list or tuple."""
    if type(row) is list or type(row) is tuple:
        return row
    if type(row) is int:
        return (row,)
    if hasattr(row, "tolist"):  # arrays, series and tensors of any kind, and their scalars
        values = row.tolist()
        return values if isinstance(values, list) else (values,)
    if isinstance(row, Iterable) and not isinstance(row, str | bytes | Mapping):
        return list(row)
    return (row,)


def _label_id(value: Any, row: int) -> int:
    """One label id, which must be a whole number."""
    # index() takes the whole numbers of every library, and booleans, which are no ids.
    if not isinstance(value, bool | np.bool_ | str | bytes):
        try:
            return whole(value)
        except TypeError:
            pass
    hint = ""
    if isinstance(value, str):
        hint = "; names do not stand beside ids, and are for ELIAS: LabelVocabulary.ids makes ids"
    elif value is None:
        hint = "; write [] for a point without labels"
    raise InputError(
        f"row {row} has the label {shown(value)}, expected label ids, whole numbers from 0{hint}"
    )


def _check_width(matrix: sp.csr_matrix) -> None:
    """Refuse columns far beyond the labels that occur: each takes memory."""
    width = matrix.shape[1]
    if width > _SMALL_MATRIX:
        different = len(np.unique(matrix.indices))
        if width > _SPREAD_MATRIX * different:
            raise _too_wide(f"the label matrix has {width} columns", different)


def _too_wide(what: str, different: int) -> InputError:
    return InputError(
        f"{what}, but only {different} labels occur, and each number below takes memory; number "
        f"the labels 0 to {different - 1} (numpy.unique(ids, return_inverse=True)), or, with "
        "texts, give the ids as strings: they are learned as label names. If most labels have no "
        "point yet, give a vocabulary, or a scipy.sparse matrix N x L"
    )


def label_ids(ids: Any, n_labels: int, *, name: str) -> npt.NDArray[np.int64]:
    """Ids, or a mask of booleans, as ids that exist.

    Args:
        ids: Ids in any order, or ``n_labels`` booleans. Whole numbers that are all 0 or 1 are
            refused where they could be a mask.
        n_labels: L.
        name: What they are, in errors.

    Raises:
        InputError: Ids that do not exist, a mask of another length, or neither.
    """
    given: Any = list(ids) if isinstance(ids, Set | range | Iterator) else ids
    if isinstance(given, list | tuple):
        kinds = set(map(type, given))
        if len(kinds) > 1 and not kinds.isdisjoint((bool, np.bool_)):
            raise InputError(f"{name} mixes booleans and ids, expected one of them")
    given = as_array(given, name=name)
    if given.dtype == bool:
        if given.shape != (n_labels,):
            raise InputError(f"{name} is a mask of shape {given.shape}, expected ({n_labels},)")
        return np.flatnonzero(given).astype(np.int64)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise InputError(
            f"{name} is {given.dtype} of shape {given.shape}, expected a list of label ids or a "
            "mask of booleans"
        )
    if not given.size:
        return np.empty(0, np.int64)
    least, most = int(given.min()), int(given.max())
    if least < 0 or most >= n_labels:
        raise InputError(f"{name} holds ids from {least} to {most}, expected 0 to {n_labels - 1}")
    # [0, 1] are two ids, unless there are just two labels.
    if most <= 1 and (given.size > 2 or given.size == n_labels):
        raise InputError(
            f"{name} is {given.size} numbers, all of them 0 or 1; a mask is {n_labels} booleans "
            f"(numpy.asarray({name}, bool)), a list of ids names an id once"
        )
    found: npt.NDArray[np.int64] = given.astype(np.int64)
    return found


def label_mask(ids: Any, n_labels: int, *, name: str) -> npt.NDArray[np.bool_]:
    """The same as a mask of ``n_labels`` booleans."""
    mask = np.zeros(n_labels, bool)
    mask[label_ids(ids, n_labels, name=name)] = True
    return mask


def wanted_labels(
    allow: LabelIds | None, deny: LabelIds | None, n_labels: int
) -> npt.NDArray[np.bool_]:
    """Which labels may be found, as a mask of ``n_labels`` booleans.

    Args:
        allow: The only ones, as :func:`label_ids` takes them; None: all.
        deny: Those that may not; wins over ``allow``.
        n_labels: L.
    """
    wanted = np.ones(n_labels, bool) if allow is None else label_mask(allow, n_labels, name="allow")
    if deny is not None:
        wanted &= ~label_mask(deny, n_labels, name="deny")
    return wanted
