"""Dense vectors: embeddings of points, and queries."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import scipy.sparse as sp

from learned_index.errors import InputError
from learned_index.inputs.numbers import LARGEST

# Vectors on disk need not fit into memory.
_CHUNK_ROWS = 8192


def is_tensor(values: Any) -> bool:
    """Whether it is a tensor of torch; whoever has one has imported torch already."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(values, torch.Tensor)


def is_sparse_tensor(values: Any) -> bool:
    """Whether it is a tensor in any other layout than the dense one."""
    return is_tensor(values) and str(values.layout) != "torch.strided"


def is_plain(values: Any, dtype: Any) -> bool:
    """Whether it is a matrix that compiled code takes as it is: of this type, in C order."""
    return (
        type(values) is np.ndarray
        and values.dtype == dtype
        and values.ndim == 2
        and values.flags.c_contiguous
    )


def as_array(values: Any, *, name: str) -> Any:
    """An array from an array, tensor, data frame or nested lists; arrays are not copied.

    Raises:
        InputError: It cannot be made an array: sparse, ragged, masked entries.
    """
    if sp.issparse(values) or is_sparse_tensor(values):
        raise InputError(
            f"{name} are a sparse matrix, expected a dense array; reduce it first, e.g. with the "
            "lsa encoder"
        )
    try:
        if is_tensor(values):
            values = values.detach().cpu()
            # NumPy has no bfloat16; float32 holds its numbers exactly.
            return (values.float() if str(values.dtype) == "torch.bfloat16" else values).numpy()
        if isinstance(values, np.ma.MaskedArray):
            if np.ma.is_masked(values):
                raise InputError(
                    f"{name} have masked entries, expected numbers; fill them or drop their rows"
                )
            return values.data
        return values if isinstance(values, np.ndarray) else np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{name} cannot be made an array ({str(error).splitlines()[0]}); expected rows of "
            "numbers, all of one length"
        ) from None


def as_vectors(values: Any, *, dim: int | None = None, name: str = "embeddings") -> Any:
    """Check a dense matrix without copying it; tensors become arrays on the CPU.

    Args:
        values: N x D float16, float32 or float64 (also memory-mapped, a tensor on any device, a
            data frame, nested lists). Whole numbers, complex numbers and objects are refused.
        dim: D expected; None: any but 0.
        name: What they are, in errors.

    Raises:
        InputError: Not two-dimensional, not floating point, or another dimension than expected.
    """
    values = as_array(values, name=name)
    if values.ndim != 2:
        raise InputError(f"{name} have shape {values.shape}, expected two dimensions (rows x dim)")
    if not np.issubdtype(values.dtype, np.floating):
        raise InputError(f"{name} have dtype {values.dtype}, expected float16, float32 or float64")
    if values.shape[1] == 0:
        raise InputError(f"{name} have no columns, expected at least 1")
    if dim is not None and values.shape[1] != dim:
        raise InputError(
            f"{name} have dimension {values.shape[1]}, the index was built for {dim}; use the "
            "encoder that the index was trained with"
        )
    return values


def as_float32_rows(values: Any, *, name: str = "embeddings", first_row: int = 0) -> Any:
    """C-ordered float32 copy or view of rows.

    Raises:
        InputError: NaN, infinity, or beyond :data:`LARGEST`; names the first bad row.
    """
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(values, dtype=np.float32)
    # Two passes over the rows, and no copy of them as abs() would make.
    if rows.size and not max(rows.max(), -rows.min()) <= LARGEST:  # false for NaN too
        raise bad_row(rows, name=name, first_row=first_row)
    return rows


def bad_row(rows: Any, *, name: str, first_row: int = 0) -> InputError:
    """The error that names the first row which cannot be computed with.

    Args:
        rows: Rows, one of which is not finite or beyond :data:`LARGEST`.
        name: What they are.
        first_row: Number of the first one.
    """
    with np.errstate(over="ignore"):
        rows = np.asarray(rows, dtype=np.float32)
    bad = int(np.argmax(~(np.abs(rows) <= LARGEST).all(axis=1)))
    if np.isfinite(rows[bad]).all():
        return InputError(
            f"{name} hold numbers beyond {LARGEST:.0e}, first in row {first_row + bad}; scale all "
            "vectors down, e.g. to length 1"
        )
    return InputError(
        f"{name} hold NaN or infinity, first in row {first_row + bad}; remove or mend these rows"
    )


def check_finite(vectors: Any, *, name: str = "embeddings") -> None:
    """Check the numbers of vectors that may lie on disk, some rows at a time.

    Raises:
        InputError: As :func:`as_float32_rows`.
    """
    for start in range(0, len(vectors), _CHUNK_ROWS):
        as_float32_rows(vectors[start : start + _CHUNK_ROWS], name=name, first_row=start)


def as_query_rows(queries: Any, *, dim: int) -> Any:
    """Queries, or one query of D numbers, as C-ordered float32 rows.

    Raises:
        InputError: Not floating point, another dimension than expected, NaN, infinity, or beyond
            :data:`LARGEST`.
    """
    rows = as_array(queries, name="queries")
    rows = as_vectors(rows[None] if rows.ndim == 1 else rows, dim=dim, name="queries")
    return as_float32_rows(rows, name="queries")
