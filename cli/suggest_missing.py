"""``li suggest-missing``: probable labels that points of a data set do not have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from learned_index.cli.shared.common import (
    emit_json,
    progress_bar,
    standard_options,
    use_threads,
)
from learned_index.cli.shared.help import command
from learned_index.cli.shared.lines import named, say_cut
from learned_index.cli.shared.options import (
    cache_option,
    model_argument,
    train_split_option,
)
from learned_index.cli.shared.tables import DataSource, data_option
from learned_index.errors import InputError

if TYPE_CHECKING:
    from learned_index.evaluation.missing import MissingLabel, MissingLabels

SHOWN = 20
"""Suggestions on the screen unless another number is asked for."""


@command(
    common=(
        *("data", "table_text", "table_labels", "split", "threshold", "limit", "k", "out"),
        *("as_json", "threads"),
    ),
    examples=(
        "li suggest-missing model --data my-data --threshold 0.8",
        "li suggest-missing model --data my-data --out missing.jsonl",
    ),
)
@model_argument
@data_option
@train_split_option
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="Least probability of a suggestion.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    help=f"Suggestions, the most probable.  [default: {SHOWN} on the screen, all with --out or "
    "--json]",
)
@click.option(
    "-k",
    "k",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Best labels of each point that are looked at.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="New file for the suggestions, a JSON object a line.",
)
@cache_option
@standard_options
def suggest_missing(
    model: Path,
    data: DataSource,
    split: Any,
    threshold: float,
    limit: int | None,
    k: int,
    out: Path | None,
    cache: str | None,
    threads: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Find labels that points of a data set probably miss.

    These are labels that the model in the directory MODEL holds at least as probable as the
    threshold, and that the point does not have; the most probable come first. Labels of model and
    data are matched by key. Points without any label, and those without an answer, get no
    suggestions; both are counted.

    The model must have been trained with calibration. On the training split it has learned that
    the point does not have the label: a high probability all the same is strong evidence, a low
    one says little.
    """
    from learned_index.cli.shared import output, sources
    from learned_index.elias.model import ELIAS
    from learned_index.evaluation import missing

    if out is not None:
        if out.exists():
            raise InputError(f"{out} exists; choose another name, or remove it")
        output.claim(out)
    use_threads(threads)
    loaded = ELIAS.from_pretrained(model)
    missing.require_calibration(loaded)  # before minutes of encoding
    dataset = sources.resolve_data(data, quiet=quiet).read(split)
    vectors = sources.model_vectors(loaded, dataset, cache=cache, quiet=quiet)
    on_screen = out is None and not as_json
    with progress_bar("searching", total=dataset.n_points, quiet=quiet) as bar:
        found = missing.suggest_missing(
            loaded,
            dataset,
            threshold=threshold,
            limit=SHOWN if limit is None and on_screen else limit,
            k=k,
            vectors=vectors,
            progress=bar.count,
        )
    if out is not None:
        _write(out, found)
    if as_json:
        emit_json({"model": str(model), "data": str(data), **found.to_dict()})
        return
    if on_screen:
        for suggestion in found.suggestions:
            _show(suggestion)
    _show_counts(found)
    if out is not None:
        click.echo(f"written: {out}, {len(found.suggestions):,} suggestions")


def _write(out: Path, found: MissingLabels) -> None:
    from learned_index.persistence import atomic_file

    with (
        atomic_file(out) as temporary,
        temporary.open("w", encoding="utf-8", newline="\n") as file,
    ):
        for suggestion in found.suggestions:
            file.write(json.dumps(suggestion.to_dict(), ensure_ascii=False) + "\n")


def _show(found: MissingLabel) -> None:
    where = f"point {found.row}" + ("" if found.id is None else f", {found.id}")
    text = where if found.text is None else f"{where}: {found.text}"
    say_cut(f"{found.probability:.4f}  ", named(found.label, found.key))
    say_cut(" " * 8, text)
    say_cut(" " * 8, f"has: {'; '.join(found.labels)}")


def _show_counts(found: MissingLabels) -> None:
    shown = len(found.suggestions)
    which = "" if shown == found.n_found else f" ({shown:,} shown)"
    click.echo(f"{found.n_points:,} points of the {found.split} split")
    click.echo(
        f"labels missing at probability {found.threshold:g} or more: {found.n_found:,}{which}, "
        f"of {found.n_points_found:,} points"
    )
    if found.n_unlabelled:
        click.echo(f"points without labels, left out: {found.n_unlabelled:,}")
    if found.n_unanswered:
        click.echo(f"points without an answer (blank, unknown words): {found.n_unanswered:,}")
