"""``li train``: data in, the full model out."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from learned_index.cli.shared.common import (
    emit_json,
    handle_errors,
    json_option,
    note,
    quiet_option,
    threads_option,
    use_threads,
)
from learned_index.cli.shared.model_options import given_sections, model_options
from learned_index.cli.shared.signals import SignalStop
from learned_index.errors import InputError, TrainingInterrupted

if TYPE_CHECKING:
    from learned_index.cli.shared.model_options import Setup
    from learned_index.data import DataFolder, Dataset
    from learned_index.elias import ELIAS


@click.command(
    epilog="Example: li train --data my-data --out model --preset cpu --threads 2    "
    "After an interruption, the same and --resume."
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Directory to write the model to."
)
@click.option("--overwrite", is_flag=True, help="Replace a saved model that is there.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted training of this model.")
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Directory for the state of the unfinished training; removed at the end.  "
    "[default: OUT.checkpoint]",
)
@click.option(
    "--checkpoint-seconds",
    type=click.FloatRange(min=0),
    default=300.0,
    show_default=True,
    help="Time between two saved states.",
)
@click.option(
    "--validation",
    type=click.Choice(["held-out", "dev", "test"]),
    default="held-out",
    show_default=True,
    help="Points to validate and calibrate on: held out from training, or the dev split. Test data "
    "are refused: no choice is made on them.",
)
@click.option("--evaluate-test", is_flag=True, help="Measure on the test split too, at the end.")
@click.option("--force", is_flag=True, help="Train also what is not expected to fit into memory.")
@click.option("--cache", default=None, help="Directory of encoded texts; off keeps nothing.")
@model_options
@threads_option
@quiet_option
@json_option
@handle_errors
def train(
    out: Path,
    overwrite: bool,
    resume: bool,
    checkpoint: Path | None,
    checkpoint_seconds: float,
    validation: str,
    evaluate_test: bool,
    force: bool,
    cache: str | None,
    data: str,
    preset: str,
    encoder_spec: str | None,
    threads: int | None,
    quiet: bool,
    as_json: bool,
    **parameters: Any,
) -> None:
    """Train the full model on the data folder and write it to the directory --out.

    One command runs all stages: encoder, clustering, both stages of the index (--n-models times),
    the sparse ranker, the calibration. Points are held out from training to validate and
    calibrate on; the test split is touched by --evaluate-test alone. Beside the model,
    OUT.report.json tells times, memory, versions and metrics.

    Ctrl-C saves the state; the same command with --resume goes on and ends with the model that an
    unbroken run would have made. Before training, memory is estimated (see li plan).

    Options that are not given come from the preset. "auto" leaves a choice to the program.
    """
    from learned_index.cli.plan import refuse_what_cannot_fit
    from learned_index.cli.shared.model_options import set_up
    from learned_index.cli.shared.pipeline import Timings, check_labels, check_output
    from learned_index.cli.shared.report import write_report
    from learned_index.cli.shared.train_report import (
        show_training,
        training_metrics,
        training_summary,
    )
    from learned_index.elias.steps import discard_progress
    from learned_index.training import CheckpointOptions
    from learned_index.training.checkpoint import claimed
    from learned_index.training.processes import first_process_first, is_first_process

    first = is_first_process()
    quiet, as_json = quiet or not first, as_json and first
    state = checkpoint or out.with_name(out.name + ".checkpoint")
    check_output(out, overwrite=overwrite)
    flag = SignalStop()
    options = CheckpointOptions(state, every_seconds=checkpoint_seconds, stop=flag)
    click.get_current_context().with_resource(claimed(options))
    resumed = _check_state(state, resume=resume, quiet=quiet)
    n_threads = use_threads(threads)
    timings = Timings()
    with timings.measure("read_seconds"):
        setup = set_up(data, preset, encoder_spec, given_sections(parameters), quiet=quiet)
        check_labels(setup.train, quiet=quiet)
        if evaluate_test and "test" not in setup.folder.splits:
            raise InputError(f"{setup.folder.path} has no test split for --evaluate-test")
        dev = _validation_split(setup.folder, validation)
    with timings.measure("plan_seconds"):
        refuse_what_cannot_fit(setup, force=force)
    with timings.measure("encode_seconds"), first_process_first(_training_device(setup)):
        arrays = _encode(setup, dev, cache=cache, quiet=quiet)
    with timings.measure("fit_seconds"):
        try:
            model = _fit(setup, dev, arrays, options, flag, quiet=quiet)
        except TrainingInterrupted:
            click.echo(
                f"stopped; the state of the training is in {state}. Go on with the same command "
                "and --resume",
                err=True,
            )
            raise click.exceptions.Exit(flag.exit_code) from None
    if not first:
        return
    with timings.measure("save_seconds"):
        model.save_pretrained(out, overwrite=overwrite)
        discard_progress(state)
    with timings.measure("evaluate_seconds"):
        metrics = training_metrics(
            model, setup, evaluate_test=evaluate_test, cache=cache, quiet=quiet
        )
    summary = training_summary(out, setup, model, timings.seconds, metrics)
    summary |= {"threads": n_threads, "resumed": resumed, "validation_points": validation}
    path = write_report(out, summary)
    if as_json:
        emit_json(summary)
        return
    show_training(summary, path)
    note(f'next: li search {out} "your question"', quiet=quiet)


def _training_device(setup: Setup) -> Any:
    from learned_index.index.fit import training_device

    if setup.trained:
        module: Any = setup.model.encoder  # a bag of words has no parameters before its fit
        return next((p.device for p in module.parameters()), training_device("cpu"))
    return training_device(setup.model.training_config.device)


def _check_state(state: Path, *, resume: bool, quiet: bool) -> bool:
    """Whether there is a training to go on with; refuse to throw one away unasked."""
    from learned_index.elias.steps import check_directory

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


def _validation_split(folder: DataFolder, validation: str) -> Dataset | None:
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


def _encode(setup: Setup, dev: Dataset | None, *, cache: str | None, quiet: bool) -> dict[str, Any]:
    """Fit a frozen encoder on the points that train, and encode all points through the cache.

    The whole split is encoded as one list, so that runs with other held-out points find the same
    vectors. Parts that are fitted see the training points only.
    """
    import numpy as np

    from learned_index.cli.shared.common import progress_bar
    from learned_index.cli.shared.sources import bind, encode_points, points_for
    from learned_index.elias.points import fit_encoder, take

    if setup.trained:
        return {}
    model, encoder, train = setup.model, setup.model.encoder, setup.train
    points = points_for(encoder, train)
    rows = np.arange(train.n_points)
    if dev is None:
        rows = np.setdiff1d(rows, model.held_out_rows(train.labels))
    with progress_bar(f"fitting {setup.encoder_spec}", quiet=quiet):
        fit_encoder(encoder, take(points, rows), whole_split=points)
    found = {
        "embeddings": encode_points(encoder, points, what="encoding", cache=cache, quiet=quiet)
    }
    if dev is not None:
        bind(encoder, dev)
        found["validation_embeddings"] = encode_points(
            encoder, points_for(encoder, dev), what="encoding dev", cache=cache, quiet=quiet
        )
        bind(encoder, train)
    return found


def _fit(
    setup: Setup,
    dev: Dataset | None,
    arrays: dict[str, Any],
    options: Any,
    flag: SignalStop,
    *,
    quiet: bool,
) -> ELIAS:
    from learned_index.cli.shared.common import progress_bar
    from learned_index.cli.shared.pipeline import training_progress
    from learned_index.cli.shared.sources import plain_points

    train = setup.train
    texts = plain_points(train)
    assert texts is not None
    with progress_bar("training", quiet=quiet) as bar, flag.listening(quiet=quiet):
        return setup.model.fit(
            texts,
            train.labels,
            vocabulary=train.vocabulary,
            validation=dev,
            progress=training_progress(bar),
            checkpoint=options,
            **arrays,
        )
