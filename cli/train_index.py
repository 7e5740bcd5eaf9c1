"""``li train-index``: data in, a model without ranker out: encoder and index."""

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
    section_options,
    source_options,
    track_option,
)
from learned_index.cli.shared.options import cache_option, out_option, overwrite_option
from learned_index.cli.shared.tables import DataSource
from learned_index.system.timing import timed

WITHOUT_RANKER = {
    "ranker": "none",
    "calibration": "none",
    "train_encoder": "no",
    # Nothing is chosen on held-out points here; they are measured on at the end.
    "validation_fraction": 0.0,
}
"""What a model of this command consists of, beside ``clustering_features``."""


@command(
    "train-index",
    common=(
        *("data", "table_text", "table_labels", "out", "preset", "encoder_spec", "holdout"),
        *("evaluate_test", "seed", "threads"),
    ),
    examples=("li train-index --data my-data --out model --seed 1 --encoder lsa",),
)
@source_options("train-index", preset="default")
@out_option
@overwrite_option
@click.option(
    "--holdout",
    type=click.IntRange(min=0),
    help="Training points held out to measure on. Default: none if there is a dev split, else 1 % "
    "and at most 500; 0 trains on all and measures nothing.",
)
@evaluate_test_option
@track_option
@panel(
    "Index",
    click.option(
        "--clustering-features",
        type=click.Choice(["tfidf", "none"]),
        default="tfidf",
        show_default=True,
        help="What the label clustering uses beside the vectors.",
    ),
)
@cache_option
@section_options("index", "training")
@config_option
@standard_options
def train_index(
    data: DataSource,
    out: Path,
    overwrite: bool,
    preset: str,
    encoder_spec: str | None,
    holdout: int | None,
    evaluate_test: bool,
    track: tuple[str, ...],
    clustering_features: str,
    cache: str | None,
    threads: int | None,
    quiet: bool,
    as_json: bool,
    **parameters: Any,
) -> None:
    """Train an index on the data folder and write it to the directory --out.

    The model is that of li train without ranker and calibration. Measures on the dev split, or on
    points held out from training; never on the test split unless --evaluate-test asks for it.
    Beside the model, OUT.report.json tells times, memory, versions and metrics, and
    OUT.config.yaml the options: what was asked for, and what was taken for the others. The same
    data, options, seed and thread count give an equal model, byte for byte.

    Options that are not given come from the preset. "auto" leaves a choice to the program.
    """
    from learned_index.cli.shared import output, report, sources, training
    from learned_index.cli.shared.effective import effective_options
    from learned_index.data.holdout import choose_points

    given = given_sections(parameters)
    given["model"] = {**WITHOUT_RANKER, "clustering_features": clustering_features}
    output.check_output(out, overwrite=overwrite)
    trackers = training.trackers_of(track)
    n_threads = use_threads(threads)
    seconds: dict[str, float] = {}
    with timed(seconds, "read_seconds"):
        setup = training.set_up(data, preset, encoder_spec, given, quiet=quiet)
        training.check_splits(setup, evaluate_test=evaluate_test)
        seed = setup.model.training_config.seed
        train, held_out = choose_points(setup.folder, setup.train, holdout, seed=seed)
        training.check_labels(train, quiet=quiet)
    with timed(seconds, "encode_seconds"):
        vectors = training.fit_and_encode(setup, train, cache=cache, quiet=quiet)
    with timed(seconds, "fit_seconds"):
        model = training.fit(setup, train, embeddings=vectors, callbacks=trackers, quiet=quiet)
    with timed(seconds, "save_seconds"):
        model.save_pretrained(out, overwrite=overwrite)
    metrics: dict[str, dict[str, Any]] = {}
    with timed(seconds, "evaluate_seconds"):
        if held_out is not None and held_out.split == "dev":
            metrics["dev"] = sources.evaluate_shown(model, held_out, cache=cache, quiet=quiet)
        elif held_out is not None:
            # Stored vectors find these rows among those of the training split, as it is bound.
            points = sources.points_for(model.encoder, held_out)
            held = sources.encode_points(
                model.encoder, points, what="encoding", cache=cache, quiet=quiet
            )
            metrics["held-out"] = sources.evaluate_shown(model, held_out, vectors=held, quiet=quiet)
        if evaluate_test:
            test = setup.folder.read("test")
            metrics["test"] = sources.evaluate_shown(model, test, cache=cache, quiet=quiet)
    summary = report.training_summary(out, setup, model, seconds, metrics)
    summary["threads"] = n_threads
    path = report.write_report(out, summary)
    asked = asked_options(click.get_current_context())
    write_config(out, asked, effective_options(setup, model))
    if as_json:
        emit_json(summary)
        return
    click.echo(
        f"{out}: {train.n_labels} labels, {train.n_points} points, "
        f"{model.index.n_clusters} clusters, trained in {summary['train_seconds']:.0f} s"
    )
    for name, values in metrics.items():
        report.print_metrics(values, title=f"{name}: {values['n_points']} points, percent")
    click.echo(f"report: {path}")
    note(f'next: li search {out} "your question"', quiet=quiet)
