"""One stage of training: schedule, averaging, early stopping, and when to save."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from learned_index.errors import LearnedIndexError
from learned_index.persistence import reading_model
from learned_index.training.batches import EpochOrder
from learned_index.training.events import Progress, TrainingEvent
from learned_index.training.optimisers import Optimisers
from learned_index.training.schedule import WeightAverage, averages_at, warmup_linear_decay
from learned_index.training.selection import BestEpoch, below
from learned_index.types import Int64Array

_SECONDS_BETWEEN_EVENTS = 0.25


@dataclass(frozen=True)
class StagePlan:
    """How one stage is run.

    Attributes:
        name: Name in the progress events.
        epochs: Passes over the data.
        batch_size: Points per step.
        warmup_fraction: Part of the steps with a rising rate.
        averaging_fraction: Last part of the steps over which weights are averaged; 0 is off.
        seed: Seed of the shuffling.
    """

    name: str
    epochs: int
    batch_size: int
    warmup_fraction: float
    averaging_fraction: float
    seed: Sequence[int]


class StageTraining(Protocol):
    """What a stage trains; :class:`~learned_index.index.course.IndexTraining` is one."""

    def loss(self, stage: Stage, rows: Int64Array) -> torch.Tensor | None:
        """This process's part of the mean loss of a batch; None if it has no rows of it.

        Its backward pass may update label classifiers.

        Args:
            stage: The stage; ``stage.done`` of its steps have ended.
            rows: The batch's points, ascending.
        """
        ...

    def validate(self) -> dict[str, float]:
        """Metrics after an epoch; they go into the event. Collective over the processes."""
        ...

    def stop_asked(self) -> bool:
        """Asked after each step; what one process is told, all take into account."""
        ...

    def pause(self, stage: Stage, *, epoch_ended: bool, stop: bool) -> None:
        """Called after each step; may save the state, or raise."""
        ...


class Stage:
    """A stage that is being run.

    Args:
        plan: Lengths and seeds.
        training: What is trained: its losses, its metrics, what it does between steps.
        rows: int64, the points to train on.
        optimisers: Update the parameters.
        averaged: Tensors that take part in weight averaging and in the choice of the best epoch.
        best: Early stopping, if asked for.
        progress: Called a few times a second.

    Attributes:
        optimisers: As given.
        done: Steps that have ended.
    """

    def __init__(
        self,
        plan: StagePlan,
        training: StageTraining,
        *,
        rows: Int64Array,
        optimisers: Optimisers,
        averaged: list[torch.Tensor],
        best: BestEpoch | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.plan = plan
        self._order = EpochOrder(rows, plan.seed)
        self._steps_per_epoch = -(-len(rows) // plan.batch_size)
        self._n_steps = self._steps_per_epoch * plan.epochs
        self._training, self.optimisers = training, optimisers
        self._average, self._best = WeightAverage(averaged), best
        self._progress = progress
        self.done = 0
        self._since, self._total, self._last_event = 0, 0.0, time.monotonic()
        self._mean: float | None = None

    @property
    def is_settled(self) -> bool:
        """Whether :meth:`state` says all: no gradients wait for their update."""
        return self.optimisers.is_settled

    @property
    def _is_over(self) -> bool:
        return self.done >= self._n_steps or (self._best is not None and self._best.is_over)

    def run(self) -> None:
        """Train to the end, from where the state says.

        Raises:
            LearnedIndexError: The loss became NaN or infinite.
            TrainingInterrupted: From :meth:`StageTraining.pause`.
        """
        while not self._is_over:
            epoch, skip = divmod(self.done, self._steps_per_epoch)
            batches = self._order.batches(epoch, self.plan.batch_size)
            for number, rows in enumerate(batches):
                if number >= skip:
                    last = number == self._steps_per_epoch - 1
                    stop = self._step(rows, last=last)
                    if last:
                        self._end_epoch(epoch + 1)
                    self._training.pause(self, epoch_ended=last, stop=stop)
        self._finish()

    def _step(self, rows: Int64Array, *, last: bool) -> bool:
        plan, optimisers = self.plan, self.optimisers
        optimisers.set_rates(warmup_linear_decay(self.done, self._n_steps, plan.warmup_fraction))
        loss = self._training.loss(self, rows)
        value = 0.0 if loss is None else float(loss.detach())
        optimisers.zero_grad()
        if loss is not None and np.isfinite(value):
            loss.backward()  # type: ignore[no-untyped-call]
        stop = self._training.stop_asked()
        value, stop = optimisers.share(value, stop)
        if not np.isfinite(value):
            raise LearnedIndexError(
                f"the loss became {value} in step {self.done + 1} of {plan.name}; lower the "
                "learning rate"
            )
        optimisers.step(last=last)
        self.done += 1
        if averages_at(self.done, self._n_steps, plan.averaging_fraction):
            self._average.update()
        self._since, self._total = self._since + 1, self._total + value
        if time.monotonic() - self._last_event > _SECONDS_BETWEEN_EVENTS and not last:
            self._tell(self.done // self._steps_per_epoch, {})
        return stop

    def _end_epoch(self, epoch: int) -> None:
        if self._best is None and self.done >= self._n_steps:
            return  # the averaged weights are measured instead
        metrics = self._training.validate()
        if self._best is not None:
            self._best.update(self._best.of(metrics))
        self._tell(epoch, metrics)

    def _finish(self) -> None:
        """Leave the averaged weights; with early stopping, these or the best epoch's."""
        if not self.done:
            return
        epoch = self.done // self._steps_per_epoch
        best = self._best
        if best is not None and self._average.is_empty:
            best.restore()
            return
        self._average.apply()
        metrics = self._training.validate()
        if best is not None and best.of(metrics) < best.value:
            best.restore()
            return
        self._tell(epoch, metrics)

    def _tell(self, epoch: int, metrics: dict[str, float]) -> None:
        self._mean = self._total / self._since if self._since else self._mean
        if self._progress is not None:
            self._progress(
                TrainingEvent(
                    self.plan.name, epoch, self.plan.epochs, self.done, self._n_steps,
                    self._mean, metrics,
                )
            )  # fmt: skip
        self._last_event, self._since, self._total = time.monotonic(), 0, 0.0

    def state(self) -> dict[str, torch.Tensor]:
        """Tensors from which :meth:`load` continues bit-equal; after a step that is settled."""
        parts = {"optimisers": self.optimisers.state(), "average": self._average.state()}
        if self._best is not None:
            parts["best"] = self._best.state()
        out = {f"{part}.{name}": t for part, state in parts.items() for name, t in state.items()}
        return out | {"done": torch.tensor(self.done)}

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Continue from what :meth:`state` gave.

        Raises:
            ModelFormatError: It belongs to another training.
        """
        with reading_model("the checkpoint", "state of this training", remedy="remove it"):
            self.optimisers.load(below(state, "optimisers."))
            self._average.load(below(state, "average."))
            if self._best is not None:
                self._best.load(below(state, "best."))
            self.done = int(state["done"])
