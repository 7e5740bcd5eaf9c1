"""Exact search: the float32 scan, and an int8 scan whose best are scored again in float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from learned_index.baselines.base import (
    Baseline,
    as_float32,
    check_k,
    padded,
    require_built,
    shared_tensor,
    topk_rows,
)
from learned_index.errors import InputError
from learned_index.types import DenseMatrix, Float32Array, SearchResult

SCAN_BATCH = 16
"""Below this many queries one pass over the items in FAISS beats a matrix product."""
BLOCK_FLOATS = 2**24
"""Scores held at a time (64 MB)."""


class ExactSearch(Baseline):
    """Score every item in float32 (no query-time knob).

    A few queries go through FAISS's scan, which reads the items once at memory speed; a batch is a
    blocked matrix product with a partial selection. Measured at L = 21,264, E = 385, one thread:
    1.4 ms a query for FAISS alone against 3 ms for a matrix product, and 2.1 against 0.4 ms in a
    batch of 256. The two sum in different order, so scores agree to rounding.
    """

    method = "exact"
    inputs = "classifiers"

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self._items_LE: Float32Array | None = None

    def build(self, items_LE: DenseMatrix) -> None:
        """Take the items, L x E; a C-contiguous float32 array is used in place."""
        self._items_LE = as_float32(items_LE, what="items")

    def search(self, queries: DenseMatrix, k: int, **query_arguments: Any) -> SearchResult:
        """Return the k items of largest inner product."""
        _no_arguments(self.name, query_arguments)
        require_built(self._items_LE, self.name)
        assert self._items_LE is not None
        k = check_k(k)
        queries_BE = as_float32(queries, what="queries", dim=self._items_LE.shape[1])
        if len(queries_BE) == 0 or len(self._items_LE) == 0:
            return _nothing(len(queries_BE), k)
        if len(queries_BE) < SCAN_BATCH:
            import faiss

            width = min(k, len(self._items_LE))
            scores_BK, ids_BK = faiss.knn(
                queries_BE, self._items_LE, width, metric=faiss.METRIC_INNER_PRODUCT
            )
            return padded(ids_BK, scores_BK, k)
        items = shared_tensor(self._items_LE)
        step = max(SCAN_BATCH, BLOCK_FLOATS // len(items))
        parts = [
            topk_rows((torch.from_numpy(queries_BE[i : i + step]) @ items.T).numpy(), k)
            for i in range(0, len(queries_BE), step)
        ]
        return SearchResult(
            np.concatenate([part.ids for part in parts]),
            np.concatenate([part.scores for part in parts]),
        )

    def query_grid(self) -> Sequence[dict[str, Any]]:
        """Return one setting: there is nothing to set."""
        return [{}]

    def disk_bytes(self) -> int:
        """Return the bytes of the float32 items."""
        require_built(self._items_LE, self.name)
        assert self._items_LE is not None
        return int(self._items_LE.nbytes)


class Int8ExactSearch(Baseline):
    """Score every item with 8-bit codes, then the best ``rescore * k`` of them in float32.

    Items and queries are scaled row by row to [-127, 127] and rounded; the integer product is
    exact, so the only error of the scan is the rounding of the codes. The product is torch's
    ``_int_mm`` where it works (0.18 ms a query at L = 21,264, E = 385, one thread, against
    0.75 ms for FAISS's 8-bit scalar quantiser and 0.86 ms for a Numba loop), else a float32
    product of the codes, which gives the same integers up to E = 1040.
    """

    method = "exact-int8"
    inputs = "classifiers"

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self._items_LE: Float32Array | None = None
        self._codes_LE: torch.Tensor | None = None
        self._scale_L: torch.Tensor | None = None
        self._integer_product = False

    def build(self, items_LE: DenseMatrix) -> None:
        """Quantise the items, L x E; the float32 originals are kept for the second pass."""
        self._items_LE = as_float32(items_LE, what="items")
        codes_LE, scale_L = _quantise(self._items_LE)
        self._codes_LE, self._scale_L = torch.from_numpy(codes_LE), torch.from_numpy(scale_L)
        self._integer_product = _int_mm_works()

    def search(
        self, queries: DenseMatrix, k: int, *, rescore: float = 2.0, **query_arguments: Any
    ) -> SearchResult:
        """Return the k best of the ``rescore * k`` items whose codes score best.

        Args:
            queries: B x E.
            k: Results wanted.
            rescore: At least 1; candidates of the int8 scan for each result.
            query_arguments: None are known; any is refused.
        """
        _no_arguments(self.name, query_arguments)
        require_built(self._items_LE, self.name)
        assert self._items_LE is not None
        k = check_k(k)
        if not rescore >= 1:
            raise InputError(f"rescore must be at least 1, got {rescore!r}")
        queries_BE = as_float32(queries, what="queries", dim=self._items_LE.shape[1])
        n_items = len(self._items_LE)
        result = _nothing(len(queries_BE), k)
        width = min(n_items, int(np.ceil(rescore * k)))
        if width == 0:
            return result
        # The integers and their scaled floats: two blocks of scores at a time.
        step = max(1, min(64, BLOCK_FLOATS // n_items))
        for start in range(0, len(queries_BE), step):
            block_BE = queries_BE[start : start + step]
            candidates_BR = torch.topk(self._scan(block_BE), width, dim=1, sorted=False)[1].numpy()
            gathered_BRE = self._items_LE[candidates_BR]
            exact_BR = np.matmul(gathered_BRE, block_BE[:, :, None])[:, :, 0]
            best = topk_rows(exact_BR, k)
            found = best.ids >= 0
            result.ids[start : start + step] = np.where(
                found, np.take_along_axis(candidates_BR, np.maximum(best.ids, 0), axis=1), -1
            )
            result.scores[start : start + step] = best.scores
        return result

    def query_grid(self) -> Sequence[dict[str, Any]]:
        """Return the sweep of ``rescore``."""
        return [{"rescore": rescore} for rescore in (1.0, 1.25, 1.5, 2.0, 4.0)]

    def disk_bytes(self) -> int:
        """Return the bytes of codes, scales and the float32 items for the second pass."""
        require_built(self._codes_LE, self.name)
        assert self._codes_LE is not None and self._items_LE is not None
        n_items, dim = self._items_LE.shape
        codes_and_scales: int = n_items * dim + 4 * n_items
        return codes_and_scales + int(self._items_LE.nbytes)

    def _scan(self, queries_BE: Float32Array) -> torch.Tensor:
        """Return B x L approximate scores, each row up to a positive factor."""
        assert self._codes_LE is not None and self._scale_L is not None
        codes_BE = torch.from_numpy(_quantise(queries_BE)[0])
        if not self._integer_product:
            return (codes_BE.float() @ self._codes_LE.float().T) * self._scale_L
        if len(codes_BE) == 1:  # as items x query the product runs at memory speed
            products_L = torch._int_mm(self._codes_LE, codes_BE.T)[:, 0]
            return (products_L * self._scale_L)[None]
        return torch._int_mm(codes_BE, self._codes_LE.T) * self._scale_L


def _quantise(matrix_RE: Float32Array) -> tuple[npt.NDArray[np.int8], Float32Array]:
    """Return int8 codes (columns padded with zeros to a multiple of 64) and the row scales."""
    n_rows, dim = matrix_RE.shape
    largest_R = np.abs(matrix_RE).max(axis=1, initial=0.0)
    scale_R = np.where(largest_R > 0, largest_R, 1.0).astype(np.float32) / np.float32(127)
    codes_RE = np.zeros((n_rows, -(-dim // 64) * 64), dtype=np.int8)
    step = max(1, 2**22 // max(dim, 1))
    for start in range(0, n_rows, step):
        rows = slice(start, start + step)
        codes_RE[rows, :dim] = np.rint(matrix_RE[rows] / scale_R[rows, None])
    return codes_RE, scale_R


def _int_mm_works() -> bool:
    """Tell whether this build of torch multiplies int8 matrices on the CPU, and correctly."""
    generator = np.random.default_rng(0)
    left = generator.integers(-127, 128, (5, 64), dtype=np.int8)
    right = generator.integers(-127, 128, (7, 64), dtype=np.int8)
    expected = left.astype(np.int32) @ right.T.astype(np.int32)
    try:
        product = torch._int_mm(torch.from_numpy(left), torch.from_numpy(right).T).numpy()
        single = torch._int_mm(torch.from_numpy(left), torch.from_numpy(right[:1]).T).numpy()
    except (AttributeError, RuntimeError):
        return False
    return bool(np.array_equal(product, expected) and np.array_equal(single, expected[:, :1]))


def _nothing(n_queries: int, k: int) -> SearchResult:
    return padded(np.empty((n_queries, 0), np.int64), np.empty((n_queries, 0), np.float32), k)


def _no_arguments(name: str, query_arguments: dict[str, Any]) -> None:
    if query_arguments:
        raise InputError(f"{name} does not know the query arguments {sorted(query_arguments)}")
