"""What ``python -m benchmarks.ablation`` writes and prints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape
from rich.table import Table

from learned_index.cli.shared.common import output_console

if TYPE_CHECKING:
    from learned_index.data import Dataset
    from learned_index.elias.presets import ModelConfigs
    from learned_index.reproduction.ablation import Row

METRICS = ("P@1", "P@3", "P@5", "PSP@1", "PSP@3", "PSP@5", "R@10", "R@100")
PLOTTED = ("P@1", "P@5", "R@100")
TITLES = {
    "build-up": "build-up",
    "lambda": "weight of the shortlist loss (lambda)",
    "edges": "edges of a cluster (M)",
    "prune-threshold": "pruning by weight",
    "prune-top-k": "pruning to the strongest edges of each cluster",
}
AXES = {
    "lambda": "weight lambda of the shortlist loss",
    "edges": "edges of a cluster, as a multiple of L / C",
    "prune-threshold": "least weight of a kept edge",
    "prune-top-k": "edges kept of each cluster",
}
PRUNED = (
    ("edges %", "edges_share", 100.0, ".1f"),
    ("weight %", "weight_share", 100.0, ".1f"),
    ("lost labels", "n_unreachable", 1.0, ",.0f"),
    ("search ms", "search_ms", 1.0, ".3f"),
)
"""Columns of the pruning tables: heading, detail, factor, format."""


def make_report(
    rows: list[Row],
    configs: ModelConfigs,
    *,
    data: str,
    queries: Dataset,
    train: Dataset,
    spec: str,
    threads: int,
) -> dict[str, Any]:
    """Everything that was measured, JSON-able."""
    from learned_index.system.environment import describe_environment

    split = "held-out" if queries.split == "train" else queries.split
    return {
        "data": data,
        "split": split,
        "n_queries": queries.n_points,
        "n_points": train.n_points,
        "n_labels": train.n_labels,
        "encoder": spec,
        "threads": threads,
        "rows": rows,
        "configuration": {name: config.to_dict() for name, config in configs._asdict().items()},
        "environment": describe_environment(),
    }


def _tables(report: dict[str, Any]) -> dict[str, list[Row]]:
    tables: dict[str, list[Row]] = {}
    for row in report["rows"]:
        tables.setdefault(row["table"], []).append(row)
    return tables


def write_files(report: dict[str, Any], out: Path) -> None:
    """Write ablate.json, ablate.csv and a plot of each table into a directory."""
    from learned_index.evaluation.plots import plot_build_up
    from learned_index.persistence import atomic_file, write_csv, write_json

    with atomic_file(out / "ablate.json") as temporary:
        write_json(temporary, report)
    lines = [
        {
            "table": row["table"],
            "row": row["row"],
            "value": row["value"],
            **row["metrics"],
            "seconds": row["seconds"],
            **row["details"],
            "error": row["error"],
        }
        for row in report["rows"]
    ]
    write_csv(out / "ablate.csv", lines)
    for table, rows in _tables(report).items():
        good = [row for row in rows if row["error"] is None]
        if not good:
            continue
        path = out / f"{table}.png"
        if table == "build-up":
            plot_build_up([row["row"] for row in good], _series(good), path)
        else:
            _plot_sweep(table, good, path)


def _series(rows: Sequence[Row]) -> dict[str, list[float]]:
    return {name: [row["metrics"][name] for row in rows] for name in PLOTTED}


def _plot_sweep(table: str, rows: Sequence[Row], path: Path) -> None:
    from learned_index.evaluation.plots import plot_sweep

    swept = [row for row in rows if row["value"] is not None]
    whole = [row for row in rows if row["value"] is None]
    if not swept:
        return
    values = [row["value"] for row in swept]
    plot_sweep(
        values,
        _series(swept),
        path,
        label=AXES[table] + (" (dashed: all edges)" if whole else ""),
        log=min(values) > 0,
        reference={name: whole[0]["metrics"][name] for name in PLOTTED} if whole else None,
    )


def ablation_table(table: str, rows: Sequence[Row], *, caption: str) -> Table:
    """Lay out one table of an ablation."""
    found = Table(
        title=TITLES[table], caption=caption, title_justify="left", caption_justify="left"
    )
    found.add_column("row", style="bold", no_wrap=True)
    pruning = table.startswith("prune-")
    extra = [heading for heading, *_ in PRUNED] if pruning else ["seconds"]
    for heading in (*METRICS, *extra):
        found.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        if row["error"] is not None:
            found.add_row(escape(row["row"]), "[red]failed[/red]")
            continue
        cells = [f"{row['metrics'][name]:.2f}" for name in METRICS]
        if pruning:
            cells += [
                format(factor * row["details"][key], pattern) for _, key, factor, pattern in PRUNED
            ]
        else:
            cells.append(f"{row['seconds']:,.0f}")
        found.add_row(escape(row["row"]), *cells)
    return found


def print_tables(report: dict[str, Any], out: Path) -> None:
    """Print the tables, and where the files are."""
    console = output_console(wide=True)  # a laboratory: all columns
    tables = _tables(report)
    last = list(tables)[-1]
    caption = (
        f"{report['split']}: {report['n_queries']:,} points, percent; trained on "
        f"{report['n_points']:,} points, {report['n_labels']:,} labels, encoder "
        f"{report['encoder']}. seconds: all training up to the row, encoding not counted."
    )
    for table, rows in tables.items():
        console.print(ablation_table(table, rows, caption=caption if table == last else ""))
    click.echo(f"written: {out / 'ablate.json'}, ablate.csv, and a plot of each table")
