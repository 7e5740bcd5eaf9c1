"""``li report``: all about a saved model as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from learned_index.cli.shared.common import (
    emit_json,
    note,
    progress_bar,
    standard_options,
    use_threads,
)
from learned_index.cli.shared.help import command, panel
from learned_index.cli.shared.options import (
    cache_option,
    model_argument,
    propensity_option,
    split_option,
)
from learned_index.cli.shared.tables import DataSource, data_option
from learned_index.errors import InputError
from learned_index.system.extras import require


@command(
    common=(
        *("data", "table_text", "table_labels", "split", "out", "overwrite", "comparison"),
        *("training_report", "examples", "threads"),
    ),
    examples=(
        "li report model --data my-data --out report.html",
        "li report model --data my-data --out report.html --overwrite \\",
        "  --comparison comparison/compare.json",
    ),
)
@model_argument
@data_option
@split_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="HTML file to write; with --json it may be left out.",
)
@panel("Output", click.option("--overwrite", is_flag=True, help="Replace the file if it is there."))
@click.option(
    "--comparison",
    type=click.Path(path_type=Path),
    help="compare.json of li compare, or its folder: speed and recall beside other methods.",
)
@click.option(
    "--training-report",
    type=click.Path(path_type=Path),
    help="What the training wrote.  [default: MODEL.report.json]",
)
@click.option(
    "--examples",
    type=click.IntRange(min=0),
    default=4,
    show_default=True,
    help="Points with right answers, with wrong ones, and of the surest mistakes.",
)
@panel(
    "Output",
    click.option(
        "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of these points."
    ),
)
@propensity_option
@cache_option
@standard_options
def report(
    model: Path,
    data: DataSource,
    split: Any,
    out: Path | None,
    overwrite: bool,
    comparison: Path | None,
    training_report: Path | None,
    examples: int,
    seed: int,
    propensity: tuple[float, float],
    cache: str | None,
    threads: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write all about the model in the directory MODEL as one HTML page.

    The data, the course of the training, metrics with bootstrap intervals, calibration, recall by
    label frequency, speed and recall beside other methods where there was a comparison, examples
    of right and wrong answers, and the model's card. The page is one file: no script, nothing from
    the network; light and dark, for a screen, a phone or paper.
    """
    from learned_index.cli.shared import output, sources
    from learned_index.elias.model import ELIAS
    from learned_index.evaluation.compared import report_path
    from learned_index.evaluation.report.contents import read_json_report, report_contents
    from learned_index.evaluation.report.measured import measure
    from learned_index.evaluation.report.page import write_page

    if out is None and not as_json:
        raise InputError("expected --out FILE.html, or --json to print the figures")
    if out is not None and out.exists() and not overwrite:
        raise InputError(f"{out} exists; choose another name, or give --overwrite")
    if out is not None:
        require("jinja2")  # told now, not after minutes of encoding
        output.claim(out)
    use_threads(threads)
    told = training_report or report_path(model)
    # The default file may be missing: a model may have been moved without it.
    trained = read_json_report(told) if training_report is not None or told.is_file() else None
    compared = None
    if comparison is not None:
        compared = read_json_report(
            comparison / "compare.json" if comparison.is_dir() else comparison
        )
        if not isinstance(compared.get("rows"), list):
            raise InputError(f"{comparison} has no rows; expected compare.json of li compare")
    loaded = ELIAS.from_pretrained(model)
    dataset = sources.resolve_data(data, quiet=quiet).read(split)
    vectors = sources.model_vectors(loaded, dataset, cache=cache, quiet=quiet)
    with progress_bar("searching", quiet=quiet) as bar:
        measured = measure(
            loaded, dataset, vectors=vectors, propensity=propensity, progress=bar.count
        )
    contents = report_contents(
        loaded,
        dataset,
        measured,
        directory=model,
        data=str(data),
        training=trained,
        comparison=compared,
        n_examples=examples,
        seed=seed,
    )
    if out is not None:
        write_page(contents, out)
    if as_json:
        emit_json(contents)
    else:
        click.echo(f"written: {out}")
    if trained is None:
        note(f"{told} is missing: the page has no course of the training", quiet=quiet)
