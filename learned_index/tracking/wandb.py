"""Trainings in Weights & Biases."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from learned_index.system.extras import require
from learned_index.tracking.tracker import Tracker


class WandbTracker(Tracker):
    """Logs to Weights & Biases; ``WANDB_MODE=offline`` writes to a folder alone.

    Args:
        project: Name of the project; None: ``WANDB_PROJECT``, or ``learned-index``.
        directory: Folder for its files; None: ``WANDB_DIR``, or ``wandb`` in the working directory.
    """

    name = "Weights & Biases"

    def __init__(self, project: str | None = None, *, directory: Path | str | None = None) -> None:
        super().__init__()
        self._wandb = require("wandb", extra="wandb")  # told now, not after hours of encoding
        self.project, self.directory = project, directory
        self._run: Any = None

    def begin(self, parameters: dict[str, Any]) -> None:
        """Open a run of the project."""
        self._run = self._wandb.init(
            project=self.project or os.environ.get("WANDB_PROJECT", "learned-index"),
            dir=None if self.directory is None else str(self.directory),
            config=parameters,
            # A program that trains prints what it wants to be printed.
            settings=self._wandb.Settings(silent=True, console="off"),
        )

    def log(self, values: dict[str, float], step: int) -> None:
        """Log numbers of a step; each stage has an axis of its own."""
        stage = next(iter(values)).rpartition("/")[0]
        # Steps begin anew in every stage, and the run's own counter must not go back.
        self._run.define_metric(f"{stage}/*", step_metric=f"{stage}/step")
        self._run.log({**values, f"{stage}/step": step})

    def end(self, results: dict[str, float], *, failed: bool) -> None:
        """Write the results into the summary, and end the run."""
        self._run.summary.update(results)
        self._run.finish(exit_code=1 if failed else 0)
