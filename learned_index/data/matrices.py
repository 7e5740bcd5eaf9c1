"""Canonical CSR matrices: sorted column indices, no duplicates, float32, nothing but numbers."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from learned_index.errors import InputError


def _checked_csr(matrix: Any, what: str) -> sp.csr_matrix:
    if not sp.issparse(matrix):
        raise InputError(f"{what} is a {type(matrix).__name__}, expected a scipy sparse matrix")
    if matrix.ndim != 2:
        raise InputError(f"{what} has {matrix.ndim} dimensions, expected 2")
    if matrix.dtype.kind not in "biuf":
        raise InputError(f"{what} has dtype {matrix.dtype}, expected numbers")
    if matrix.format in ("csr", "csc", "bsr"):
        # scipy's C loops trust the indices: one out of range would read foreign memory.
        try:
            matrix.check_format(full_check=True)
        except ValueError as error:
            raise InputError(f"{what} is not a valid sparse matrix: {error}") from None
    result = sp.csr_matrix(matrix, copy=True)
    if result.data.dtype.kind == "f" and not np.isfinite(result.data).all():
        bad = int(np.flatnonzero(~np.isfinite(result.data))[0])
        row = int(np.searchsorted(result.indptr, bad, side="right")) - 1
        raise InputError(
            f"{what} has the value {result.data[bad]} in row {row}; expected finite numbers: "
            "remove or replace it"
        )
    return result


def canonical_features(matrix: Any, *, what: str = "the feature matrix") -> sp.csr_matrix:
    """Return a canonical float32 copy of a sparse matrix: sorted, duplicates summed, no zeros.

    Args:
        matrix: Any scipy sparse matrix or array of numbers, N x F.
        what: Name of the matrix in errors.

    Returns:
        CSR, float32, N x F.

    Raises:
        InputError: Not sparse, not numbers, NaN or infinite, or indices out of range.
    """
    result = _checked_csr(matrix, what)
    with np.errstate(over="ignore"):
        result = result.astype(np.float32)
        result.sum_duplicates()
    if not np.isfinite(result.data).all():
        raise InputError(f"{what} has values beyond the range of float32; scale them down")
    result.eliminate_zeros()
    return result


def canonical_labels(matrix: Any, *, what: str = "the label matrix") -> sp.csr_matrix:
    """Return a canonical label matrix: every stored value but 0 becomes 1.0.

    Args:
        matrix: Any scipy sparse matrix or array of numbers, N x L.
        what: Name of the matrix in errors.

    Returns:
        CSR, float32 ones, N x L, indices sorted and unique in each row.

    Raises:
        InputError: Not sparse, not numbers, NaN or infinite, negative, or indices out of range.
    """
    result = _checked_csr(matrix, what)
    if result.data.dtype.kind in "if" and (result.data < 0).any():
        raise InputError(f"{what} has negative values; expected 1 for each label of a point")
    result.eliminate_zeros()
    result.data = np.ones(result.indices.size, dtype=np.float32)
    result.sum_duplicates()
    result.data[:] = 1.0
    return result


def labels_from_lists(rows: Iterable[Sequence[int]], n_labels: int) -> sp.csr_matrix:
    """Build a canonical label matrix from lists of ids.

    Args:
        rows: One sequence of ids in ``[0, n_labels)`` for each point; may be a generator.
        n_labels: Number of labels L.

    Returns:
        CSR, float32 ones, N x L.

    Raises:
        InputError: An id is out of range.
    """
    indices, indptr = array("i"), array("q", [0])
    for number, row in enumerate(rows):
        if len(row) and not (min(row) >= 0 and max(row) < n_labels):
            raise InputError(
                f"row {number} has label ids {min(row)}..{max(row)}, expected 0..{n_labels - 1}"
            )
        indices.extend(row)
        indptr.append(len(indices))
    return csr_from_arrays(indices, None, indptr, n_labels)


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
