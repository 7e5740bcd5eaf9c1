"""Stages, losses, optimisers, schedules and checkpoints."""

from learned_index.training.checkpoint import CheckpointOptions
from learned_index.training.events import Progress, TrainingEvent

__all__ = ["CheckpointOptions", "Progress", "TrainingEvent"]
