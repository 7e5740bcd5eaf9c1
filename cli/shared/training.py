"""The steps that the trainings share: data and model made of the options, encoding, progress."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from learned_index.cli.shared.common import ProgressHandle, note, progress_bar, warn
from learned_index.cli.shared.sources import (
    bind,
    encode_points,
    encode_split,
    feature_count,
    length_lines,
    lengths_of,
    make_encoder,
    points_for,
    precisions_of,
    resolve_data,
)
from learned_index.cli.shared.tables import DataSource
from learned_index.data.dataset import Dataset
from learned_index.data.folder import DataFolder
from learned_index.elias.model import ELIAS
from learned_index.elias.points import choose_lengths, fit_encoder, is_trained, take
from learned_index.elias.presets import model_configs, preset_encoder
from learned_index.elias.steps import check_directory
from learned_index.errors import InputError
from learned_index.index.fit import training_device
from learned_index.tracking import Tracker, parse_tracker
from learned_index.tracking.progress import Course
from learned_index.training.events import TrainingEvent
from learned_index.types import Int64Array


@dataclass(frozen=True)
class Setup:
    """Data and the untrained model.

    Attributes:
        folder: The data folder.
        train: Its whole training split.
        model: The model, not fitted.
        preset: Name of the preset.
        encoder_spec: What ``--encoder`` says, or the preset.
        trained: Whether the encoder is trained with the index.
    """

    folder: DataFolder
    train: Dataset
    model: ELIAS
    preset: str
    encoder_spec: str
    trained: bool


def set_up(
    data: DataSource,
    preset: str,
    encoder_spec: str | None,
    given: dict[str, dict[str, Any]],
    *,
    quiet: bool,
) -> Setup:
    """Read the training split and make the model that preset and options describe.

    Args:
        data: What ``--data`` says.
        preset: Name of a preset.
        encoder_spec: What ``--encoder`` says; None: the preset's.
        given: From :func:`given_sections`.
        quiet: Show no progress.

    Raises:
        InputError: Unknown data or encoder, or values that do not fit together.
    """
    folder = resolve_data(data, quiet=quiet)
    train = folder.read("train")
    if train.texts is None and train.ids is None:
        # Names that stored vectors are found by.
        train = replace(train, ids=[f"train {row}" for row in range(train.n_points)])
    configs = model_configs(preset, n_labels=train.n_labels, **given)
    spec = encoder_spec or preset_encoder(preset, n_features=feature_count(train))
    config = configs.model
    encoder = make_encoder(spec, has_texts=train.texts is not None, seed=configs.training.seed)
    for name, (precision, reason) in precisions_of(encoder).items():
        note(f"{name} computes in {precision}: {reason}", quiet=quiet)
    model = ELIAS(
        encoder, configs.index, training=configs.training, ranker=configs.ranker, config=config
    )
    trained = is_trained(encoder, config.train_encoder)
    return Setup(folder, train, model, preset, spec, trained)


def training_progress(bar: ProgressHandle) -> Callable[[TrainingEvent], None]:
    """Make the callback that shows training events in a progress bar."""
    course = Course()

    def show(event: TrainingEvent) -> None:
        bar.update(
            completed=event.step,
            total=max(event.n_steps, 1),
            description=event.stage,
            info=course.line(event),
        )

    return show


def fit_and_encode(
    setup: Setup,
    train: Dataset,
    *,
    fitted_on: Int64Array | None = None,
    cache: str | None,
    quiet: bool,
) -> Any:
    """Fit the frozen encoder and encode the points to train on, through the cache.

    Args:
        setup: What is trained. Stored vectors belong to the rows of its whole training split.
        train: The points to train on. All are encoded as one list, so that trainings with other
            held-out points find the same vectors.
        fitted_on: Rows that the encoder may learn from; None: all.
        cache: See :func:`~learned_index.cli.shared.sources.encode_points`.
        quiet: Show no progress.

    Returns:
        N x D vectors.
    """
    encoder = setup.model.encoder
    points = points_for(encoder, train)
    rows = np.arange(train.n_points) if fitted_on is None else fitted_on
    with progress_bar(f"fitting {setup.encoder_spec}", quiet=quiet):
        fit_encoder(
            encoder,
            points if fitted_on is None else take(points, rows),
            whole_split=points_for(encoder, setup.train),
            labels=train.labels[rows],
        )
    for line in length_lines(lengths_of(encoder)):
        note(line, quiet=quiet)
    return encode_points(encoder, points, what="encoding", cache=cache, quiet=quiet)


def trackers_of(texts: Sequence[str]) -> list[Tracker]:
    """The trackers that ``--track`` names; those whose package is missing are refused now."""
    return [parse_tracker(text) for text in texts]


def fit(setup: Setup, train: Dataset, *, quiet: bool, **arguments: Any) -> ELIAS:
    """Train the model on a data set with a progress bar.

    Args:
        setup: What is trained.
        train: The points to train on.
        quiet: Show no progress.
        **arguments: Of :meth:`ELIAS.fit`.
    """
    with progress_bar("training", quiet=quiet) as bar:
        return setup.model.fit(
            train.points,
            train.labels,
            vocabulary=train.vocabulary,
            progress=training_progress(bar),
            **arguments,
        )


def check_splits(setup: Setup, *, evaluate_test: bool) -> None:
    """Refuse to measure on a split that is not there, before the training rather than after it."""
    if evaluate_test and "test" not in setup.folder.splits:
        raise InputError(f"{setup.folder.path} has no test split for --evaluate-test")


def check_labels(train: Dataset, *, quiet: bool) -> None:
    """Refuse data that cannot be trained on; mention what will be ignored."""
    if train.n_points == 0 or train.labels.nnz == 0:
        raise InputError(
            "the training split has no labelled points; check the data with li data validate"
        )
    unlabelled = int((np.diff(train.labels.indptr) == 0).sum())
    if unlabelled:
        warn(f"{unlabelled} training points have no label and are skipped", quiet=quiet)


def device_of(setup: Setup) -> Any:
    """Where a training will run."""
    if setup.trained:
        module: Any = setup.model.encoder  # a bag of words has no parameters before its fit
        return next((p.device for p in module.parameters()), training_device("cpu"))
    return training_device(setup.model.training_config.device)


def check_state(state: Path, *, resume: bool, quiet: bool) -> bool:
    """Whether there is a training to go on with; refuse to throw one away unasked."""
    check_directory(state)
    there = any(state.glob("finished_*")) or any(state.glob("member_*/state-*"))
    if there and not resume:
        raise InputError(
            f"{state} holds the state of an interrupted training: go on with --resume, or remove "
            "the directory to start anew"
        )
    if resume and not there:
        note(f"{state} holds no state; training starts from the beginning", quiet=quiet)
    return there


def validation_split(folder: DataFolder, validation: str) -> Dataset | None:
    """Read the split to validate on; None: points are held out from training.

    Raises:
        InputError: It is the test split, by name or by content, or there is none.
    """
    if validation == "held-out":
        return None
    if validation == "test":
        raise InputError(
            "--validation test: the model is chosen and calibrated on these points, so it could no "
            "longer be measured on them; use held-out, or dev"
        )
    dev = folder.read("dev")
    if "test" in folder.splits and _same_points(dev, folder.read("test")):
        raise InputError(
            f"the dev split of {folder.path} consists of points of its test split; test data are "
            "never used for a choice: use --validation held-out"
        )
    return dev


def _same_points(dev: Dataset, test: Dataset) -> bool:
    """Whether every point of the one is a point of the other."""
    if dev.n_points == 0:
        return False
    if dev.texts is not None and test.texts is not None:
        return set(dev.texts) <= set(test.texts)
    return _feature_rows(dev.features) <= _feature_rows(test.features)


def _feature_rows(features: Any) -> set[tuple[bytes, bytes]]:
    ends = features.indptr
    return {
        (features.indices[a:b].tobytes(), features.data[a:b].tobytes()) for a, b in pairwise(ends)
    }


def learned_rows(setup: Setup) -> Int64Array:
    """The rows of the training split that are left where points are held out from it."""
    labels_NL = setup.train.labels
    return np.setdiff1d(np.arange(setup.train.n_points), setup.model.held_out_rows(labels_NL))


def choose_lengths_of(setup: Setup) -> None:
    """Let the encoder choose how much of a text it reads, as a training would."""
    encoder, rows = setup.model.encoder, learned_rows(setup)
    points = take(points_for(encoder, setup.train), rows)
    choose_lengths(encoder, points, setup.train.labels[rows])


def encode(setup: Setup, dev: Dataset | None, *, cache: str | None, quiet: bool) -> dict[str, Any]:
    """Fit a frozen encoder on the points that train, and encode all points through the cache.

    The whole split is encoded as one list, so that runs with other held-out points find the same
    vectors. Parts that are fitted see the training points only.
    """
    if setup.trained:
        return {}
    encoder, train = setup.model.encoder, setup.train
    rows = learned_rows(setup) if dev is None else None
    found = {"embeddings": fit_and_encode(setup, train, fitted_on=rows, cache=cache, quiet=quiet)}
    if dev is not None:
        found["validation_embeddings"] = encode_split(encoder, dev, cache=cache, quiet=quiet)
        bind(encoder, train)  # again, for the training that follows
    return found
