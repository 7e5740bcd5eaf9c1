"""What each process of the multi-process test runs: trainings whose results it writes."""

from __future__ import annotations

import os
from dataclasses import replace

import torch
from training_cases import (
    DEEP,
    QUICK,
    SMALL,
    bow,
    fit_frozen,
    fit_texts,
    frozen_points,
    tensors_of,
    text_points,
)

from learned_index.errors import TrainingInterrupted
from learned_index.persistence import save_arrays
from learned_index.training.checkpoint import CheckpointOptions

TRAININGS = {
    "frozen": replace(QUICK, gradient_clip=2.0),
    "deep": QUICK,
    "late": replace(QUICK, label_update_every=3),
    "bow-dense": QUICK,
    "bow-sparse": QUICK,
}
# 197 points in batches of 28: the last batch has one point, so one process has nothing to do.
N_POINTS, BATCH = 197, 28


def train(name, **options):
    """Train one of the cases; return its tensors."""
    training = replace(TRAININGS[name], batch_size=BATCH)
    if not name.startswith("bow"):
        config = DEEP if name == "deep" else SMALL
        points = frozen_points(N_POINTS)
        return tensors_of(fit_frozen(training, points, config=config, **options))
    texts, Y = text_points(N_POINTS)
    encoder = bow(texts, gradient=name.removeprefix("bow-"))
    return tensors_of(fit_texts(encoder, training, (texts, Y), **options), encoder)


def early(**options):
    """Train with a choice of the best epoch."""
    training = replace(QUICK, batch_size=BATCH, early_stopping_metric="P@1", patience=1)
    return tensors_of(fit_frozen(training, validation=frozen_points(50, seed=3), **options))


class StopAfter:
    """Asks for a stop after so many steps, once."""

    def __init__(self, steps):
        self.left = steps

    def __call__(self):
        self.left -= 1
        return self.left == 0


def main(folder):
    """Run everything; each process writes what it ended with, so that they can be compared."""
    torch.set_num_threads(1)
    rank = os.environ["RANK"]
    events = []
    results = {}
    for name in TRAININGS:
        results[name] = train(name, progress=lambda e: events.append(e.stage))
    results["early"] = early()
    # Only process 1 is asked to stop; both must save and stop.
    stop = StopAfter(9) if rank == "1" else None
    try:
        train("late", checkpoint=CheckpointOptions(folder / "state", stop=stop))
    except TrainingInterrupted:
        results["resumed"] = train("late", checkpoint=CheckpointOptions(folder / "state"))
    for name, tensors in results.items():
        arrays = {key: tensor.detach().numpy() for key, tensor in tensors.items()}
        save_arrays(folder / f"{name}-{rank}.safetensors", arrays)
    (folder / f"events-{rank}").write_text("\n".join(events))
