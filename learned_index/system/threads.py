"""Set the thread count of torch, FAISS, BLAS and OpenMP together, and restore it."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from learned_index.errors import InputError

_asked: int | None = None
"""What was asked for last; for processes without torch, which else keeps it."""


@contextmanager
def limit_threads(threads: int) -> Iterator[None]:
    """Run the block with ``threads`` CPU threads in every library; restore the counts after it.

    Raises:
        InputError: ``threads`` is below 1.
    """
    global _asked
    if threads < 1:
        raise InputError(f"threads must be at least 1, got {threads}")
    torch, faiss, pools = (_installed(name) for name in ("torch", "faiss", "threadpoolctl"))
    before, asked_before = (torch and torch.get_num_threads()), _asked
    faiss_before = faiss and faiss.omp_get_max_threads()
    with ExitStack() as stack:
        if pools is not None:
            stack.enter_context(pools.threadpool_limits(limits=threads))
        _set(torch, faiss, threads)
        _asked = threads
        try:
            yield
        finally:
            _asked = asked_before
            _set(None, faiss, faiss_before)
            _set(torch, None, before)


def set_threads(threads: int | None) -> int:
    """Make torch, BLAS and FAISS use ``threads`` CPU threads from now on, torch once it is there.

    Args:
        threads: Number of threads; None uses the CPUs this process may run on.

    Returns:
        The number set.
    """
    global _asked
    threads = available_cpus() if threads is None else threads
    _asked = threads
    if loaded_torch() is not None:
        _set(loaded_torch(), None, threads)
    else:
        # To import it for its thread count alone would take seconds, which a search has not.
        _TorchImport.watch()
    pools = _installed("threadpoolctl")
    if pools is not None:
        pools.threadpool_limits(limits=threads)
    return threads


def current_threads() -> int:
    """Return how many threads a computation may use now: as many as torch would.

    Without torch (a search engine needs none) what :func:`limit_threads` or ``OMP_NUM_THREADS``
    says, which torch reads too, else all CPUs of this process.
    """
    torch = loaded_torch()
    if torch is not None:
        return int(torch.get_num_threads())
    if _asked is not None:
        return _asked
    with suppress(ValueError):  # a list of counts, one a level of nesting: the first is ours
        return max(1, int(os.environ.get("OMP_NUM_THREADS", "").split(",")[0]))
    return available_cpus()


def loaded_torch() -> Any:
    """Return the module torch where something has imported it, else None; never imports it.

    None also while another thread is about to import it.
    """
    torch = sys.modules.get("torch")
    return torch if hasattr(torch, "get_num_threads") else None


def available_cpus() -> int:
    """Return how many CPUs this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else (os.cpu_count() or 1)


class _TorchImport:
    """A finder on ``sys.meta_path`` that gives torch its thread count as soon as it is there."""

    @classmethod
    def watch(cls) -> None:
        if not any(isinstance(finder, cls) for finder in sys.meta_path):
            sys.meta_path.insert(0, cls())

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """The spec that the other finders give, whose module is told when it has been executed."""
        if name != "torch":
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next((each for each in found if each is not None), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: Any) -> None:
                execute(module)
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                _set(module, None, _asked)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _installed(name: str) -> Any:
    """Return a library that may not be there: what is not installed has no threads to set."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _set(torch: Any, faiss: Any, threads: Any) -> None:
    if torch is not None:
        torch.set_num_threads(threads)
    if faiss is not None:
        faiss.omp_set_num_threads(threads)
