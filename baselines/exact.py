"""Exact search: the float32 scan, and an int8 scan whose best are scored again in float32."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from learned_index.baselines.registry import register
from learned_index.baselines.vectors import DenseMethod, as_float32
from learned_index.comparison.method import Ids, Inputs
from learned_index.comparison.reference import exact_neighbours
from learned_index.system.extras import Deferred
from learned_index.types import DenseMatrix, Float32Array

faiss: Any = Deferred("faiss", extra="compare")
torch: Any = Deferred("torch", extra="train")

SCAN_BATCH = 16
"""Below this many queries one pass over the items in FAISS beats a matrix product."""
BLOCK_FLOATS = 2**24
"""Scores held at a time (64 MB)."""


class _Scan(DenseMethod):
    """A search that reads every item."""

    inputs: ClassVar[Inputs] = "classifiers"

    def build(self, *data: DenseMatrix) -> None:
        """Take the items, L x E; a C-contiguous float32 array is used in place."""
        self._index = as_float32(data[0], what="items")
        self._dim = self._index.shape[1]

    def disk_bytes(self) -> int:
        """Return the bytes of the float32 items."""
        self.require_built()
        return int(self._index.nbytes)


@register("exact", summary="every label classifier in float32", default=True)
class ExactSearch(_Scan):
    """Score every item in float32 (no query-time knob).

    A few queries go through FAISS's scan, which reads the items once at memory speed; a batch is a
    blocked matrix product with a partial selection. Measured at L = 21,264, E = 385, one thread:
    1.4 ms a query for FAISS alone against 3 ms for a matrix product, and 2.1 against 0.4 ms in a
    batch of 256. The two sum in different order, so scores agree to rounding.
    """

    def _answer(self, rows: Any, k: int, arguments: dict[str, Any]) -> tuple[Ids, Any]:
        items_LE: Float32Array = self._index
        width = min(k, len(items_LE))
        if width > 0 and len(rows) < SCAN_BATCH:
            scores, ids = faiss.knn(rows, items_LE, width, metric=faiss.METRIC_INNER_PRODUCT)
            return ids, scores
        # However many items there are, a block of fewer queries would be slower than FAISS.
        block_floats = max(BLOCK_FLOATS, SCAN_BATCH * len(items_LE))
        return exact_neighbours(rows, items_LE, width, block_floats=block_floats)


@register("exact-int8", summary="every label classifier in 8 bits, the best again", default=True)
class Int8ExactSearch(_Scan):
    """Score every item with 8-bit codes, then the best ``rescore * k`` of them in float32.

    Items and queries are scaled row by row to [-127, 127] and rounded; the integer product is
    exact, so the only error of the scan is the rounding of the codes. The product is torch's
    ``_int_mm`` where it works (0.18 ms a query at L = 21,264, E = 385, one thread, against
    0.75 ms for FAISS's 8-bit scalar quantiser and 0.86 ms for a Numba loop), else a float32
    product of the codes, which gives the same integers up to E = 1040.
    """

    arguments: ClassVar[dict[str, type]] = {"rescore": float}
    sweep = (1.0, 1.25, 1.5, 2.0, 4.0)

    def build(self, *data: DenseMatrix) -> None:
        """Quantise the items, L x E; the float32 originals are kept for the second pass."""
        super().build(*data)
        codes_LE, scale_L = _quantise(self._index)
        self._codes_LE, self._scale_L = torch.from_numpy(codes_LE), torch.from_numpy(scale_L)
        self._integer_product = _int_mm_works()

    def _answer(self, rows: Any, k: int, arguments: dict[str, Any]) -> tuple[Ids, Any]:
        n_items = len(self._index)
        width = min(n_items, int(np.ceil(arguments.get("rescore", 2.0) * k)))
        ids_BK = np.full((len(rows), min(k, n_items)), -1, dtype=np.int64)
        scores_BK = np.empty(ids_BK.shape, dtype=np.float32)
        # The integers and their scaled floats: two blocks of scores at a time.
        step = max(1, min(64, BLOCK_FLOATS // max(n_items, 1)))
        for start in range(0, len(rows) if width else 0, step):
            block_BE = rows[start : start + step]
            candidates_BR = torch.topk(self._scan(block_BE), width, dim=1, sorted=False)[1].numpy()
            gathered_BRE = self._index[candidates_BR]
            exact_BR = np.matmul(gathered_BRE, block_BE[:, :, None])[:, :, 0]
            best = torch.topk(torch.from_numpy(exact_BR), min(k, width), dim=1)
            scores_BK[start : start + step] = best.values.numpy()
            places = best.indices.numpy()
            ids_BK[start : start + step] = np.take_along_axis(candidates_BR, places, axis=1)
        return ids_BK, scores_BK

    def disk_bytes(self) -> int:
        """Return the bytes of codes, scales and the float32 items for the second pass."""
        items_bytes, n_items = super().disk_bytes(), len(self._index)
        return items_bytes + n_items * self._dim + 4 * n_items

    def _scan(self, queries_BE: Float32Array) -> Any:
        """Return B x L approximate scores, each row up to a positive factor."""
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
