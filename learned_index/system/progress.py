"""How long work tells how far it is: one call, whatever the work; and the bar that shows it."""

from __future__ import annotations

from typing import Any, Protocol


class Progress(Protocol):
    """Called now and then by what takes long."""

    def __call__(self, done: float, total: float, text: str = "") -> None:
        """Tell where the work is.

        Args:
            done: Steps done; never less than before.
            total: Steps in all, in the same unit.
            text: What is being done, a few words.
        """


def new_bar(**options: Any) -> Any:
    """A bar of rich with the time gone and left, and a field ``info`` behind them.

    Args:
        **options: Of ``rich.progress.Progress``, which is returned.
    """
    # Imported here: whoever only asks for help waits for no bar.
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[info]}"),
        **options,
    )
