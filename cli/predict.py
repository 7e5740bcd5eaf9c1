"""``li predict``: a model's answers to a file of texts, in a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from learned_index.cli.shared.common import (
    EXIT_INTERRUPTED,
    emit_json,
    progress_bar,
    standard_options,
    use_threads,
)
from learned_index.cli.shared.help import command
from learned_index.cli.shared.options import knob_options, model_argument, split_option
from learned_index.cli.shared.tables import Names
from learned_index.cli.shared.threshold import threshold_option
from learned_index.errors import InputError

if TYPE_CHECKING:
    from learned_index.data.predictions.points import PointSource
    from learned_index.elias.model import ELIAS
    from learned_index.evaluation.predicting import Asked


def open_source(
    path: Path,
    model: ELIAS,
    *,
    split: Any,
    table: dict[str, Any],
) -> PointSource:
    """Tell what points a name means.

    Args:
        path: A text file, a table, a data folder, or api-docs.
        model: Stored vectors of its encoder are bound to a split.
        split: Of a data folder.
        table: What is said about columns, as :class:`TableOptions` takes it.

    Raises:
        DataFormatError, InputError: No such file or folder, or columns that are named for
            something else than a table.
    """
    from learned_index.cli.shared.sources import API_DOCS, bind, resolve_data
    from learned_index.data.predictions.points import LineSource, SplitSource, TableSource
    from learned_index.data.tables.files import is_table
    from learned_index.data.tables.options import TableOptions

    if is_table(path):
        return TableSource(path, TableOptions(**table))
    if table:
        raise InputError(
            f"columns are named, and {path} is no table (.csv, .tsv, .parquet, .jsonl, .json); "
            "leave out --text, --id and the others"
        )
    if path.is_dir() or str(path) == API_DOCS:
        dataset = resolve_data(str(path)).read(split)
        for encoder in model.encoders:
            bind(encoder, dataset)
        return SplitSource(dataset)
    return LineSource(path)


@command(
    common=("out", "k", "threshold", "text", "id_", "split", "threads"),
    examples=(
        "li predict model texts.txt --out predictions.jsonl",
        "li predict model articles.csv --text title,abstract --out predictions.parquet",
    ),
)
@model_argument
@click.argument("texts", type=click.Path(path_type=Path))
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for the predictions: .jsonl, .parquet, .txt (sparse text of the repository) or "
    ".npz; an older one is replaced when the new one is whole.",
)
@click.option(
    "-k", "k", type=click.IntRange(min=1), default=10, show_default=True, help="Labels a text."
)
@threshold_option
@split_option
@click.option("--text", type=Names(), help="Columns of a table that make the text: title,abstract.")
@click.option("--id", "id_", help="Column of a table with a name for each text.")
@click.option(
    "--columns", type=Names(), help="Names of all columns, of a CSV or TSV file without a header."
)
@click.option("--encoding", help="Of a CSV or TSV file.  [default: utf-8]")
@knob_options
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="Who answers: this process, or a Ray cluster, by RAY_ADDRESS or on this machine.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Processes of the cluster, of --threads threads (1).  [default: as its CPUs allow]",
)
@standard_options
def predict(
    model: Path,
    texts: Path,
    out: Path,
    k: int,
    threshold: Any,
    split: Any,
    text: tuple[str, ...] | None,
    id_: str | None,
    columns: tuple[str, ...] | None,
    encoding: str | None,
    beam_width: int | None,
    shortlist_size: int | None,
    engine: str,
    workers: int | None,
    threads: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write the K best labels of all TEXTS, by the model in the directory MODEL, into a file.

    TEXTS is a file with one text a line; a table (CSV, TSV, Parquet, JSON lines) with a row a
    text; or a data folder, of which --split is taken. It is read as a stream, however long it is.

    Each text gets a row, in the order of the file: its labels, best first, with ranking score and,
    of a calibrated model, probability. A text without an answer gets an empty one. li evaluate
    --predictions measures such a file.

    Ctrl-C keeps what is done; the same command goes on, and the file has the same bytes, whoever
    answers (--engine).
    """
    from learned_index.cli.shared import output
    from learned_index.data.predictions.files import format_of
    from learned_index.elias.model import ELIAS
    from learned_index.elias.thresholds import check_threshold
    from learned_index.evaluation.predicting import Asked, predict_file

    if workers is not None and engine == "local":
        raise InputError("--workers is of --engine ray; --threads is how many this process uses")
    format_of(out)  # before a model is loaded
    output.claim(out)
    use_threads(threads)
    loaded = ELIAS.from_pretrained(model)
    if threshold is not None:
        check_threshold(loaded, threshold)
    said = {"text": text, "id": id_, "columns": columns, "encoding": encoding}
    table = {name: value for name, value in said.items() if value is not None}
    source = open_source(texts, loaded, split=split, table=table)
    asked = Asked(
        k=k,
        threshold=threshold,
        options={"beam_width": beam_width, "shortlist_size": shortlist_size},
    )
    try:
        with (
            _answering(engine, model, asked, workers, threads) as answering,
            progress_bar("predicting", quiet=quiet) as bar,
        ):
            found = predict_file(
                loaded, model, source, out, asked, answering=answering, progress=bar.count
            )
    except KeyboardInterrupt:
        click.echo("\nstopped; what is done is kept. Go on with the same command", err=True)
        raise click.exceptions.Exit(EXIT_INTERRUPTED) from None
    if as_json:
        emit_json(
            {
                "out": str(out),
                "points": found.n_points,
                "unanswered": found.n_unanswered,
                "resumed": found.n_resumed,
            }
        )
        return
    went_on = f", {found.n_resumed:,} of an earlier run" if found.n_resumed else ""
    none = f", {found.n_unanswered:,} without an answer" if found.n_unanswered else ""
    click.echo(f"{out}: {found.n_points:,} texts{went_on}{none}")


@contextmanager
def _answering(
    engine: str, model: Path, asked: Asked, workers: int | None, threads: int | None
) -> Iterator[Any]:
    """Who answers; None: this process."""
    if engine == "local":
        yield None
        return
    from learned_index.adapters.ray import ray_answers

    with ray_answers(model, asked, workers=workers, threads=threads or 1) as answering:
        yield answering
