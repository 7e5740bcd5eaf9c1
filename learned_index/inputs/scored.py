"""Labels that somebody names to have them scored: the same for all queries, or some for each.

Legend: B queries, L labels, M labels a query, n pairs of a query and a label.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.errors import InputError
from learned_index.inputs.filters import for_each_query
from learned_index.inputs.labels import label_ids
from learned_index.inputs.vectors import as_array
from learned_index.types import PAD_ID, PAD_SCORE, Float32Array, Int64Array

ScoredLabels: TypeAlias = Any
"""M ids (of ELIAS names, too) for all queries; an array B x M of ids, -1 at pads, as a search gives
them; or for each query by itself, as filters are: a list of B lists, a boolean or a sparse matrix
B x L."""
Scores: TypeAlias = Any
"""float32 B x M, -inf at pads; where the labels are lists for each query, a list of B arrays."""


class Wanted:
    """Pairs of a query and a label to score, and the form in which the scores are wanted.

    Args:
        labels: See :data:`ScoredLabels`.
        n_queries: B.
        n_labels: L.
        ids_of: Makes ids of names.

    Attributes:
        rows_n: int64, the query of each pair.
        labels_n: int64, its label.

    Raises:
        InputError: Labels that do not exist or come twice for a query, or as
            :func:`~learned_index.inputs.filters.for_each_query`.
    """

    def __init__(
        self,
        labels: ScoredLabels,
        n_queries: int,
        n_labels: int,
        *,
        ids_of: Callable[[Any], Any] = lambda labels: labels,
    ) -> None:
        self.n_queries = n_queries
        self._shape: tuple[int, int] | None = None
        self._cells_n: Any = slice(None)
        if getattr(labels, "ndim", 0) == 2 and not sp.issparse(labels):
            table = as_array(labels, name="labels")
            if table.dtype.kind in "iu":
                self._take_table(table, n_labels)
                return
        each = for_each_query(labels, n_queries, n_labels=n_labels, name="labels")
        if each is None:
            ids_M = _distinct(label_ids(ids_of(labels), n_labels, name="labels"), "labels")
            self._shape = (n_queries, len(ids_M))
            self.rows_n = np.repeat(np.arange(n_queries), len(ids_M))
            self.labels_n = np.tile(ids_M, n_queries)
            return
        parts = []
        for row, given in enumerate(each):
            name = f"labels[{row}]"
            if given is None:
                raise InputError(f"{name} is None, expected labels to score; [] are none")
            parts.append(_distinct(label_ids(ids_of(given), n_labels, name=name), name))
        self._counts = [len(part) for part in parts]
        self.rows_n = np.repeat(np.arange(n_queries), self._counts)
        self.labels_n = np.concatenate([np.empty(0, np.int64), *parts])

    def _take_table(self, ids_BM: npt.NDArray[Any], n_labels: int) -> None:
        if len(ids_BM) != self.n_queries:
            raise InputError(
                f"labels have {len(ids_BM)} rows of ids, expected {self.n_queries}: one for each "
                "query, or one list of labels for all"
            )
        if ids_BM.size and ids_BM.max(initial=0) <= 1 and ids_BM.shape[1] == n_labels:
            raise InputError(
                f"labels are {ids_BM.shape[1]} numbers a query, all of them 0 or 1; a mask is "
                "(labels != 0), ids are named once"
            )
        for row, ids in enumerate(ids_BM):
            present = ids[ids != PAD_ID]
            if len(present) and not 0 <= present.min() <= present.max() < n_labels:
                raise InputError(
                    f"labels[{row}] holds ids from {present.min()} to {present.max()}, expected 0 "
                    f"to {n_labels - 1}, or {PAD_ID} at pads"
                )
            _distinct(present, f"labels[{row}]")
        self._shape = ids_BM.shape
        rows_n, columns_n = np.nonzero(ids_BM != PAD_ID)
        self._cells_n = rows_n * ids_BM.shape[1] + columns_n
        self.rows_n = rows_n
        self.labels_n = ids_BM[rows_n, columns_n].astype(np.int64)

    def arranged(self, scores_n: Float32Array) -> Any:
        """Scores of the pairs as they were asked for.

        Returns:
            float32 B x M, -inf at pads; or, where each query has labels of its own, a list of B.
        """
        if self._shape is None:
            return np.split(scores_n, np.cumsum(self._counts)[:-1]) if self._counts else []
        out = np.full(self._shape, PAD_SCORE, np.float32)
        out.reshape(-1)[self._cells_n] = scores_n
        return out


def _distinct(ids: Int64Array, name: str) -> Int64Array:
    if len(np.unique(ids)) < len(ids):
        raise InputError(f"in {name} a label comes twice; name each once")
    return ids
