"""Run a nogil kernel over ranges of rows in a thread pool.

Numba's own ``parallel=True`` is not used: its default threading layer must not be entered from two
threads at once, it pays its start-up for every small call, and its split of the work depends on the
thread count. Here every kernel takes ``start`` and ``stop``; what one range computes never depends
on how many threads run, so results are equal bit for bit at any thread count.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise
from typing import Any

import numpy as np

from learned_index.kernels.machine.forks import forget_in_children
from learned_index.system.threads import current_threads

_pools: dict[int, ThreadPoolExecutor] = {}
_pools_lock = threading.Lock()


def _forget_pools() -> None:
    """In a forked child: the pools' threads are not there, and the lock may be another's."""
    global _pools_lock
    _pools_lock = threading.Lock()
    _pools.clear()


def survive_forks() -> None:
    """Make the children that this process forks from now on able to search and to train.

    Whatever holds a model calls it when it is made: with the model, work may be done on several
    threads by other libraries before any is done here.
    """
    forget_in_children(_forget_pools)


def _pool(n_threads: int) -> ThreadPoolExecutor:
    survive_forks()
    with _pools_lock:
        if n_threads not in _pools:
            _pools[n_threads] = ThreadPoolExecutor(n_threads, thread_name_prefix="learned-index")
        return _pools[n_threads]


def run_rows(n: int, call: Callable[[int, int], Any]) -> None:
    """Call ``call(start, stop)`` for ranges that make up ``range(n)``, one for each thread."""
    run_ranges(split_evenly(n, current_threads()), lambda _, start, stop: call(start, stop))


def run_queries(n: int, call: Callable[[int, int], Any], *, few: int = 1) -> None:
    """As :func:`run_rows`, in four ranges a thread, and in one where there is one thread.

    So ``few`` queries are answered in this thread: they are before a second one has begun.
    """
    if n <= few:  # most of all a single query, which waits for every microsecond
        call(0, n)
        return
    # Queries differ in cost: who is done early takes another range.
    n_parts = 4 * current_threads() if current_threads() > 1 else 1
    run_ranges(split_evenly(n, n_parts), lambda _, start, stop: call(start, stop))


def split_evenly(n: int, n_parts: int) -> list[tuple[int, int]]:
    """Cut ``range(n)`` into at most ``n_parts`` contiguous ranges of near-equal length."""
    n_parts = max(1, min(n_parts, n))
    edges = [n * i // n_parts for i in range(n_parts + 1)]
    return [(edges[i], edges[i + 1]) for i in range(n_parts) if edges[i + 1] > edges[i]]


def split_by_weight(offsets: np.ndarray[Any, Any], n_parts: int) -> list[tuple[int, int]]:
    """Cut rows into contiguous ranges of near-equal total weight.

    Args:
        offsets: n + 1 cumulative weights (a CSR ``indptr``).
        n_parts: Number of ranges at most.
    """
    n = len(offsets) - 1
    targets = [int(offsets[-1]) * i // n_parts for i in range(1, n_parts)]
    edges = [0, *np.searchsorted(offsets, targets).tolist(), n]
    return [(a, b) for a, b in pairwise(edges) if b > a]


def collect_ranges(
    ranges: list[tuple[int, int]],
    call: Callable[[int, int], Any],
    progress: Callable[[int, int], Any] | None = None,
) -> list[Any]:
    """As :func:`run_ranges` of ``call(start, stop)``, what it returns in the order of the ranges.

    Args:
        ranges: The ranges.
        call: Likewise.
        progress: Called behind each range with the rows done and the rows of all ranges.
    """
    results: list[Any] = [None] * len(ranges)
    n_rows, done, turn = sum(stop - start for start, stop in ranges), 0, threading.Lock()

    def work(part: int, start: int, stop: int) -> None:
        nonlocal done
        results[part] = call(start, stop)
        if progress is not None:
            with turn:  # who is told hears of no fewer rows than before
                done += stop - start
                progress(done, n_rows)

    run_ranges(ranges, work)
    return results


def run_ranges(
    ranges: list[tuple[int, int]],
    call: Callable[[int, int, int], Any],
    n_threads: int | None = None,
) -> None:
    """Call ``call(part, start, stop)`` for every range, in this thread and in others.

    An error ends the call when the ranges that have begun are done; the others are not begun.

    Args:
        ranges: The ranges; ``part`` is the position in this list.
        call: Must release the GIL inside (a ``nogil`` kernel) to run in parallel.
        n_threads: Threads in all; default :func:`~learned_index.system.threads.current_threads`.
    """
    if len(ranges) == 1:  # most of all a single query, which waits for every microsecond
        call(0, *ranges[0])
        return
    n_threads = min(n_threads or current_threads(), len(ranges))
    waiting = deque(enumerate(ranges))

    def work() -> None:
        while True:
            try:
                part, (start, stop) = waiting.popleft()
            except IndexError:  # none is left
                return
            try:
                call(part, start, stop)
            except BaseException:
                waiting.clear()
                raise

    # The caller works too: a thread that must be woken for each range costs more than some ranges.
    helpers = [_pool(n_threads).submit(work) for _ in range(n_threads - 1)]
    try:
        work()
    finally:
        wait(helpers)  # they use the caller's arrays
    for helper in helpers:
        helper.result()
