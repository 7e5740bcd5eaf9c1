"""``li data import``: a table becomes a data folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from learned_index.cli.shared.common import emit_json, json_option, note, progress_bar, quiet_option
from learned_index.cli.shared.help import PanelCommand
from learned_index.cli.shared.lines import cut, say, say_cut
from learned_index.cli.shared.tables import column_options, percent, say_dropped, table_options

if TYPE_CHECKING:
    from learned_index.data import TableOptions, TableReport

_POINTS = 3
_BETWEEN = {None: "a cell is one label", "list": "cells are lists", "uris": "cells are addresses"}
_NAME, _USE = 20, 12
"""Columns of the terminal for the names of a table's columns and what they are used for."""


@click.command(
    "import",
    cls=PanelCommand,
    examples=(
        "li data import articles.csv --text title,abstract --labels tags \\",
        "  --separator '|' --dry-run",
        "li data import articles.csv --text title,abstract --labels tags \\",
        "  --separator '|' --out my-data",
    ),
)
@click.argument("table", type=click.Path(path_type=Path))
@column_options
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of --test-share."
)
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Data folder to write."
)
@click.option("--dry-run", is_flag=True, help="Show columns and first points; write nothing.")
@click.option("--force", "--overwrite", is_flag=True, help="Replace the data folder if it exists.")
@json_option
@quiet_option
def import_table(
    table: Path,
    seed: int,
    out: Path | None,
    dry_run: bool,
    force: bool,
    as_json: bool,
    quiet: bool,
    **parameters: Any,
) -> None:
    """Make a data folder of TABLE: CSV, TSV, Parquet or JSON lines, a row a point.

    Columns called text, title, content, abstract; labels, categories, subjects, tags; id, key;
    split, and the like are found by themselves; say the others. What stands between the labels of
    a cell is to be said, unless cells are lists or hold no such character. Rows without text or
    label, and rows with another number of columns than the header, are left out and counted.
    All rows are training points, unless a column or --test-share says otherwise.

    A file called test.csv holds test points; TABLE may be a folder with train.csv, test.csv.
    """
    from learned_index.data import import_table as run

    options = table_options(parameters, seed=seed)
    if dry_run:
        found = _preview(table, options)
        if as_json:
            emit_json(found)
        else:
            _show_preview(found)
        return
    if out is None:
        raise click.UsageError("--out FOLDER is missing; --dry-run writes nothing")
    with progress_bar(f"reading {table}", quiet=quiet) as bar:
        folder, report = run(table, out, options, overwrite=force, progress=percent(bar))
    if as_json:
        emit_json({"path": str(folder.path), "splits": list(folder.splits), **report.to_dict()})
        return
    _show_result(report, len(folder.vocabulary), folder.path)
    if not quiet:
        say_dropped(report, str(table))
    note(f"next: li train --data {folder.path} --out model", quiet=quiet)


def _show_result(report: TableReport, n_labels: int, path: Path) -> None:
    kept = ", ".join(f"{report.kept[s]:,} {s}" for s in ("train", "dev", "test") if report.kept[s])
    counts = {"row": report.rows, "point": report.kept.total(), "label": n_labels}
    rows, points, labels = (f"{n:,} {what}{'s' * (n != 1)}" for what, n in counts.items())
    click.echo(f"{path}: {rows}, {points} ({kept}), {labels}")


def _preview(path: Path, options: TableOptions) -> dict[str, Any]:
    """What a table holds, from its first rows."""
    from learned_index.data.tables.folder import LabelNames
    from learned_index.data.tables.points import TableReport, read_points
    from learned_index.data.tables.roles import first_rows
    from learned_index.data.tables.sources import open_tables

    tables, roles, sample = open_tables(path, options)
    table, split = tables[0]
    names, report = LabelNames(options), TableReport()
    points = list(read_points(first_rows(table, sample), roles, report, split=split))
    for point in points:
        names.keys(point.labels)
    vocabulary = names.vocabulary(report)
    return {
        "table": str(table.path),
        "kind": table.told,
        "rows": max(map(len, sample.values()), default=0),
        "columns": [
            {"name": name, "use": roles.use(name), "guessed": roles.is_guessed(name)}
            | _described(sample[name])
            for name in table.columns
        ],
        "separators": dict(roles.labels),
        "labels": len(names.numbers),
        "points": [
            {
                "text": point.text,
                "labels": [vocabulary.name(vocabulary.id(key)) for key in names.keys(point.labels)],
                "id": point.id,
                "split": point.split,
            }
            for point in points[:_POINTS]
        ],
        "dropped": report.lines(),
    }


def _described(values: list[Any]) -> dict[str, Any]:
    filled = [value for value in values if value is not None and value != ""]
    return {
        "filled": len(filled),
        "different": len(set(map(str, filled))),
        "example": str(filled[0]) if filled else "",
    }


def _show_preview(found: dict[str, Any]) -> None:
    n_rows = found["rows"]
    say_cut("", f"{found['table']}: {found['kind']}; of the first {n_rows:,} rows:")
    say_cut(f"{'column':{_NAME}} {'used as':{_USE}} filled  different  ", "first value")
    for column in found["columns"]:
        use = column["use"] + "?" * column["guessed"]
        start = f"{cut(column['name'], _NAME):{_NAME}} {use:{_USE}} "
        filled = 100 * column["filled"] // max(n_rows, 1)
        say_cut(f"{start}{filled:4} %  {column['different']:9,}  ", column["example"])
    if any(column["guessed"] for column in found["columns"]):
        click.echo("(?: found by its name, not said)")
    for name, separator in found["separators"].items():
        say(
            "labels",
            f"{name}: {_BETWEEN.get(separator) or f'{separator!r} between them'}; "
            f"{found['labels']:,} different",
            indent="",
            width=9,
        )
    for point in found["points"]:
        click.echo()
        told = {"id": point["id"], "split": point["split"], "text": point["text"]}
        told["labels"] = ", ".join(point["labels"])
        for name, value in told.items():
            if value is not None:
                say_cut(f"{name:9}", value)
    for line in found["dropped"]:
        say("", line, indent="", width=0)
    click.echo("\nnothing was written (--dry-run)")
