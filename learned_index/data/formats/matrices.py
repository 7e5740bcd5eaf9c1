"""Canonical CSR from the growing arrays of a reader."""

from __future__ import annotations

from array import array

import numpy as np
import scipy.sparse as sp


def csr_from_arrays(
    indices: array[int], data: array[float] | None, indptr: array[int], n_columns: int
) -> sp.csr_matrix:
    """Build a canonical CSR from growing arrays; ``data`` None means ones (labels)."""
    pointers = np.asarray(indptr, dtype=np.int64)
    columns = np.frombuffer(indices, dtype=np.int32) if len(indices) else np.empty(0, np.int32)
    shape = (len(pointers) - 1, n_columns)
    if data is None:
        values = np.ones(len(columns), dtype=np.float32)
    else:
        values = np.frombuffer(data, dtype=np.float32) if len(data) else np.empty(0, np.float32)
    matrix = sp.csr_matrix((values, columns, pointers), shape=shape, copy=True)
    matrix.sum_duplicates()
    if data is None:
        matrix.data[:] = 1.0
    else:
        matrix.eliminate_zeros()
    return matrix
