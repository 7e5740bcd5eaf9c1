"""``li data``: build, import, check, convert and split data folders."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from rich.markup import escape
from rich.table import Table

from learned_index.cli.data_import import import_table
from learned_index.cli.shared.common import (
    console,
    emit_json,
    json_option,
    output_console,
    quiet_option,
)
from learned_index.cli.shared.help import PanelCommand
from learned_index.cli.shared.options import combined

if TYPE_CHECKING:
    from learned_index.data import DataFolder, ValidationReport
    from learned_index.data.validation import SplitReport

_BAD_DATA = 2
_MOST = 2**31 - 1
_ROWS: tuple[tuple[str, Callable[[SplitReport], float | None], str], ...] = (
    ("points", lambda part: part.points, ","),
    ("labels used", lambda part: part.used_labels, ","),
    ("labels with one point", lambda part: part.singleton_labels, ","),
    ("labels a point: min", lambda part: part.labels_per_point.min, ","),
    ("labels a point: median", lambda part: part.labels_per_point.median, "g"),
    ("labels a point: mean", lambda part: part.labels_per_point.mean, ".2f"),
    ("labels a point: max", lambda part: part.labels_per_point.max, ","),
    ("points a label: median", lambda part: part.points_per_label_deciles[5], ","),
    ("points a label: 9th decile", lambda part: part.points_per_label_deciles[9], ","),
    ("points a label: max", lambda part: part.points_per_label_deciles[10], ","),
    ("empty points", lambda part: part.empty_points, ","),
    ("points without labels", lambda part: part.unlabelled_points, ","),
    ("repeated points", lambda part: part.duplicate_points, ","),
    ("points also in train", lambda part: part.overlap_with_train, ","),
    ("labels never trained", lambda part: part.untrained_labels, ","),
    ("points with such labels", lambda part: part.points_with_untrained_labels, ","),
    ("points with only such labels", lambda part: part.points_with_only_untrained_labels, ","),
)
"""Rows of the table of a validation: heading, number of a split, format."""


_source_and_target = combined(
    click.argument("source", type=click.Path(path_type=Path)),
    click.argument("target", type=click.Path(path_type=Path)),
    click.option("--force", "--overwrite", is_flag=True, help="Replace the target if it exists."),
)


@click.group()
def data() -> None:
    """Build, import, check, convert and split data folders.

    A data folder holds the splits train, dev and test in one of four formats: text files, the
    XMC repository's sparse format, scipy .npz pairs, or JSON lines.

    Example: li data build api-docs --out api-docs
    """


@data.group()
def build() -> None:
    """Make a data set on this machine, without a download.

    Example: li data build api-docs --out api-docs
    """


@build.command("api-docs", cls=PanelCommand, examples=("li data build api-docs --out api-docs",))
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder to write. Default: a folder in the user's cache, whose path is printed.",
)
@click.option(
    "--package",
    "packages",
    multiple=True,
    help="Read this package only; may be repeated. Default: all that are known and installed.",
)
@click.option("--force", "--overwrite", is_flag=True, help="Build again, replace the folder.")
@json_option
@quiet_option
def api_docs(
    out: Path | None, packages: tuple[str, ...], force: bool, as_json: bool, quiet: bool
) -> None:
    """Build the default data set from the installed packages' documentation.

    Texts are sentences of docstrings of numpy, scipy, scikit-learn, torch, matplotlib and others;
    labels are the documented object, its class, its module and what it names under See Also.
    """
    from learned_index.data import build_api_docs

    shown = not quiet and console.is_terminal
    with console.status("Reading docstrings") if shown else nullcontext():
        folder = build_api_docs(out, packages=packages or None, force=force)
    _print_folder(folder, as_json)


@data.command("validate", cls=PanelCommand, examples=("li data validate api-docs",))
@click.argument("directory", type=click.Path(path_type=Path))
@json_option
def validate_folder(directory: Path, as_json: bool) -> None:
    """Count what a data folder holds, and report what is wrong with it.

    Ends with exit code 2 when there are errors; warnings do not change it.
    """
    from learned_index.data import validate

    report = validate(directory)
    if as_json:
        emit_json(report.to_dict())
    else:
        _print_report(report)
    if not report.ok:
        raise click.exceptions.Exit(_BAD_DATA)


@data.command(
    "convert",
    cls=PanelCommand,
    examples=("li data convert api-docs api-docs-npz --to npz --features tfidf",),
)
@_source_and_target
@click.option(
    "--to",
    "to",
    required=True,
    type=click.Choice(["text", "xmc", "npz", "jsonl"]),
    help="Format of the new folder.",
)
@click.option(
    "--features",
    type=click.Choice(["keep", "tfidf"]),
    default="keep",
    show_default=True,
    help="Compute tf-idf features from texts, for xmc and npz.",
)
@click.option("--max-features", type=click.IntRange(1, _MOST), help="Words kept by tf-idf.")
@json_option
def convert_folder(
    source: Path,
    target: Path,
    to: Literal["text", "xmc", "npz", "jsonl"],
    features: Literal["keep", "tfidf"],
    max_features: int | None,
    force: bool,
    as_json: bool,
) -> None:
    """Write the data folder SOURCE as TARGET in another format.

    Texts convert between text and jsonl, sparse features between xmc and npz; with
    --features tfidf texts become features.
    """
    from learned_index.data import convert

    folder = convert(
        source, target, to=to, features=features, max_features=max_features, overwrite=force
    )
    _print_folder(folder, as_json)


@data.command(cls=PanelCommand, examples=("li data split my-titles my-titles-split --size 2000",))
@_source_and_target
@click.option(
    "--size", required=True, type=click.IntRange(1, _MOST), help="Training points to hold out."
)
@click.option(
    "--as",
    "split",
    type=click.Choice(["dev", "test"]),
    default="test",
    show_default=True,
    help="What they become.",
)
@click.option(
    "--seed", type=click.IntRange(0, 2**62), default=0, show_default=True, help="Of the choice."
)
@json_option
def split(
    source: Path,
    target: Path,
    size: int,
    split: Literal["dev", "test"],
    seed: int,
    force: bool,
    as_json: bool,
) -> None:
    """Write the data folder SOURCE as TARGET with part of train as test or dev split.

    Every label keeps a training point, so fewer points than asked for may be held out.
    """
    from learned_index.data import split_folder

    folder = split_folder(source, target, size=size, split=split, seed=seed, overwrite=force)
    _print_folder(folder, as_json)


data.add_command(import_table)


def _print_folder(folder: DataFolder, as_json: bool) -> None:
    if as_json:
        emit_json(
            {
                "path": str(folder.path),
                "format": folder.format,
                "splits": list(folder.splits),
                "n_labels": len(folder.vocabulary),
            }
        )
    else:
        click.echo(str(folder.path))


def _print_report(report: ValidationReport) -> None:
    output = output_console()
    output.print(
        f"[bold]{escape(report.path)}[/bold]  format: {report.format or 'unknown'}", soft_wrap=True
    )
    if report.n_labels is not None:
        output.print(
            f"{report.n_labels:,} labels, {report.labels_with_text:,} with a text, "
            f"{report.labels_without_text:,} without one"
        )
    if report.splits:
        table = Table()
        table.add_column("", no_wrap=True)
        for part in report.splits:
            table.add_column(part.split, justify="right")
        for name, value_of, pattern in _ROWS:
            values = map(value_of, report.splits)
            table.add_row(name, *("" if v is None else format(v, pattern) for v in values))
        output.print(table)
    for message in report.errors:
        output.print(f"[red]error:[/red] {escape(message)}", soft_wrap=True)
    for message in report.warnings:
        output.print(f"[yellow]warning:[/yellow] {escape(message)}", soft_wrap=True)
    if report.ok and not report.warnings:
        output.print("no errors, no warnings")
