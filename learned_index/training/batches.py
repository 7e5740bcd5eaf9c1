"""Labels as CSR, and batches of points from arrays that may lie on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp
import torch

from learned_index.errors import InputError
from learned_index.types import Int64Array

Labels: TypeAlias = sp.csr_matrix | Sequence[Sequence[int]]


def as_label_matrix(labels: Labels, *, n_points: int, n_labels: int | None = None) -> sp.csr_matrix:
    """Canonical CSR (sorted, no duplicates, float32 ones) from CSR or lists of label ids.

    Args:
        labels: N x L sparse matrix, whose non-zero entries count as ones, or N sequences of ids.
        n_points: N expected.
        n_labels: L; for sequences, default: largest id + 1.

    Raises:
        InputError: Another number of rows, ids out of range, no label at all, NaN.
    """
    if sp.issparse(labels):
        matrix = sp.csr_matrix(labels, copy=True)
        if np.isnan(matrix.data.astype(np.float64)).any():
            raise InputError("the label matrix holds NaN, expected zeros and ones")
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
    else:
        rows = [np.unique(np.asarray(row, dtype=np.int64)) for row in labels]
        indptr = np.concatenate([[0], np.cumsum([len(r) for r in rows], dtype=np.int64)])
        indices = np.concatenate([*rows, np.empty(0, np.int64)]).astype(np.int64)
        largest = int(indices.max()) if len(indices) else -1
        width = largest + 1 if n_labels is None else n_labels
        if len(indices) and (indices.min() < 0 or largest >= width):
            raise InputError(
                f"label ids run from {indices.min()} to {largest}, expected 0 to {width - 1}"
            )
        matrix = sp.csr_matrix(
            (np.ones(len(indices), np.float32), indices, indptr), shape=(len(rows), width)
        )
    if matrix.shape[0] != n_points:
        raise InputError(f"labels have {matrix.shape[0]} rows, the embeddings {n_points}")
    if n_labels is not None and matrix.shape[1] != n_labels:
        raise InputError(f"labels have {matrix.shape[1]} columns, expected {n_labels}")
    if matrix.nnz == 0:
        raise InputError("no point has a label; expected at least one")
    matrix.sort_indices()
    matrix.data = np.ones(matrix.nnz, np.float32)
    return matrix


def as_vectors(values: Any, *, dim: int | None = None, name: str = "embeddings") -> Any:
    """Check a dense matrix without copying it; tensors become arrays on the CPU.

    Raises:
        InputError: Not two-dimensional, not floating point, or another dimension than expected.
    """
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    if sp.issparse(values):
        raise InputError(
            f"{name} are a sparse matrix, expected a dense array; reduce it first, e.g. with the "
            "lsa encoder"
        )
    if not isinstance(values, np.ndarray):
        values = np.asarray(values)
    if values.ndim != 2:
        raise InputError(f"{name} have shape {values.shape}, expected two dimensions (rows x dim)")
    if not np.issubdtype(values.dtype, np.floating):
        raise InputError(f"{name} have dtype {values.dtype}, expected float16, float32 or float64")
    if dim is not None and values.shape[1] != dim:
        raise InputError(
            f"{name} have dimension {values.shape[1]}, the index was built for {dim}; use the "
            "encoder that the index was trained with"
        )
    return values


def as_float32_rows(values: Any, *, name: str = "embeddings", first_row: int = 0) -> Any:
    """C-ordered float32 copy or view of rows.

    Raises:
        InputError: NaN or infinity; names the first bad row.
    """
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(values, dtype=np.float32)
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        bad = int(np.flatnonzero(~finite)[0])
        raise InputError(
            f"{name} hold NaN or infinity, first in row {first_row + bad}; remove or mend these "
            "rows"
        )
    return rows


def as_query_rows(queries: Any, *, dim: int) -> Any:
    """Queries, or one query of D numbers, as C-ordered float32 rows.

    Raises:
        InputError: Not floating point, another dimension than expected, NaN or infinity.
    """
    rows = as_vectors(
        queries[None] if getattr(queries, "ndim", 2) == 1 else queries, dim=dim, name="queries"
    )
    return as_float32_rows(rows, name="queries")


def padded_positives(labels_NL: sp.csr_matrix, rows: Int64Array) -> torch.Tensor:
    """Labels of some points as int64 B x P, -1 where unused."""
    starts, stops = labels_NL.indptr[rows], labels_NL.indptr[rows + 1]
    counts = (stops - starts).astype(np.int64)
    width = int(counts.max()) if len(counts) else 0
    out = np.full((len(rows), width), -1, np.int64)
    inside = np.arange(width)[None, :] < counts[:, None]
    position = starts[:, None] + np.arange(width)[None, :]
    out[inside] = labels_NL.indices[position[inside]]
    return torch.from_numpy(out)


def as_positives(
    positives: torch.Tensor | sp.csr_matrix | Sequence[Sequence[int]], *, n_labels: int
) -> torch.Tensor:
    """Labels of a batch as int64 B x P, -1 where unused.

    Args:
        positives: Already in this form; or CSR B x L; or B lists of label ids.
        n_labels: L.

    Raises:
        InputError: Another dtype or shape, or ids out of range.
    """
    if isinstance(positives, torch.Tensor):
        if positives.ndim != 2 or positives.dtype != torch.int64:
            raise InputError(
                f"positives are {positives.dtype} of shape {tuple(positives.shape)}, expected "
                "int64 B x P padded with -1"
            )
        if positives.numel() and int(positives.max()) >= n_labels:
            raise InputError(
                f"positives name label {int(positives.max())}, the index has {n_labels}"
            )
        return positives
    n_points = len(positives) if isinstance(positives, Sequence) else positives.shape[0]
    matrix = as_label_matrix(positives, n_points=n_points, n_labels=n_labels)
    return padded_positives(matrix, np.arange(n_points))


def dropout_mask(n_rows: int, dim: int, rate: float, generator: torch.Generator) -> torch.Tensor:
    """Factors of a dropout, float32 n_rows x dim: 0 for dropped numbers, 1 / (1 - rate) for others.

    Each takes 16 random bits, so the rate is met to 1/65536; drawing a float each costs four times
    as much.

    Args:
        n_rows: B.
        dim: D.
        rate: Share to drop, from 0 to below 1.
        generator: Of the random numbers, on the CPU.
    """
    n = n_rows * dim
    words = torch.empty(-(-n // 4), dtype=torch.int64)
    words.random_(-(2**63), None, generator=generator)
    kept = words.view(torch.int16)[:n] >= round(rate * 2**16) - 2**15
    return kept.view(n_rows, dim).to(torch.float32).mul_(1.0 / (1.0 - rate))


class EpochOrder:
    """The order of the points in each epoch; it follows from the seed and the epoch alone.

    Args:
        rows: int64, the points to visit.
        seed: Seed of the shuffling.
    """

    def __init__(self, rows: Int64Array, seed: Sequence[int]) -> None:
        self._rows = rows
        self._rng = np.random.default_rng(list(seed))
        self._drawn = 0

    def batches(self, epoch: int, batch_size: int) -> Iterator[Int64Array]:
        """The batches of an epoch, each in ascending order, which a file on disk likes.

        Args:
            epoch: 0-based; not before one that was asked for earlier.
            batch_size: Points of a batch; the last one may have fewer.
        """
        while self._drawn < epoch:
            self._rng.permutation(len(self._rows))
            self._drawn += 1
        order = self._rows[self._rng.permutation(len(self._rows))]
        self._drawn += 1
        for start in range(0, len(order), batch_size):
            yield np.sort(order[start : start + batch_size])
