"""What training tells the outside while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True)
class TrainingEvent:
    """One report of progress.

    Attributes:
        stage: ``"clustering"``, ``"warm-up"`` (trainable encoders), ``"stage 1"``, ``"graph"`` or
            ``"stage 2"`` (``"stage 2, round 2"`` where it has rounds).
        epoch: Epochs of the stage that have ended.
        n_epochs: Epochs of the stage.
        step: Steps of the stage that have ended.
        n_steps: Steps of the stage.
        loss: Mean loss since the last event, None before the first step.
        metrics: Validation metrics in percent, at the end of an epoch.
    """

    stage: str
    epoch: int
    n_epochs: int
    step: int
    n_steps: int
    loss: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)


Progress: TypeAlias = Callable[[TrainingEvent], None]
