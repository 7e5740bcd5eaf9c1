"""Canonical CSR: sorted column indices, no duplicates, float32, nothing but finite numbers."""

from __future__ import annotations

from copy import copy as shallow_copy
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy.sparse as sp

from learned_index.errors import InputError
from learned_index.types import Int64Array


class SparseRows(NamedTuple):
    """A canonical CSR matrix as compiled code takes it, which need not be looked at again.

    A scipy matrix that is made of three arrays checks them, and so does who takes it: a tenth of
    a millisecond for a single text, each time.

    Attributes:
        indptr: int64, N + 1.
        indices: int32, ascending within a row.
        values: float32, finite, none of them 0.
        n_columns: Columns of the matrix.
    """

    indptr: Any
    indices: Any
    values: Any
    n_columns: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.indptr) - 1, self.n_columns

    def part(self, start: int, stop: int) -> SparseRows:
        """Rows start..stop, without copies where these are all."""
        if start == 0 and stop == len(self.indptr) - 1:
            return self
        a, b = self.indptr[start], self.indptr[stop]
        offsets = self.indptr[start : stop + 1] - a
        return SparseRows(offsets, self.indices[a:b], self.values[a:b], self.n_columns)

    def matrix(self) -> sp.csr_matrix:
        """The same as a matrix of scipy."""
        made = sp.csr_matrix((self.values, self.indices, self.indptr), shape=self.shape)
        made.has_canonical_format = True
        return made


SparseFeatures: TypeAlias = "sp.csr_matrix | SparseRows"
"""Sparse features of points: as a user has them, or as the encoders of this package make them."""


def sparse_rows(matrix: Any, *, what: str = "the sparse features") -> SparseRows:
    """Check sparse features and take them apart, where this has not been done.

    Args:
        matrix: CSR N x F, or rows, which are returned as they are.
        what: Name of the matrix in errors.

    Raises:
        InputError: As :func:`canonical_features`.
    """
    if type(matrix) is SparseRows:
        return matrix
    checked = canonical_features(matrix, what=what, copy=False)
    return SparseRows(*kernel_arrays(checked), int(checked.shape[1]))


def canonical_features(
    matrix: Any,
    *,
    what: str = "the feature matrix",
    n_rows: int | None = None,
    n_columns: int | None = None,
    copy: bool = True,
) -> sp.csr_matrix:
    """Return a canonical float32 copy of a sparse matrix: sorted, duplicates summed, no zeros.

    Args:
        matrix: Any scipy sparse matrix or array of numbers, N x F.
        what: Name of the matrix in errors.
        n_rows: N expected; None: any.
        n_columns: F expected; None: any.
        copy: False: a matrix that is canonical already is returned itself, which costs
            microseconds.

    Raises:
        InputError: Not sparse, not numbers, NaN or infinite, indices out of range, or another
            shape than expected.
    """
    result = matrix if not copy and _is_canonical(matrix) else _checked_csr(matrix, what)
    for axis, (name, expected) in enumerate((("rows", n_rows), ("columns", n_columns))):
        if expected is not None and result.shape[axis] != expected:
            raise InputError(f"{what}: got {result.shape[axis]} {name}, expected {expected}")
    if result is matrix:
        return result
    _refuse(result, ~np.isfinite(result.data), what, "finite numbers: remove or replace it")
    with np.errstate(over="ignore"):
        result = result.astype(np.float32)
        result.sum_duplicates()
    # float32 may overflow where the values did not, and so may sums of repeated entries.
    if not np.isfinite(result.data).all():
        raise InputError(f"{what}: values beyond the range of float32; scale them down")
    result.eliminate_zeros()
    return result


def canonical_labels(matrix: Any, *, what: str = "the label matrix") -> sp.csr_matrix:
    """Return a canonical label matrix, N x L float32 ones, from stored zeros and ones.

    Args:
        matrix: Any scipy sparse matrix or array. A stored 1 (or True) is a label of the point, also
            where it is stored twice; a stored 0 is none.
        what: Name of the matrix in errors.

    Raises:
        InputError: Not sparse, other values than 0 and 1, or indices out of range.
    """
    expected = "0 and 1; if each value but 0 marks a label, give (labels != 0)"
    # Made CSR, a COO matrix adds up what it holds twice, so 2 and -1 would pass as a 1.
    if getattr(matrix, "format", None) == "coo" and matrix.ndim == 2:
        wrong = (matrix.data != 0) & (matrix.data != 1)
        if wrong.any():
            bad = int(np.argmax(wrong))
            raise InputError(f"{what}: got the value {matrix.data[bad]}, expected {expected}")
    result = _checked_csr(matrix, what, ones=True)
    _refuse(result, (result.data != 0) & (result.data != 1), what, expected)
    result.eliminate_zeros()
    result.data = np.ones(result.indices.size, dtype=np.float32)
    result.sum_duplicates()
    result.data[:] = 1.0
    return result


def largest_first(matrix: sp.csr_matrix) -> tuple[Any, Any, Any]:
    """The entries of a compressed matrix by row, there the largest first; of equals the first.

    Returns:
        Of each in this order: its row (of a CSC, its column), where it stands in ``matrix.data``,
        and its place in the row, 0 being the largest.
    """
    row = np.repeat(np.arange(len(matrix.indptr) - 1), np.diff(matrix.indptr))
    order = np.lexsort((matrix.indices, -matrix.data, row))
    return row, order, np.arange(len(order)) - matrix.indptr[row]


