"""How many CPU threads work: one count for torch, FAISS, BLAS, OpenMP and the compiled kernels."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from learned_index.errors import InputError

# What limit_threads asked for. Torch's own count is the truth wherever torch is loaded.
_limit: int | None = None


def thread_count() -> int:
    """How many threads the compiled kernels use.

    Torch's count where torch is loaded, so that ``torch.set_num_threads`` rules both. A search
    engine works without torch: then what :func:`limit_threads` or ``OMP_NUM_THREADS`` says, which
    torch reads too, else all CPUs of this process.
    """
    torch = _loaded_torch()
    if torch is not None:
        return int(torch.get_num_threads())
    if _limit is not None:
        return _limit
    with suppress(ValueError):  # a list of counts, one a level of nesting: the first counts
        return max(1, int(os.environ.get("OMP_NUM_THREADS", "").split(",")[0]))
    return available_cpus()


def set_torch_threads(threads: int) -> None:
    """``torch.set_num_threads``, where torch is loaded: nothing else of it would be running."""
    torch = _loaded_torch()
    if torch is not None:
        torch.set_num_threads(threads)


def _loaded_torch() -> Any:
    """The module torch, if it is imported and ready: another thread may be importing it."""
    torch = sys.modules.get("torch")
    return torch if hasattr(torch, "get_num_threads") else None


@contextmanager
def limit_threads(threads: int) -> Iterator[None]:
    """Run the block with ``threads`` CPU threads in every library; restore the counts after it.

    Raises:
        InputError: ``threads`` is below 1.
    """
    from threadpoolctl import threadpool_limits

    global _limit
    if threads < 1:
        raise InputError(f"threads must be at least 1, got {threads}")
    libraries: list[tuple[Callable[[int], Any], int]] = []  # setters, and the counts before
    with suppress(ImportError):  # a search engine needs neither
        import torch

        libraries.append((torch.set_num_threads, torch.get_num_threads()))
    with suppress(ImportError):
        import faiss

        libraries.append((faiss.omp_set_num_threads, faiss.omp_get_max_threads()))
    limit_before = _limit
    with threadpool_limits(limits=threads):
        for set_count, _ in libraries:
            set_count(threads)
        _limit = threads
        try:
            yield
        finally:
            _limit = limit_before
            for set_count, before in reversed(libraries):
                set_count(before)


def available_cpus() -> int:
    """Return how many CPUs this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else (os.cpu_count() or 1)
