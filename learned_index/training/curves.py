"""Losses and metrics of a training, kept for whoever draws them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from learned_index.training.events import TrainingEvent

MOST_OF_A_STAGE = 256
"""Losses of a stage that are kept; where there are more, neighbours become their mean."""


class Curves:
    """The course of a training: a few hundred losses of each stage, and all its metrics.

    A row is ``{"stage", "epoch", "step", "n_steps", "loss", "seconds", "metrics"}``: the loss is
    the mean over the steps since the row before, the seconds are those since the training began,
    and the metrics, in percent, stand where an epoch ends.

    Args:
        rows: Of a training that goes on: its clock goes on with theirs.
    """

    def __init__(self, rows: Sequence[dict[str, Any]] = ()) -> None:
        self.rows: list[dict[str, Any]] = [dict(row) for row in rows]
        self._start = time.monotonic() - (self.rows[-1]["seconds"] if self.rows else 0.0)

    def __call__(self, event: TrainingEvent) -> None:
        """Take an event; one that tells neither loss nor metrics is none of a curve."""
        if event.loss is None and not event.metrics:
            return
        # A training that went on from an earlier state makes these steps again.
        self.rows = [
            row for row in self.rows if row["stage"] != event.stage or row["step"] < event.step
        ]
        self.rows.append(
            {
                "stage": event.stage,
                "epoch": event.epoch,
                "step": event.step,
                "n_steps": event.n_steps,
                "loss": event.loss,
                "seconds": round(time.monotonic() - self._start, 3),
                "metrics": dict(event.metrics),
            }
        )
        own = [row for row in self.rows if row["stage"] == event.stage]
        if len(own) > MOST_OF_A_STAGE:
            self.rows = [row for row in self.rows if row["stage"] != event.stage] + halved(own)


def halved(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of one stage, of which every other one has joined the one behind it.

    Losses become the mean over the steps of both; a row with metrics stays itself.
    """
    found: list[dict[str, Any]] = []
    before = 0
    waiting: dict[str, Any] | None = None
    for row in rows:
        own = {**row, "_steps": row["step"] - before}
        before = row["step"]
        if waiting is not None:
            steps = waiting["_steps"] + own["_steps"]
            losses = [each["loss"] * each["_steps"] for each in (waiting, own)]
            own |= {"loss": sum(losses) / max(steps, 1), "_steps": steps}
            found.append(own)
            waiting = None
        elif row["metrics"] or row["loss"] is None:
            found.append(own)
        else:
            waiting = own
    if waiting is not None:
        found.append(waiting)
    return [{name: value for name, value in row.items() if name != "_steps"} for row in found]
