"""Stages, losses, optimisers, schedules and checkpoints."""

from learned_index.training.checkpoint import CheckpointOptions, StopFlag
from learned_index.training.events import Progress, TrainingEvent

__all__ = ["CheckpointOptions", "Progress", "StopFlag", "TrainingEvent"]
