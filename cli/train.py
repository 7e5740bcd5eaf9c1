"""``li train``: data in, the full model out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from learned_index.cli.shared.common import (
    emit_json,
    note,
    standard_options,
    use_threads,
)
from learned_index.cli.shared.config_files import asked_options, config_option, write_config
from learned_index.cli.shared.help import command, panel
from learned_index.cli.shared.model_options import (
    evaluate_test_option,
    given_sections,
    model_options,
    track_option,
)
from learned_index.cli.shared.options import cache_option, out_option, overwrite_option
from learned_index.cli.shared.signals import SignalStop
from learned_index.cli.shared.tables import DataSource
from learned_index.errors import TrainingInterrupted
from learned_index.system.timing import timed


@command(
    common=(
        *("data", "table_text", "table_labels", "out", "preset", "encoder_spec", "n_models"),
        *("evaluate_test", "resume", "threads"),
    ),
    examples=(
        "li train --data my-data --out model --threads 2",
        "li train --data my-data --out model --threads 2 --resume",
        "li train --data articles.csv --text title,abstract --labels tags \\",
        "  --separator '|' --out model",
    ),
)
@out_option
@overwrite_option
@panel(
    "Output",
    click.option(
        "--resume", is_flag=True, help="Go on with an interrupted training of this model."
    ),
    click.option(
        "--checkpoint",
        type=click.Path(path_type=Path, file_okay=False),
        help="Directory for the state of the unfinished training; removed at the end.  "
        "[default: OUT.checkpoint]",
    ),
    click.option(
        "--checkpoint-seconds",
        type=click.FloatRange(min=0),
        default=300.0,
        show_default=True,
        help="Time between two saved states.",
    ),
)
@panel(
    "Calibration",
    click.option(
        "--validation",
        type=click.Choice(["held-out", "dev", "test"]),
        default="held-out",
        show_default=True,
        help="Points to validate and calibrate on: held out from training, or the dev split. Test "
        "data are refused: no choice is made on them.",
    ),
)
@evaluate_test_option
@track_option
@panel(
    "Machine",
    click.option(
        "--force", is_flag=True, help="Train also what is not expected to fit into memory."
    ),
)
@cache_option
@model_options
@config_option
@standard_options
def train(
    out: Path,
    overwrite: bool,
    resume: bool,
    checkpoint: Path | None,
    checkpoint_seconds: float,
    validation: str,
    evaluate_test: bool,
    track: tuple[str, ...],
    force: bool,
    cache: str | None,
    data: DataSource,
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
    OUT.report.json tells times, memory, versions and metrics, and OUT.config.yaml the options:
    what was asked for, and what was taken for the others.

    Ctrl-C saves the state; the same command with --resume goes on and ends with the model that an
    unbroken run would have made. Before training, memory is estimated (see li plan).

    Options that are not given come from the preset. "auto" leaves a choice to the program.
    """
    from learned_index.cli.shared import output, report, training
    from learned_index.cli.shared.effective import effective_options
    from learned_index.elias.steps import discard_progress
    from learned_index.planning.summary import refuse_what_cannot_fit
    from learned_index.training.checkpoint import CheckpointOptions, claimed
    from learned_index.training.processes import first_process_first, is_first_process

    first = is_first_process()
    quiet, as_json = quiet or not first, as_json and first
    state = checkpoint or out.with_name(out.name + ".checkpoint")
    output.check_output(out, overwrite=overwrite)
    trackers = training.trackers_of(track)
    flag = SignalStop()
    options = CheckpointOptions(state, every_seconds=checkpoint_seconds, stop=flag)
    click.get_current_context().with_resource(claimed(options))
    resumed = training.check_state(state, resume=resume, quiet=quiet)
    n_threads = use_threads(threads)
    seconds: dict[str, float] = {}
    with timed(seconds, "read_seconds"):
        setup = training.set_up(data, preset, encoder_spec, given_sections(parameters), quiet=quiet)
        training.check_labels(setup.train, quiet=quiet)
        training.check_splits(setup, evaluate_test=evaluate_test)
        dev = training.validation_split(setup.folder, validation)
    with timed(seconds, "plan_seconds"):
        if not force:
            refuse_what_cannot_fit(setup.model, setup.train.points, setup.train.labels)
    with timed(seconds, "encode_seconds"), first_process_first(training.device_of(setup)):
        arrays = training.encode(setup, dev, cache=cache, quiet=quiet)
    with timed(seconds, "fit_seconds"):
        try:
            with flag.listening(quiet=quiet):
                model = training.fit(
                    setup,
                    setup.train,
                    validation=dev,
                    callbacks=trackers,
                    checkpoint=options,
                    quiet=quiet,
                    **arrays,
                )
        except TrainingInterrupted:
            click.echo(
                f"stopped; the state of the training is in {state}. Go on with the same command "
                "and --resume",
                err=True,
            )
            raise click.exceptions.Exit(flag.exit_code) from None
    if not first:
        return
    with timed(seconds, "save_seconds"):
        model.save_pretrained(out, overwrite=overwrite)
        discard_progress(state)
    with timed(seconds, "evaluate_seconds"):
        metrics = report.training_metrics(
            model, setup, evaluate_test=evaluate_test, cache=cache, quiet=quiet
        )
    summary = report.training_summary(out, setup, model, seconds, metrics)
    summary |= {"threads": n_threads, "resumed": resumed, "validation_points": validation}
    path = report.write_report(out, summary)
    asked = asked_options(click.get_current_context())
    write_config(out, asked, effective_options(setup, model))
    if as_json:
        emit_json(summary)
        return
    report.show_training(summary, path)
    note(f'next: li search {out} "your question"', quiet=quiet)
