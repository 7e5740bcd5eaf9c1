"""Whom a training tells of its course: one interface for progress bars, curves and trackers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from learned_index.errors import InputError
from learned_index.inputs.numbers import shown
from learned_index.training.events import Progress, TrainingEvent
from learned_index.training.processes import is_first_process


class TrainingCallback:
    """Is told of one training after the other; each method does nothing until it is overridden.

    What a method raises ends the training. Of several processes that train together, the first
    one tells.

    Example:
        >>> class Losses(TrainingCallback):
        ...     def on_event(self, event):
        ...         print(event.stage, event.step, event.loss)
        >>> model.fit(texts, labels, callbacks=[Losses()])  # doctest: +SKIP
    """

    def on_begin(self, parameters: Mapping[str, Any]) -> None:
        """A training begins.

        Args:
            parameters: What it was asked for, JSON-able: its configurations by name.
        """

    def on_event(self, event: TrainingEvent) -> None:
        """A stage has come further; a few times a second, and at the end of each epoch."""

    def on_end(self, results: Mapping[str, Any]) -> None:
        """The training has ended well.

        Args:
            results: What it tells, JSON-able: metrics, seconds of each step.
        """

    def on_failure(self, error: BaseException) -> None:
        """The training ends without a result: it failed, or was stopped."""


class Told(TrainingCallback):
    """Hands the events to a function."""

    def __init__(self, function: Callable[[TrainingEvent], Any]) -> None:
        self._function = function

    def on_event(self, event: TrainingEvent) -> None:
        """Call the function."""
        self._function(event)


Callback: TypeAlias = TrainingCallback | Progress
"""Who is told; a function is told the events."""


@dataclass
class Announced:
    """A training that is being told of.

    Attributes:
        progress: To be called with each event; None where nobody listens.
        results: To be filled in before the training ends.
    """

    progress: Progress | None = None
    results: Mapping[str, Any] = field(default_factory=dict)


@contextmanager
def announced(
    callbacks: Sequence[Callback] | None,
    parameters: Callable[[], Mapping[str, Any]],
    *,
    progress: Progress | None = None,
) -> Iterator[Announced]:
    """Tell the callbacks of the training in the block: that it begins, its events, how it ends.

    Args:
        callbacks: Whom to tell.
        parameters: Makes what :meth:`TrainingCallback.on_begin` is told.
        progress: Another function that is told the events.

    Raises:
        InputError: Something that is no callback.
    """
    told = _checked([*(callbacks or ()), *([] if progress is None else [progress])])
    if not told or not is_first_process():
        yield Announced()
        return

    def tell(event: TrainingEvent) -> None:
        for callback in told:
            callback.on_event(event)

    run = Announced(tell)
    begun: list[TrainingCallback] = []
    values = parameters()
    try:
        for callback in told:
            begun.append(callback)
            callback.on_begin(values)
        yield run
    except BaseException as error:
        for callback in begun:
            callback.on_failure(error)
        raise
    for callback in told:
        callback.on_end(run.results)


def _checked(callbacks: Sequence[Any]) -> list[TrainingCallback]:
    found = []
    for each in callbacks:
        if isinstance(each, TrainingCallback):
            found.append(each)
        elif callable(each) and not isinstance(each, type):
            found.append(Told(each))
        else:
            hint = f"; make one of it: {each.__name__}(...)" if isinstance(each, type) else ""
            raise InputError(
                f"got {shown(each)} for a callback, expected a TrainingCallback or a function that "
                f"takes a TrainingEvent{hint}"
            )
    return found
