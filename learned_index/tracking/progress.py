"""A progress bar of a training: stage, loss, metrics, time left; on a terminal or in a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from learned_index.system.progress import new_bar
from learned_index.training.callbacks import TrainingCallback
from learned_index.training.events import TrainingEvent

SHOWN = 2
"""Metrics that are shown."""


class Course:
    """What a person is told of a training in one line; metrics stay until there are newer ones."""

    def __init__(self) -> None:
        self._stage = ""
        self._metrics: dict[str, float] = {}

    def line(self, event: TrainingEvent) -> str:
        """Epoch, loss and the newest metrics of the stage."""
        if event.stage != self._stage:
            self._stage, self._metrics = event.stage, {}
        if event.metrics:
            self._metrics = event.metrics
        parts = []
        if event.n_epochs > 1:
            parts.append(f"epoch {min(event.epoch + 1, event.n_epochs)}/{event.n_epochs}")
        if event.loss is not None:
            parts.append(f"loss {event.loss:.4f}")
        parts += [f"{name} {value:.2f}" for name, value in list(self._metrics.items())[:SHOWN]]
        return "  ".join(parts)


class ProgressBar(TrainingCallback):
    """Shows a training while it runs: the stage, its steps, loss, metrics and the time left.

    In a notebook too (with ipywidgets: ``pip install 'learned-index[notebook]'``). Where standard
    error is neither a terminal nor a notebook, nothing is shown.

    Args:
        console: The rich console to draw on; None: standard error, or the notebook.

    Example:
        >>> model.fit(texts, labels, callbacks=[ProgressBar()])  # doctest: +SKIP
    """

    def __init__(self, console: Any | None = None) -> None:
        self._console = console
        self._bar: Any | None = None
        self._task: Any = None
        self._course = Course()

    def on_begin(self, parameters: Mapping[str, Any]) -> None:
        """Draw the bar."""
        from rich.console import Console

        console = Console(stderr=True) if self._console is None else self._console
        if not (console.is_terminal or console.is_jupyter):
            return
        self._course = Course()
        self._bar = new_bar(console=console, transient=not console.is_jupyter)
        self._task = self._bar.add_task("training", total=None, info="")
        self._bar.start()

    def on_event(self, event: TrainingEvent) -> None:
        """Move it on."""
        if self._bar is None:
            return
        from rich.markup import escape

        if self._bar.tasks[0].description != escape(event.stage):
            self._bar.reset(
                self._task, total=max(event.n_steps, 1), description=escape(event.stage)
            )
        self._bar.update(self._task, completed=event.step, info=escape(self._course.line(event)))

    def on_end(self, results: Mapping[str, Any]) -> None:
        """Take it away; in a notebook it stays as it was."""
        self._stop()

    def on_failure(self, error: BaseException) -> None:
        """Take it away."""
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
