"""What the machine reaches in this run, and the least time of each part that follows from it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import torch

from learned_index.kernels.machine.parallel import run_ranges, split_evenly
from on_cpu.instance import StageTwo
from on_cpu.parts import PARTS, Seen

_NEAR_ROWS = 16
"""So many rows, and one more, fit the first-level cache."""


@dataclass(frozen=True)
class Rates:
    """What all threads together reach.

    Attributes:
        bytes_per_s: Copying an array far larger than the caches, bytes read and bytes written.
        products_per_s: Operations of float32 matrix products, batch times router.
        multiply_adds_per_s: Operations of dot products of one vector with all of a batch, which
            lies in the second-level cache, row after row.
        near_multiply_adds_per_s: The same with some rows that lie in the first-level cache.
    """

    bytes_per_s: float
    products_per_s: float
    multiply_adds_per_s: float
    near_multiply_adds_per_s: float


@dataclass(frozen=True)
class Work:
    """What a part must do at least.

    Attributes:
        n_bytes: Read and written.
        products: Operations that are products of dense matrices.
        operations: Other operations on floats.
    """

    n_bytes: float
    products: float = 0.0
    operations: float = 0.0

    def floor_ms(self, rates: Rates) -> float:
        """The larger of the time for bytes and the time for operations."""
        arithmetic = (
            self.products / rates.products_per_s + self.operations / rates.multiply_adds_per_s
        )
        return 1e3 * max(self.n_bytes / rates.bytes_per_s, arithmetic)


@numba.njit(nogil=True, fastmath=True, error_model="numpy")
def _dots(start: int, stop: int, common: Any, rows: Any) -> Any:
    """Four rows at a time, so that the common factor is loaded once for four."""
    D = rows.shape[1]
    total = np.float32(0.0)
    for _ in range(start, stop):
        for b in range(0, rows.shape[0], 4):
            x0, x1, x2, x3 = rows[b], rows[b + 1], rows[b + 2], rows[b + 3]
            t0 = t1 = t2 = t3 = np.float32(0.0)
            for d in range(D):
                w = common[d]
                t0 += w * x0[d]
                t1 += w * x1[d]
                t2 += w * x2[d]
                t3 += w * x3[d]
            total += t0 + t1 + t2 + t3
    return total


def measure_rates(
    batch: int, dim: int, n_clusters: int, *, clock: Callable[[], float], small: bool = False
) -> Rates:
    """Measure with as many threads as torch has; the best of some rounds counts.

    Args:
        batch: B.
        dim: D.
        n_clusters: C.
        clock: Seconds, the one that the step is measured with.
        small: A moment instead of a second, for tests.
    """
    threads = torch.get_num_threads()
    source = np.ones(1 << (16 if small else 26), np.float32)
    target = np.ones_like(source)
    parts = split_evenly(len(source), threads)
    x, router = torch.randn(batch, dim), torch.randn(n_clusters, dim)
    rows = np.ones((-(-batch // 4) * 4, dim), np.float32)
    products = max(1, (1 << (18 if small else 27)) // (batch * dim * n_clusters)) + 1

    def copy() -> None:
        run_ranges(parts, lambda _, a, b: np.copyto(target[a:b], source[a:b]))

    def multiply() -> None:
        for _ in range(products):
            x @ router.T

    def add(rows: Any) -> float:
        repeats = max(1, (1 << (18 if small else 25)) // rows.size)
        sweeps = split_evenly(repeats * threads, threads)
        seconds = best(lambda: run_ranges(sweeps, lambda _, a, b: _dots(a, b, rows[0], rows)))
        return float(2 * rows.size * repeats * threads / seconds)

    def best(call: Callable[[], None]) -> float:
        call()
        return min(_seconds(call, clock) for _ in range(2 if small else 7))

    return Rates(
        bytes_per_s=2 * source.nbytes / best(copy),
        products_per_s=2 * batch * dim * n_clusters * products / best(multiply),
        multiply_adds_per_s=add(rows),
        near_multiply_adds_per_s=add(rows[:_NEAR_ROWS]),
    )


def _seconds(call: Callable[[], None], clock: Callable[[], float]) -> float:
    start = clock()
    call()
    return max(clock() - start, 1e-9)


def make_clock(threads: int) -> tuple[str, Callable[[], float]]:
    """CPU time on one thread: other work on the machine does not count. Wall time on several."""
    return ("CPU", time.process_time) if threads == 1 else ("wall", time.perf_counter)


def work_of_parts(stage: StageTwo, seen: Seen) -> dict[str, Work]:
    """Least work of each part of a step; 4 bytes a float, 4 a label, every use counted once.

    Inner copies, masks and the bookkeeping of shortlists are overhead, not work.
    """
    index = stage.index
    B, D, P = seen.n_queries, stage.inputs.dim, seen.n_pairs
    C, M = index.graph.edge_labels_CM.shape
    x, edges, clusters = 4 * B * D, 4 * C * M, 4 * B * C
    rows = 4 * D * seen.n_rows
    router = 4 * C * D
    work = {
        # Rows read, masked, written; a random number each.
        "batch: rows, dropout, positives": Work(3 * x),
        # x P' forward, x' grad backward (the vectors need no gradient).
        "projection": Work(5 * x + 8 * D * D, products=4 * B * D * D),
        # Softmax: logits and weights; their gradients back.
        "edge weights": Work(5 * edges, operations=10 * C * M),
        # x W' forward; to x and to W backward.
        "router": Work(5 * x + 2 * router + 4 * clusters, products=6 * B * C * D),
        # Logits once; labels and weights of all edges for the strongest cluster.
        "beam with teacher forcing": Work(clusters + 2 * edges),
        # A path: label, weight, the label's best score read and written. A pair: label and place.
        "explore": Work(seen.n_paths * 16 + P * 8),
        # Place, edge weight, score; back: place, gradient, weight, gradient of the edge (r + w).
        "path scores": Work(P * 12 + P * 20, operations=5 * P),
        # Labels, rows of W_L once, logits.
        "label scores": Work(rows + x + P * 8, operations=2 * P * D),
        # z and y read, twice; two gradients written. Some 20 operations each way.
        "losses": Work(P * 24, operations=40 * P),
        # w and both moments read and written, gradients and labels of pairs, x and its gradient.
        "label scores backward, RowAdamW": Work(
            6 * rows + 3 * x + P * 8, operations=4 * P * D + 15 * seen.n_rows * D
        ),
        # Weight and two moments read and written, the gradient read.
        "AdamW of projection, router, edges": Work(7 * (edges + router + 4 * D * D)),
    }
    assert tuple(work) == PARTS
    return work
