"""Latency of single queries and throughput of batches, warmed up."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

PERCENTILES = (50, 95, 99)


def single_latencies(
    search_one: Callable[[int], Any],
    queries: Sequence[int],
    *,
    warmup: int = 20,
    at_least: int = 200,
    at_most: int = 2000,
    budget_s: float = 2.0,
) -> npt.NDArray[np.float64]:
    """Time queries one by one, in milliseconds.

    Args:
        search_one: Answers the query of a number.
        queries: Numbers to run through; begun again from the start when they run out.
        warmup: Calls that are not timed.
        at_least: Calls timed whatever they take.
        at_most: Calls timed if they are fast.
        budget_s: Time after which no more than ``at_least`` are made.

    Returns:
        One value for each timed call.
    """
    for number in range(warmup):
        search_one(queries[number % len(queries)])
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < at_most:
        query = queries[len(times) % len(queries)]
        start = time.perf_counter()
        search_one(query)
        end = time.perf_counter()
        times.append((end - start) * 1e3)
        if len(times) >= at_least and end - began > budget_s:
            break
    return np.asarray(times)


def latency_summary(times_ms: npt.NDArray[np.float64]) -> dict[str, float]:
    """Return ``latency_ms_p50``, ``latency_ms_p95`` and ``latency_ms_p99``."""
    values = np.percentile(times_ms, PERCENTILES)
    return {f"latency_ms_p{p}": float(value) for p, value in zip(PERCENTILES, values, strict=True)}


def batch_throughput(
    search_batch: Callable[[slice], Any],
    n_queries: int,
    *,
    batch_size: int,
    at_least_s: float = 0.3,
    at_most_passes: int = 5,
) -> tuple[float, list[Any]]:
    """Search all queries in batches.

    Args:
        search_batch: Answers the queries of a slice.
        n_queries: Queries in all.
        batch_size: Queries per call.
        at_least_s: Further passes are made until this time is reached.
        at_most_passes: Passes at most.

    Returns:
        Queries per second over all passes but for one untimed batch before them, and the answers
        of the first pass.
    """
    slices = [slice(i, min(i + batch_size, n_queries)) for i in range(0, n_queries, batch_size)]
    search_batch(slices[0])
    answers: list[Any] = []
    elapsed, passes = 0.0, 0
    while passes == 0 or (elapsed < at_least_s and passes < at_most_passes):
        start = time.perf_counter()
        found = [search_batch(part) for part in slices]
        elapsed += time.perf_counter() - start
        answers = answers or found
        passes += 1
    return n_queries * passes / elapsed, answers
