"""Kernels that a process has to compile because no earlier one has left them in Numba's cache."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from numba.core import event

_PACKAGE = __name__.partition(".")[0]


@dataclass
class Compiled:
    """What was compiled in a block of :func:`watched`."""

    kernels: list[str] = field(default_factory=list)
    """A name for each function of this package and types of its arguments."""
    seconds: float = 0.0
    """Time that compiling took."""


class _Listener(event.Listener):  # type: ignore[misc]
    def __init__(self, tell: Callable[[], None] | None, after_s: float) -> None:
        self.compiled, self._tell, self._after_s = Compiled(), tell, after_s
        self._starts: list[float] = []

    def on_start(self, event: Any) -> None:
        self._starts.append(time.perf_counter())

    def on_end(self, event: Any) -> None:
        # A function compiles what it calls first: the outermost one took the time of all.
        taken = time.perf_counter() - self._starts[0]
        self._starts.pop()
        function = event.data["dispatcher"].py_func
        if function.__module__.partition(".")[0] == _PACKAGE:
            self.compiled.kernels.append(f"{function.__module__}.{function.__qualname__}")
        if self._tell is not None and self.compiled.seconds + taken > self._after_s:
            self._tell()
            self._tell = None
        if not self._starts:
            self.compiled.seconds += taken


@contextmanager
def watched(tell: Callable[[], None] | None = None, *, after_s: float = 1.5) -> Iterator[Compiled]:
    """Tell what the block compiles; loading from the cache is no compiling.

    Args:
        tell: Called once, if compiling has taken so long; there may be more to compile then.
        after_s: Seconds until then.
    """
    listener = _Listener(tell, after_s)
    with event.install_listener("numba:compile", listener):
        yield listener.compiled
