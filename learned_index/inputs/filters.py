"""Filters of a search: one for all queries, or one for each.

What is nested is for each query: a list of lists, a boolean array or a sparse matrix B x L. What is
not is for all of them. What could be either is refused.

Legend: B queries, L labels, k results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy.sparse as sp

from learned_index.errors import InputError
from learned_index.inputs.labels import label_ids
from learned_index.inputs.matrices import canonical_features
from learned_index.inputs.numbers import shown
from learned_index.inputs.vectors import as_array
from learned_index.types import PAD_ID, PAD_SCORE, Int64Array, SearchResult

Filter: TypeAlias = Any
"""Ids, names or a mask of L booleans for all queries; or for each query by itself: a list of B of
these (None: no filter), a boolean array B x L, or a sparse matrix B x L whose entries are the
labels."""


class Group(NamedTuple):
    """Queries with the same filters.

    Attributes:
        rows: int64, the queries.
        allow: The filter of all of these, as ids or a mask; None: all labels.
        deny: Likewise.
    """

    rows: Int64Array
    allow: Any
    deny: Any


def _as_given(labels: Any) -> Any:
    return labels


def search_by_filter(
    allow: Any,
    deny: Any,
    n_queries: int,
    k: int,
    search: Callable[[Int64Array, Any, Any], SearchResult],
    *,
    n_labels: int,
    ids_of: Callable[[Any], Any] = _as_given,
) -> SearchResult | None:
    """Search the queries that share filters together, where each query has its own.

    Args:
        allow: A :data:`Filter` or None.
        deny: Likewise.
        n_queries: B.
        k: Results a query.
        search: Given rows, and the filters of all of them, searches those queries.
        n_labels: L.
        ids_of: Makes ids of the names in one query's filter; others it gives back.

    Returns:
        What a call for each query by itself would give; None where the filters are for all.

    Raises:
        InputError: As :func:`for_each_query`, or labels that do not exist.
    """
    groups = filters_of_queries(allow, deny, n_queries, n_labels=n_labels, ids_of=ids_of)
    if groups is None:
        return None
    ids = np.full((n_queries, k), PAD_ID, np.int64)
    scores = np.full((n_queries, k), PAD_SCORE, np.float32)
    for rows, allowed, denied in groups:
        ids[rows], scores[rows] = search(rows, allowed, denied)
    return SearchResult(ids, scores)


def filters_of_queries(
    allow: Any,
    deny: Any,
    n_queries: int,
    *,
    n_labels: int,
    ids_of: Callable[[Any], Any] = _as_given,
) -> list[Group] | None:
    """Group the queries by their filters; None where one filter is for all of them.

    Filters that name the same labels are equal, however they are written.
    """
    given = {"allow": allow, "deny": deny}
    each = {
        name: for_each_query(value, n_queries, n_labels=n_labels, name=name)
        for name, value in given.items()
    }
    if each == {"allow": None, "deny": None}:
        return None
    columns: list[list[Any]] = []
    for name, rows in each.items():
        if rows is None:
            # One for all: it tells no queries apart, and is looked at when they are searched.
            columns.append([given[name]] * n_queries)
            continue
        columns.append(
            [
                None
                if labels is None
                else np.unique(label_ids(ids_of(labels), n_labels, name=f"{name}[{row}]"))
                for row, labels in enumerate(rows)
            ]
        )
    # The sets of ids themselves are the keys: what is only written alike need not be the same.
    keys = [
        [None if rows is None or ids is None else ids.tobytes() for ids in column]
        for rows, column in zip(each.values(), columns, strict=True)
    ]
    groups: dict[Any, list[int]] = {}
    for row, key in enumerate(zip(*keys, strict=True)):
        groups.setdefault(key, []).append(row)
    return [
        Group(
            np.array(rows, np.int64),
            *(
                column[rows[0]] if each[name] is None else _unmistakable(column[rows[0]], n_labels)
                for name, column in zip(given, columns, strict=True)
            ),
        )
        for rows in groups.values()
    ]


def _unmistakable(ids: Int64Array | None, n_labels: int) -> Any:
    """All labels as a mask: of two labels the ids 0 and 1 could be one."""
    return np.ones(n_labels, bool) if ids is not None and len(ids) == n_labels else ids


def for_each_query(value: Any, n_queries: int, *, n_labels: int, name: str) -> list[Any] | None:
    """The labels of each query, where each has its own; None where there are some for all, or none.

    Args:
        value: A :data:`Filter` or None.
        n_queries: B.
        n_labels: L.
        name: What it is, in errors.

    Returns:
        For each query what the list holds there; of matrices ids, ascending, or a mask of all.

    Raises:
        InputError: Another number of rows than of queries, a matrix whose columns are not the
            labels, an array of numbers in two dimensions, a list that mixes labels and lists.
    """
    if sp.issparse(value):
        rows = _entries(value, n_labels, name)
    elif getattr(value, "ndim", 0) >= 2:
        table = as_array(value, name=name)
        if table.ndim != 2 or table.dtype != bool:
            raise InputError(
                f"{name} is {table.dtype} of shape {table.shape}; labels for each query are a list "
                f"of lists of ids ({name}.tolist()), or a boolean array ({n_queries}, {n_labels}); "
                "labels for all queries are one list of ids"
            )
        rows = _entries(sp.csr_matrix(table), n_labels, name)
    elif isinstance(value, list | tuple) or getattr(value, "dtype", None) == np.dtype(object):
        nested = [item is None or _is_list(item) for item in value]
        if not any(nested):
            return None
        if not all(nested):
            wrong = value[nested.index(False)]
            raise InputError(
                f"{name} mixes lists of labels and labels ({shown(wrong)}); give one list for all "
                "queries, or for each query a list, or None"
            )
        rows = list(value)
    else:
        return None
    if len(rows) != n_queries:
        raise InputError(
            f"{name} is given for {len(rows)} queries, expected {n_queries}: a list for each, or "
            "one list of labels for all"
        )
    return rows


def _entries(matrix: Any, n_labels: int, name: str) -> list[Any]:
    csr = canonical_features(matrix, what=name, n_columns=n_labels)
    rows = np.split(csr.indices, csr.indptr[1:-1]) if csr.shape[0] else []
    return [_unmistakable(ids, n_labels) for ids in rows]


def _is_list(item: Any) -> bool:
    return isinstance(item, list | tuple | Set | range | Iterator) or getattr(item, "ndim", 0) >= 1
