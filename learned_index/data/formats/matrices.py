"""Sparse matrices by rows: growing while a file is read, taken apart while one is written."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp


class GrowingRows:
    """Rows of a sparse matrix that come one after the other.

    Arrays of C numbers hold them: lists of Python numbers would take ten times the memory.
    """

    def __init__(self) -> None:
        self._indices, self._values, self._indptr = array("i"), array("f"), array("q", [0])

    def __len__(self) -> int:
        return len(self._indptr) - 1

    def add(self, columns: Iterable[int], values: Iterable[float] = ()) -> None:
        """Add a row: its columns, and as many values; none in any row means ones (labels)."""
        self._indices.extend(columns)
        self._values.extend(values)
        self._indptr.append(len(self._indices))

    def matrix(self, n_columns: int) -> sp.csr_matrix:
        """Return canonical CSR float32: sorted, without zeros, repetitions summed (or 1)."""
        indices = np.array(self._indices, dtype=np.int32)
        values = np.array(self._values, dtype=np.float32) if self._values else None
        data = np.ones(len(indices), dtype=np.float32) if values is None else values
        indptr = np.array(self._indptr, dtype=np.int64)
        matrix = sp.csr_matrix((data, indices, indptr), shape=(len(self), n_columns))
        matrix.sum_duplicates()
        if values is None:
            matrix.data[:] = 1.0
        else:
            matrix.eliminate_zeros()
        return matrix


def iter_rows(matrix: sp.csr_matrix) -> Iterator[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Yield the columns and the values of each row of a CSR matrix."""
    for start, end in pairwise(matrix.indptr.tolist()):
        yield matrix.indices[start:end], matrix.data[start:end]
