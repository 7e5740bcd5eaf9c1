"""``--data`` and what may be said about the columns of a table."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from learned_index.cli.shared.common import ProgressHandle, progress_bar
from learned_index.cli.shared.help import panel
from learned_index.cli.shared.options import ParamType, combined

if TYPE_CHECKING:
    from learned_index.data import DataFolder, TableOptions, TableReport

_PREFIX = "table_"
"""Before the names of the parameters, some of which commands have for something else."""


class Names(ParamType):
    """Names with commas between them, as a tuple."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Split."""
        if isinstance(value, tuple):
            return value
        return tuple(name.strip() for name in value.split(",") if name.strip())


column_options = panel(
    "Table",
    click.option(
        "--text",
        "table_text",
        type=Names(),
        help="Columns of a table that make the text: title,abstract.",
    ),
    click.option("--labels", "table_labels", type=Names(), help="Column with the labels."),
    click.option(
        "--separator",
        "table_separator",
        help="What stands between the labels of a cell: '|'; none where a cell is one label.",
    ),
    click.option("--id", "table_id", help="Column with a name for each point."),
    click.option("--split-column", "table_split", help="Column that says train, dev or test."),
    click.option(
        "--test-share",
        "table_test_share",
        type=float,
        help="Share of the rows, drawn at random, that becomes the test split: 0.1.",
    ),
    click.option(
        "--vocabulary",
        "table_vocabulary",
        type=click.Path(path_type=Path),
        help="File with the labels' texts: lines KEY<TAB>TEXT, Annif's CSV, SKOS.",
    ),
    click.option("--language", "table_language", help="Language of the labels' texts: en."),
    click.option(
        "--columns",
        "table_columns",
        type=Names(),
        help="Names of all columns, of a CSV or TSV file without a header.",
    ),
    click.option("--encoding", "table_encoding", help="Of a CSV or TSV file.  [default: utf-8]"),
)
"""What may be said about a table; :func:`table_options` reads it."""


def table_options(parameters: dict[str, Any], *, seed: int) -> TableOptions:
    """Collect what was said about a table; removes it from ``parameters``."""
    from learned_index.data import TableOptions

    names = [name for name in parameters if name.startswith(_PREFIX)]
    found = {name.removeprefix(_PREFIX): parameters.pop(name) for name in names}
    return TableOptions(**{name: v for name, v in found.items() if v is not None}, seed=seed)


@dataclass(frozen=True)
class DataSource:
    """What ``--data`` names, and what was said about its columns.

    Attributes:
        name: A folder, a table, or ``api-docs``.
        table: What was said about the columns.
    """

    name: str
    table: TableOptions | None = None

    def __str__(self) -> str:
        return self.name


def data_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--data`` and the options of tables: the command gets a :class:`DataSource`."""

    @functools.wraps(function)
    def command(data: str, split_seed: int, **parameters: Any) -> Any:
        table = table_options(parameters, seed=split_seed)
        return function(data=DataSource(data, table), **parameters)

    options = combined(
        click.option(
            "--data",
            required=True,
            help="Data folder; table (.csv, .tsv, .parquet, .jsonl, .json, .gz); or api-docs.",
        ),
        column_options,
        panel(
            "Table",
            click.option(
                "--split-seed",
                type=click.IntRange(min=0),
                default=0,
                show_default=True,
                help="Seed of --test-share.",
            ),
        ),
    )
    return options(command)


def percent(bar: ProgressHandle) -> Callable[..., None]:
    """Show what is done of any unit as a part of a hundred."""

    def show(done: float, total: float, text: str = "") -> None:
        bar.update(completed=100 * done // max(total, 1), total=100, info=text)

    return show


def open_source(source: DataSource, *, quiet: bool) -> DataFolder:
    """Open a folder, or read a table with a progress bar and say what was left out."""
    from learned_index.data import open_data

    with progress_bar(f"reading {source.name}", quiet=quiet) as bar:
        folder = open_data(source.name, source.table, progress=percent(bar))
    report = getattr(folder, "report", None)
    if report is not None and not quiet:
        say_dropped(report, source.name)
    return folder


def say_dropped(report: TableReport, name: str) -> None:
    """Say on standard error what was left out of a table."""
    for line in report.lines():
        click.echo(f"{name}: {line}", err=True)
