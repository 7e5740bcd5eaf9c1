"""Set the thread count of torch, FAISS, BLAS and OpenMP together, and restore it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from learned_index.errors import InputError


@contextmanager
def limit_threads(threads: int) -> Iterator[None]:
    """Run the block with ``threads`` CPU threads in every library; restore the counts after it.

    Raises:
        InputError: ``threads`` is below 1.
    """
    import faiss
    from threadpoolctl import threadpool_limits

    if threads < 1:
        raise InputError(f"threads must be at least 1, got {threads}")
    before_torch, before_faiss = torch.get_num_threads(), faiss.omp_get_max_threads()
    with threadpool_limits(limits=threads):
        torch.set_num_threads(threads)
        faiss.omp_set_num_threads(threads)
        try:
            yield
        finally:
            faiss.omp_set_num_threads(before_faiss)
            torch.set_num_threads(before_torch)


def available_cpus() -> int:
    """Return how many CPUs this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else (os.cpu_count() or 1)
