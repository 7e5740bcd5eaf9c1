"""How long work tells how far it is: one call, whatever the work."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called now and then by what takes long."""

    def __call__(self, done: float, total: float, text: str = "") -> None:
        """Tell where the work is.

        Args:
            done: Steps done; never less than before.
            total: Steps in all, in the same unit.
            text: What is being done, a few words.
        """
