"""Trackers by name: what ``li train --track`` takes."""

from __future__ import annotations

from collections.abc import Callable

from learned_index.errors import InputError
from learned_index.tracking.tracker import Tracker


def _tensorboard(place: str | None) -> Tracker:
    from learned_index.tracking.tensorboard import TensorBoardTracker

    if place is None:
        raise InputError("tensorboard needs a folder for its files: tensorboard:runs")
    return TensorBoardTracker(place)


def _mlflow(place: str | None) -> Tracker:
    from learned_index.tracking.mlflow import MLflowTracker

    return MLflowTracker(place)


def _wandb(place: str | None) -> Tracker:
    from learned_index.tracking.wandb import WandbTracker

    return WandbTracker(place)


TRACKERS: dict[str, Callable[[str | None], Tracker]] = {
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
    "wandb": _wandb,
}
"""Name -> what makes a tracker of the place behind it."""


def parse_tracker(text: str) -> Tracker:
    """Make a tracker of a text.

    Args:
        text: ``tensorboard:DIR``, ``mlflow`` or ``mlflow:URI``, ``wandb`` or ``wandb:PROJECT``.

    Raises:
        InputError: Another name, or a missing folder.

    Example:
        >>> parse_tracker("tensorboard:runs").directory.name
        'runs'
    """
    name, colon, place = text.partition(":")
    if name not in TRACKERS:
        raise InputError(
            f"unknown tracker {name!r}; expected tensorboard:DIR, mlflow[:URI] or wandb[:PROJECT]"
        )
    return TRACKERS[name](place if colon and place else None)
