"""What trackers have in common: names of the numbers, and failures that end no training."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from learned_index.errors import InputError, LearnedIndexError
from learned_index.training.callbacks import TrainingCallback
from learned_index.training.events import TrainingEvent


class TrackingWarning(UserWarning):
    """A tracker failed; the training goes on without it."""


class Tracker(TrainingCallback, ABC):
    """Logs a training somewhere: its parameters, losses and metrics by step, and its results.

    Numbers are called ``stage 1/loss``, ``stage 2/P@1``, ``validation/with_ranker/P@1``,
    ``seconds/clustering``. Steps are those of a stage, from 1.

    What fails when a training begins ends it: nothing is lost yet, and the message says why.
    What fails later is a :class:`TrackingWarning`, and this training is logged no further: a full
    disk or a server that has gone away shall not cost hours of training.
    """

    name: str = "tracker"
    """What it is called in messages."""

    def __init__(self) -> None:
        self._is_logging = False

    # -- what a tracker is made of ---------------------------------------------------------------

    @abstractmethod
    def begin(self, parameters: dict[str, Any]) -> None:
        """Open a run.

        Args:
            parameters: Plain values by names such as ``training.batch_size``.
        """

    @abstractmethod
    def log(self, values: dict[str, float], step: int) -> None:
        """Log numbers of a step."""

    @abstractmethod
    def end(self, results: dict[str, float], *, failed: bool) -> None:
        """Log the results, and close the run.

        Args:
            results: Numbers by name; empty where the training failed.
            failed: Whether it ended without a result.
        """

    # -- what a training tells -------------------------------------------------------------------

    def on_begin(self, parameters: Mapping[str, Any]) -> None:
        """Open a run.

        Raises:
            InputError: It cannot be opened.
        """
        try:
            self.begin(flattened(parameters, separator="."))
        except LearnedIndexError:
            raise
        except Exception as error:
            raise InputError(
                f"{self.name} cannot log this training, which has not begun: {error}"
            ) from error
        self._is_logging = True

    def on_event(self, event: TrainingEvent) -> None:
        """Log the loss and the metrics of an event."""
        values = {} if event.loss is None else {"loss": event.loss}
        values |= {name: value for name, value in event.metrics.items() if math.isfinite(value)}
        if values:
            named = {f"{event.stage}/{name}": value for name, value in values.items()}
            self._carefully(lambda: self.log(named, event.step))

    def on_end(self, results: Mapping[str, Any]) -> None:
        """Log the results."""
        left = {name: value for name, value in results.items() if name != "curves"}
        numbers = {
            name: float(value)
            for name, value in flattened(left, separator="/").items()
            if isinstance(value, int | float) and math.isfinite(value)
        }
        self._carefully(lambda: self.end(numbers, failed=False))
        self._is_logging = False

    def on_failure(self, error: BaseException) -> None:
        """Close the run as a failed one."""
        self._carefully(lambda: self.end({}, failed=True))
        self._is_logging = False

    def _carefully(self, action: Callable[[], None]) -> None:
        if not self._is_logging:
            return
        try:
            action()
        except Exception as error:
            self._is_logging = False
            warnings.warn(
                f"{self.name} could not log the training ({type(error).__name__}: {error}); "
                "it goes on without being logged there",
                TrackingWarning,
                stacklevel=2,
            )


def flattened(values: Mapping[str, Any], *, separator: str) -> dict[str, Any]:
    """Nested mappings as one, names joined; lists and None become texts.

    Example:
        >>> flattened({"a": {"b": 1, "c": None}, "d": [1, 2]}, separator=".")
        {'a.b': 1, 'a.c': 'None', 'd': '[1, 2]'}
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            inner = flattened(value, separator=separator)
            found |= {f"{name}{separator}{below}": item for below, item in inner.items()}
        elif isinstance(value, str | bool | int | float):
            found[str(name)] = value
        else:
            found[str(name)] = str(value)
    return found
