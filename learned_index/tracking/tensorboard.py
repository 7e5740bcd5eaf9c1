"""Trainings in TensorBoard."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

from learned_index.system.extras import require
from learned_index.tracking.tracker import Tracker


class TensorBoardTracker(Tracker):
    """Writes event files, which ``tensorboard --logdir DIR`` shows.

    Args:
        directory: Folder for them. A training gets a folder in it, called run-1, run-2, ...
    """

    name = "TensorBoard"

    def __init__(self, directory: Path | str) -> None:
        super().__init__()
        require("tensorboard", extra="tensorboard")  # told now, not after hours of encoding
        self.directory = Path(directory)
        self._writer: Any = None

    def begin(self, parameters: dict[str, Any]) -> None:
        """Open the event file."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self._new_folder()))
        rows = [f"| {name} | {value} |" for name, value in parameters.items()]
        table = "\n".join(["| parameter | value |", "|---|---|", *rows])
        self._writer.add_text("parameters", table)

    def _new_folder(self) -> Path:
        """Make the folder of this training; of two that begin at once each gets its own."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            folder = self.directory / f"run-{number}"
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            return folder
        raise AssertionError("unreachable")  # pragma: no cover

    def log(self, values: dict[str, float], step: int) -> None:
        """Write numbers of a step."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()  # read while the training goes on

    def end(self, results: dict[str, float], *, failed: bool) -> None:
        """Write the results as numbers of step 0, and close the file."""
        for name, value in results.items():
            self._writer.add_scalar(name, value, 0)
        self._writer.close()
