"""Time calls: latency of single queries, throughput of batches, the best of several."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PERCENTILES = (50, 95, 99)


def single_latencies(
    search_one: Callable[[Any], Any],
    queries: Sequence[Any],
    *,
    warmup: int = 20,
    at_least: int = 200,
    at_most: int = 2000,
    budget_s: float = 1.0,
    clock: Callable[[], float] = time.perf_counter,
) -> npt.NDArray[np.float64]:
    """Time queries one by one, in milliseconds.

    Args:
        search_one: Answers a query.
        queries: Queries to run through; begun again from the start when they run out.
        warmup: Calls that are not timed.
        at_least: Calls timed whatever they take.
        at_most: Calls timed if they are fast.
        budget_s: Time after which no more than ``at_least`` are made.
        clock: Seconds; ``time.process_time`` where other processes take part of the processor.

    Returns:
        One value for each timed call.
    """
    import numpy as np  # commands that only tell their options time nothing

    for number in range(warmup):
        search_one(queries[number % len(queries)])
    times: list[float] = []
    began = clock()
    while len(times) < at_most:
        query = queries[len(times) % len(queries)]
        start = clock()
        search_one(query)
        end = clock()
        times.append((end - start) * 1e3)
        if len(times) >= at_least and end - began > budget_s:
            break
    return np.asarray(times)


def latency_summary(times_ms: npt.NDArray[np.float64]) -> dict[str, float]:
    """Return ``latency_ms_p50``, ``latency_ms_p95`` and ``latency_ms_p99``."""
    import numpy as np

    values = np.percentile(times_ms, PERCENTILES)
    return {f"latency_ms_p{p}": float(value) for p, value in zip(PERCENTILES, values, strict=True)}


def batch_slices(n_queries: int, batch_size: int) -> list[slice]:
    """Return the batches of all queries."""
    return [slice(i, min(i + batch_size, n_queries)) for i in range(0, n_queries, batch_size)]


def batch_throughput(
    search_batch: Callable[[slice], Any],
    slices: Sequence[slice],
    *,
    at_least_s: float = 0.3,
    at_most_s: float = 2.0,
) -> float:
    """Search batches, over and over if they are fast, and not all of them if they are slow.

    Args:
        search_batch: Answers the queries of a slice.
        slices: The batches.
        at_least_s: Whole passes are made until this time is reached.
        at_most_s: Time after which a pass is left unfinished, after one batch at least.

    Returns:
        Queries per second over all batches but for one untimed batch before them.
    """
    search_batch(slices[0])
    elapsed, n_queries = 0.0, 0
    # Only the calls are timed: what lies between them is the loop, not the search.
    while n_queries == 0 or elapsed < at_least_s:
        for part in slices:
            start = time.perf_counter()
            search_batch(part)
            elapsed += time.perf_counter() - start
            n_queries += part.stop - part.start
            if elapsed >= at_most_s:
                break
    return n_queries / elapsed


@contextmanager
def timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Add the time of the block to the seconds of ``name``."""
    start = time.perf_counter()
    try:
        yield
    finally:
        seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start


def median_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Return the median, and the distance between largest and smallest as a share of it."""
    import numpy as np

    middle = float(np.median(values))
    return middle, float((max(values) - min(values)) / middle) if middle > 0 else 0.0


def seconds_of(call: Callable[[], Any], *, repeats: int = 1) -> float:
    """Return the shortest time of some calls, after one that warms up."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)
