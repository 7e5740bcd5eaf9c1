"""One stage of training: optimisers, schedule, averaging."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp
import torch

from learned_index.errors import LearnedIndexError
from learned_index.kernels import RowAdamW
from learned_index.training.batches import shuffled_batches
from learned_index.training.events import Progress, TrainingEvent
from learned_index.training.schedule import WeightAverage, warmup_linear_decay
from learned_index.types import Int64Array

_SECONDS_BETWEEN_EVENTS = 0.25


class TrainingStep(Protocol):
    """Forward pass of a model: vectors and padded positives to a scalar loss."""

    def __call__(self, x_BD: torch.Tensor, positives_BP: torch.Tensor) -> torch.Tensor:
        """Return the loss of one batch."""
        ...


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


def run_stage(
    step: TrainingStep,
    plan: StagePlan,
    *,
    embeddings_ND: Any,
    labels_NL: sp.csr_matrix,
    optimiser: torch.optim.Optimizer,
    row_optimiser: RowAdamW | None,
    averaged: list[torch.Tensor],
    progress: Progress | None = None,
    validate: Callable[[], dict[str, float]] | None = None,
) -> None:
    """Run the epochs of one stage.

    Args:
        step: The loss of a batch; its backward pass may update rows through ``row_optimiser``.
        plan: Lengths and seeds.
        embeddings_ND: N x D, may be memory-mapped.
        labels_NL: CSR N x L; points without labels are skipped.
        optimiser: Of the ordinary parameters; each group's ``lr`` is its peak rate.
        row_optimiser: Fused optimiser of the label classifiers, if any.
        averaged: Tensors that take part in weight averaging.
        progress: Called a few times a second.
        validate: Called after each epoch; its metrics go into the event.

    Raises:
        LearnedIndexError: The loss became NaN or infinite.
    """
    rows: Int64Array = np.flatnonzero(np.diff(labels_NL.indptr)).astype(np.int64)
    steps_per_epoch = -(-len(rows) // plan.batch_size)
    n_steps = steps_per_epoch * plan.epochs
    rng = np.random.default_rng(list(plan.seed))
    peaks = [group["lr"] for group in optimiser.param_groups]
    row_peak = row_optimiser.learning_rate if row_optimiser is not None else 0.0
    average = WeightAverage(averaged)
    averaging_from = n_steps - round(n_steps * plan.averaging_fraction)
    average_every = max(1, round(n_steps * plan.averaging_fraction) // 10)
    done, since, total = 0, 0, 0.0
    mean: float | None = None
    last_event = time.monotonic()
    for epoch in range(plan.epochs):
        for x_BD, positives_BP in shuffled_batches(
            embeddings_ND, labels_NL, rows=rows, batch_size=plan.batch_size, rng=rng
        ):
            factor = warmup_linear_decay(done, n_steps, plan.warmup_fraction)
            for group, peak in zip(optimiser.param_groups, peaks, strict=True):
                group["lr"] = peak * factor
            if row_optimiser is not None:
                row_optimiser.learning_rate = row_peak * factor
            loss = step(x_BD, positives_BP)
            value = float(loss.detach())
            if not np.isfinite(value):
                raise LearnedIndexError(
                    f"the loss became {value} in step {done + 1} of {plan.name}; lower the "
                    "learning rate"
                )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            done, since, total = done + 1, since + 1, total + value
            if done > averaging_from and (done - averaging_from) % average_every == 0:
                average.update()
            now = time.monotonic()
            if progress is not None and now - last_event > _SECONDS_BETWEEN_EVENTS:
                progress(TrainingEvent(plan.name, epoch, plan.epochs, done, n_steps, total / since))
                last_event, since, total = now, 0, 0.0
        if epoch == plan.epochs - 1:
            average.apply()
        metrics = validate() if validate is not None else {}
        if progress is not None:
            mean = total / since if since else mean
            progress(TrainingEvent(plan.name, epoch + 1, plan.epochs, done, n_steps, mean, metrics))
            last_event, since, total = time.monotonic(), 0, 0.0
