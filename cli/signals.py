"""Ctrl-C and termination as the wish to stop at the next opportunity."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from learned_index.cli.common import EXIT_INTERRUPTED, EXIT_TERMINATED, note


class SignalStop:
    """Says whether the user wants to stop; the second Ctrl-C does not wait."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __call__(self) -> bool:
        """Whether a signal has come."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """Of the process that was stopped."""
        return EXIT_TERMINATED if self.signal == signal.SIGTERM else EXIT_INTERRUPTED

    @contextmanager
    def listening(self, *, quiet: bool) -> Iterator[None]:
        """Take SIGINT and SIGTERM as the wish to stop at the next opportunity."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def remember(number: int, _frame: object) -> None:
            if self.signal is not None:
                raise KeyboardInterrupt
            self.signal = number
            note("stopping; the state is being saved (again: stop at once)", quiet=quiet)

        before = {
            number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
