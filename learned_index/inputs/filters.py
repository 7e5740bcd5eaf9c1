"""Filters of a search: one for all queries, or one for each.

Legend: B queries, L labels, k results.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy.sparse as sp

from learned_index.errors import InputError
from learned_index.inputs.numbers import shown
from learned_index.types import PAD_ID, PAD_SCORE, Int64Array, SearchResult

Filter: TypeAlias = Any
"""Ids, names or a mask of L booleans for all queries; or for each query by itself: a list of B of
these (None: no filter), a boolean array B x L, or a sparse matrix B x L whose entries are the
labels."""


class Group(NamedTuple):
    """Queries with the same filters.

    Attributes:
        rows: int64, the queries.
        allow: The filter of all of these; None: all labels.
        deny: Likewise.
    """

    rows: Int64Array
    allow: Any
    deny: Any


def search_by_filter(
    allow: Any,
    deny: Any,
    n_queries: int,
    k: int,
    search: Callable[[Int64Array, Any, Any], SearchResult],
) -> SearchResult | None:
    """Search the queries that share filters together, where each query has its own.

    Args:
        allow: A :data:`Filter` or None.
        deny: Likewise.
        n_queries: B.
        k: Results a query.
        search: Given rows, and the filters of all of them, searches those queries.

    Returns:
        What a call for each query by itself would give; None where the filters are for all.

    Raises:
        InputError: Another number of filters than of queries, or a list that mixes labels and
            lists of labels.
    """
    groups = filters_of_queries(allow, deny, n_queries)
    if groups is None:
        return None
    ids = np.full((n_queries, k), PAD_ID, np.int64)
    scores = np.full((n_queries, k), PAD_SCORE, np.float32)
    for rows, allowed, denied in groups:
        ids[rows], scores[rows] = search(rows, allowed, denied)
    return SearchResult(ids, scores)


def filters_of_queries(allow: Any, deny: Any, n_queries: int) -> list[Group] | None:
    """Group the queries by their filters; None where one filter is for all of them."""
    each = [_by_query(value, n_queries, name) for name, value in (("allow", allow), ("deny", deny))]
    if each == [None, None]:
        return None
    columns = [
        [given] * n_queries if rows is None else rows
        for rows, given in zip(each, (allow, deny), strict=True)
    ]
    keys = [
        ["all"] * n_queries if rows is None else [_key(value) for value in column]
        for rows, column in zip(each, columns, strict=True)
    ]
    groups: dict[Any, list[int]] = {}
    for row, key in enumerate(zip(*keys, strict=True)):
        groups.setdefault(key, []).append(row)
    return [
        Group(np.array(rows, np.int64), columns[0][rows[0]], columns[1][rows[0]])
        for rows in groups.values()
    ]


def _by_query(value: Any, n_queries: int, name: str) -> list[Any] | None:
    """The filter of each query; None where there is one for all, or none."""
    if sp.issparse(value):
        matrix = sp.csr_matrix(value)
        ends = zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True)
        rows: list[Any] = [matrix.indices[a:b][matrix.data[a:b] != 0] for a, b in ends]
    elif getattr(value, "ndim", 0) == 2 and _is_boolean(value):
        rows = list(np.asarray(value))
    elif isinstance(value, list | tuple):
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
            f"{name} has filters for {len(rows)} queries, expected {n_queries}: one for each, or "
            "one list of labels for all"
        )
    return rows


def _is_boolean(value: Any) -> bool:
    return str(getattr(value, "dtype", "")) in ("bool", "torch.bool")


def _is_list(item: Any) -> bool:
    return isinstance(item, list | tuple | Set | range) or getattr(item, "ndim", 0) == 1


def _key(value: Any) -> Any:
    """Equal for filters that are written alike."""
    if value is None:
        return None
    if isinstance(value, np.ndarray) and value.dtype.kind in "biu":
        return value.dtype.kind == "b", value.tobytes(), str(value.dtype)
    return tuple(sorted(map(repr, value)))
