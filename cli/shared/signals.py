"""Ctrl-C and termination as the wish to stop at the next opportunity."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from learned_index.cli.shared.common import EXIT_INTERRUPTED, EXIT_TERMINATED, handling, note

GRACE_SECONDS = 10.0
"""Time after SIGTERM in which a training may come to the point where it can save its state."""


class SignalStop:
    """Says whether the user wants to stop; the second Ctrl-C does not wait.

    After SIGTERM the process ends within seconds: by itself where the training soon asks for
    the wish to stop, else with the state that was saved last.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    def __call__(self) -> bool:
        """Whether a signal has come."""
        if self.signal == signal.SIGTERM:
            _set_alarm(0.0)  # whoever asked is about to save
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """Of the process that was stopped."""
        return EXIT_TERMINATED if self.signal == signal.SIGTERM else EXIT_INTERRUPTED

    @contextmanager
    def listening(self, *, quiet: bool) -> Iterator[None]:
        """Take SIGINT and SIGTERM as the wish to stop at the next opportunity.

        SIGINT that the parent has turned off, as for what runs in the background of a script,
        stays so.
        """

        def remember(number: int, _frame: object) -> None:
            if self.signal is not None:
                if number == signal.SIGINT:
                    raise KeyboardInterrupt
                raise SystemExit(EXIT_TERMINATED)
            self.signal = number
            if number == signal.SIGTERM:
                _set_alarm(GRACE_SECONDS)
            note("stopping; the state is being saved (again: stop at once)", quiet=quiet)

        numbers = [signal.SIGINT, signal.SIGTERM, *_ALARM]
        heard = [
            number
            for number in numbers
            if signal.getsignal(number) is not signal.SIG_IGN or number != signal.SIGINT
        ]
        with handling(heard, remember):
            try:
                yield
            finally:
                if self.signal == signal.SIGTERM:
                    _set_alarm(0.0)


_ALARM = [signal.SIGALRM] if hasattr(signal, "SIGALRM") else []  # not on Windows


def _set_alarm(seconds: float) -> None:
    """Ask for SIGALRM after this time; 0: for none."""
    if _ALARM:
        signal.setitimer(signal.ITIMER_REAL, seconds)
