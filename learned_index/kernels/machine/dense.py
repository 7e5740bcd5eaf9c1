"""Dense products whose result does not depend on the thread count or on the batch."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from learned_index.kernels.machine.flags import FAST
from learned_index.kernels.machine.parallel import run_ranges, split_evenly


@numba.njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy", forceinline=True)
def dot(a, b):
    """Inner product of two float32 vectors, always summed in the same order."""
    total = np.float32(0.0)
    for d in range(a.shape[0]):
        total += a[d] * b[d]
    return total


@numba.njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy", forceinline=True)
def add_scaled(out, x, factor):
    """Add ``factor * x`` to ``out``, two float32 vectors."""
    for d in range(out.shape[0]):
        out[d] += factor * x[d]


@numba.njit(nogil=True, cache=True)
def _rows_dot(start, stop, rows, vector, out):
    for i in range(start, stop):
        out[i] = dot(rows[i], vector)


def rows_dot(
    rows: np.ndarray[Any, np.dtype[np.float32]], vector: np.ndarray[Any, np.dtype[np.float32]]
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """``rows @ vector`` for C-ordered float32, the same bits at any thread count."""
    out = np.empty(len(rows), np.float32)
    run_ranges(
        split_evenly(len(rows), 8 if len(rows) > 4096 else 1),
        lambda _, a, b: _rows_dot(a, b, rows, vector, out),
    )
    return out
