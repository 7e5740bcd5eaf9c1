"""Stages, losses, optimisers and schedules."""

from learned_index.training.events import Progress, TrainingEvent

__all__ = ["Progress", "TrainingEvent"]