def by_column(columns: Any, n_columns: int) -> tuple[Int64Array, Int64Array]:
    """The entries of a compressed matrix turned round, without its values.

    Args:
        columns: Of the entries, in the order of the rows.
        n_columns: V.

    Returns:
        Where the entries of each column begin, int64 V + 1, and which they are, int64: their rows
        ascend within a column.
    """
    lengths = np.bincount(columns, minlength=n_columns)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return indptr, np.argsort(columns, kind="stable")


def kernel_arrays(matrix: Any) -> tuple[Any, Any, Any]:
    """A compressed matrix as compiled code takes it, without copies where it is so already.

    Returns:
        int64 offsets of its rows (of a CSC, its columns), int32 indices, and float32 values.
    """
    return (
        matrix.indptr.astype(np.int64, copy=False),
        matrix.indices.astype(np.int32, copy=False),
        matrix.data.astype(np.float32, copy=False),
    )


def _checked_csr(matrix: Any, what: str, *, ones: bool = False) -> sp.csr_matrix:
    """A CSR copy whose arrays fit together; its values are as they were given.

    What a COO matrix holds twice is added up, but of ``ones`` two are one.
    """
    if not sp.issparse(matrix):
        raise InputError(
            f"{what}: got a {type(matrix).__name__}, expected a scipy sparse matrix, such as "
            "scipy.sparse.csr_matrix"
        )
    if matrix.ndim != 2:
        raise InputError(f"{what}: got {matrix.ndim} dimensions, expected 2")
    if matrix.dtype.kind not in "biuf":
        raise InputError(f"{what}: got dtype {matrix.dtype}, expected numbers")
    try:
        # scipy's C loops trust the indices, and its flags: an index out of range would read
        # foreign memory, a stale flag keep duplicates. So the arrays are looked at before
        # anything is done with them, on a twin, for the check puts other arrays in their place.
        twin = shallow_copy(matrix)
        if matrix.format in ("csr", "csc", "bsr"):
            for name, numbers in (("indptr", twin.indptr), ("indices", twin.indices)):
                if numbers.dtype.kind not in "iu":
                    raise ValueError(f"its {name} are {numbers.dtype}, expected whole numbers")
            if not (twin.indptr[1:] >= twin.indptr[:-1]).all():
                # scipy looks at their differences, which wrap
                raise ValueError("its indptr goes back")
            twin.check_format(full_check=True)
        elif matrix.format == "coo":
            n_rows, n_columns = twin.shape
            check_places(twin.row, "rows", count=len(twin.data), below=n_rows)
            check_places(twin.col, "columns", count=len(twin.data), below=n_columns)
            twin.data = twin.data.astype(np.bool_) if ones else twin.data
        csr = sp.csr_matrix(twin)
        arrays = (csr.data.copy(), csr.indices.copy(), csr.indptr.copy())
        result = sp.csr_matrix(arrays, shape=csr.shape)
        result.check_format(full_check=True)
    except (ValueError, TypeError, IndexError, OverflowError, AttributeError) as error:
        raise InputError(f"{what}: not a valid sparse matrix: {error}") from None
    return result


def _is_canonical(matrix: Any) -> bool:
    """Whether a matrix is canonical float32 CSR; its arrays are looked at, its flags are not."""
    if type(matrix) is not sp.csr_matrix or matrix.dtype != np.float32:
        return False
    data, indices, indptr = arrays = matrix.data, matrix.indices, matrix.indptr
    if not all(type(array) is np.ndarray and array.ndim == 1 for array in arrays):
        return False
    n_rows, n_columns = matrix.shape
    fit = (
        indices.dtype.kind == indptr.dtype.kind == "i"
        and len(indptr) == n_rows + 1
        and indptr[0] == 0
        and indptr[-1] == len(indices) == len(data)
        and bool((indptr[1:] >= indptr[:-1]).all())
    )
    if not fit or not len(data):
        return fit
    rising = indices[1:] > indices[:-1]
    if n_rows > 1:
        # Columns may fall from one row to the next.
        starts = indptr[1:-1]
        rising[starts[(starts > 0) & (starts < len(data))] - 1] = True
    return bool(
        rising.all()
        and indices.min() >= 0
        and indices.max() < n_columns
        and np.isfinite(data).all()
        and data.all()
    )


def check_places(array: Any, name: str, *, count: int, below: int) -> None:
    """Check the indices of a sparse matrix: scipy's C loops follow them blindly.

    Raises:
        ValueError: No ``count`` whole numbers of 0 to ``below - 1``.
    """
    if array.shape != (count,) or array.dtype.kind not in "iu":
        raise ValueError(
            f"its {name} are {array.dtype} of shape {array.shape}, expected {count} whole numbers"
        )
    if count and not (array.min() >= 0 and array.max() < below):
        raise ValueError(
            f"its {name} run from {array.min()} to {array.max()}, expected 0 to {below - 1}"
        )


def _refuse(matrix: sp.csr_matrix, wrong: Any, what: str, expected: str) -> None:
    """Name the first stored value that is wrong, and its row."""
    if wrong.any():
        bad = int(np.argmax(wrong))
        row = int(np.searchsorted(matrix.indptr, bad, side="right")) - 1
        raise InputError(
            f"{what}: got the value {matrix.data[bad]} in row {row}, expected {expected}"
        )
