"""What a process has to do before it forks, so that its child can compute as it did.

Threads do not survive a fork. Three things wait for them in the child for ever: our thread pools,
GNU's OpenMP (torch, scikit-learn and FAISS bring it along), whose threads a thread keeps between
two parallel regions, and Numba's compiler, if another thread was compiling. Intel's and LLVM's
OpenMP and OpenBLAS mend themselves.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

from numba.core.compiler_lock import global_compiler_lock
from threadpoolctl import ThreadpoolController

from learned_index.system.threads import loaded_torch

_SOFT = 1
"""``omp_pause_soft``: threads end, settings stay."""

_registered: set[Callable[[], None]] = set()
_openmp_is_paused = True


def forget_in_children(forget: Callable[[], None]) -> None:
    """Make the forks of this process safe from now on.

    Args:
        forget: Called in each forked child.
    """
    if forget in _registered or not hasattr(os, "register_at_fork"):  # Windows does not fork
        return
    if not _registered:  # twice, by two threads at once, would do no harm
        os.register_at_fork(
            before=_before, after_in_parent=global_compiler_lock.release, after_in_child=_in_child
        )
    os.register_at_fork(after_in_child=forget)
    _registered.add(forget)


def _before() -> None:
    global _openmp_is_paused
    # A child must not find the lock taken, nor LLVM half-way, by a thread that it does not have.
    global_compiler_lock.acquire()
    _openmp_is_paused = pause_openmp()


def _in_child() -> None:
    global_compiler_lock.release()
    torch = loaded_torch()
    if not _openmp_is_paused and torch is not None:
        torch.set_num_threads(1)  # what would wait for OpenMP's threads must not use them


def pause_openmp() -> bool:
    """End the threads that GNU's OpenMP keeps for this thread; they start anew when needed.

    Returns:
        False where one is older than OpenMP 5 (GCC 9) or in use.
    """
    paused = True
    for library in ThreadpoolController().lib_controllers:
        if library.internal_api == "openmp" and library.prefix == "libgomp":
            pause = getattr(ctypes.CDLL(library.filepath), "omp_pause_resource_all", None)
            paused &= pause is not None and pause(_SOFT) == 0
    return paused
