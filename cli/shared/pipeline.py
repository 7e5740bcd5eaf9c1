"""The steps of ``li train-index``: choose points, encode, train, measure, save, report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from learned_index.cli.shared.common import ProgressHandle, note, progress_bar
from learned_index.errors import InputError

if TYPE_CHECKING:
    from learned_index.data import DataFolder, Dataset
    from learned_index.index import IndexConfig, TrainingConfig
    from learned_index.text_index import TextIndex
    from learned_index.training import TrainingEvent
    from learned_index.types import Encoder

HOLDOUT_FRACTION = 0.01
HOLDOUT_LIMIT = 500


@dataclass
class Timings:
    """Seconds that each step took, in order."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Add the time of the block to ``name``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def choose_points(
    folder: DataFolder, holdout: int | None, *, seed: int
) -> tuple[Dataset, Dataset, Dataset | None]:
    """Read the training split, and a dev split or a held-out part of it to measure on.

    Args:
        folder: The data.
        holdout: Training points to hold out; None: the dev split where there is one, else 1 %
            of the training points, at most 500; 0: none at all.
        seed: Seed of the choice.

    Returns:
        The whole training split, the points to train on, and the points to measure on or None
        (their split is ``dev``, or ``train`` where they were held out).
    """
    whole = folder.read("train")
    if whole.texts is None and whole.ids is None:
        # Names that survive the choice of a subset: stored vectors are found by them.
        whole = replace(whole, ids=[f"train {row}" for row in range(whole.n_points)])
    if holdout is None and "dev" in folder.splits:
        return whole, whole, folder.read("dev")
    if holdout is None:
        holdout = min(HOLDOUT_LIMIT, int(HOLDOUT_FRACTION * whole.n_points))
    if holdout and holdout >= whole.n_points:
        raise InputError(
            f"--holdout {holdout} leaves nothing to train on: there are {whole.n_points} points"
        )
    from learned_index.data import holdout_rows

    held = holdout_rows(whole.labels, holdout, seed=seed)
    if held.size == 0:
        return whole, whole, None
    kept = np.setdiff1d(np.arange(whole.n_points), held)
    return whole, whole.subset(kept), whole.subset(held)


def training_progress(bar: ProgressHandle) -> Callable[[TrainingEvent], None]:
    """Make the callback that shows training events in a progress bar."""

    def show(event: TrainingEvent) -> None:
        parts = []
        if event.n_epochs > 1:
            parts.append(f"epoch {min(event.epoch + 1, event.n_epochs)}/{event.n_epochs}")
        if event.loss is not None:
            parts.append(f"loss {event.loss:.4f}")
        parts += [f"{name} {value:.2f}" for name, value in list(event.metrics.items())[:2]]
        bar.update(
            completed=event.step,
            total=max(event.n_steps, 1),
            description=event.stage,
            info="  ".join(parts),
        )

    return show


def encode_training_points(
    spec: str, whole: Dataset, train: Dataset, *, cache: str | None, seed: int, quiet: bool
) -> tuple[Encoder, Any]:
    """Fit the encoder of ``--encoder`` and encode the points to train on.

    Args:
        spec: The encoder.
        whole: The whole training split: stored vectors belong to its rows.
        train: The points to train on, of which the encoder may learn.
        cache: See :func:`~learned_index.cli.shared.sources.encode_points`.
        seed: Seed of encoders that need one.
        quiet: Show no progress.

    Returns:
        The fitted encoder, and N x D vectors.
    """
    from learned_index.cli.shared.sources import encode_points, make_encoder, points_for
    from learned_index.elias.points import fit_encoder

    encoder = make_encoder(spec, has_texts=train.texts is not None, seed=seed)
    points = points_for(encoder, train)
    with progress_bar(f"fitting {spec}", quiet=quiet):
        fit_encoder(encoder, points, whole_split=points_for(encoder, whole))
    return encoder, encode_points(encoder, points, what="encoding", cache=cache, quiet=quiet)


def train_model(
    train: Dataset,
    encoder: Encoder,
    embeddings: Any,
    *,
    clustering_features: Any | None,
    index_config: IndexConfig,
    training_config: TrainingConfig,
    quiet: bool,
) -> TextIndex:
    """Train an index on encoded points with a progress bar."""
    from learned_index.cli.shared.sources import points_for
    from learned_index.text_index import TextIndex

    with progress_bar("clustering", quiet=quiet) as bar:
        return TextIndex.fit(
            points_for(encoder, train),
            train.labels,
            encoder=encoder,
            vocabulary=train.vocabulary,
            index_config=index_config,
            training_config=training_config,
            embeddings=embeddings,
            clustering_features=clustering_features,
            progress=training_progress(bar),
        )


def check_output(out: Path, *, overwrite: bool) -> None:
    """Refuse an output directory before the training rather than after it, and claim it.

    Raises:
        InputError: It exists and may not be overwritten, or is something else than a model.
        BusyError: Another command writes there.
        StorageError: The place cannot be written to.
    """
    from learned_index.persistence import check_replaceable

    if not out.name or out.name in (".", ".."):
        raise InputError(f"--out {out} is no name for a new directory; give one, e.g. model")
    check_replaceable(out, overwrite=overwrite)
    claim(out)


def claim(out: Path) -> None:
    """Be the only command that writes ``out``, until it ends; remove what killed ones left in it.

    Of several processes that train together, the first one claims it.

    Raises:
        BusyError: Another command writes there.
        StorageError: The place cannot be written to.
    """
    from learned_index.persistence import path_lock, sweep_directory
    from learned_index.training.processes import is_first_process

    if is_first_process():
        click.get_current_context().with_resource(path_lock(out, wait=False))
        for folder in [out, *out.glob("*/")]:
            sweep_directory(folder)


def check_labels(train: Dataset, *, quiet: bool) -> None:
    """Refuse data that cannot be trained on; mention what will be ignored."""
    if train.n_points == 0 or train.labels.nnz == 0:
        raise InputError(
            "the training split has no labelled points; check the data with li data validate"
        )
    unlabelled = int((np.diff(train.labels.indptr) == 0).sum())
    if unlabelled:
        note(f"{unlabelled} training points have no label and are skipped", quiet=quiet)
