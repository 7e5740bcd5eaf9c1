"""Write a comparison as JSON, CSV and a plot."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from learned_index.comparison.data import MEASUREMENTS, Comparison
from learned_index.comparison.measure import setting_text
from learned_index.comparison.operating import COSTS
from learned_index.comparison.plot import plot_comparison
from learned_index.persistence import atomic_file, write_csv, write_json
from learned_index.persistence.files import json_ready

CSV_COLUMNS = ("method", "classifiers", "setting", *MEASUREMENTS, "reached_target", "error")
PARETO_COLUMNS = ("method", "load", "metric", "recall", "ms", "setting")
OPERATING_COLUMNS = (
    *("target", "metric", "least", "method", "best"),
    *("single_ms", "single_times", "single_spread", "single_recall", "single_setting"),
    *("batch_ms", "batch_times", "batch_spread", "batch_recall", "batch_setting"),
)


def write_comparison_json(comparison: Comparison, path: Path) -> None:
    """Write all parts of the comparison by name; the file appears when it is whole."""
    with atomic_file(path) as temporary:
        write_json(temporary, json_ready(comparison_parts(comparison)))


def write_comparison_csv(comparison: Comparison, path: Path) -> None:
    """Write the rows as CSV, one line for each method; it appears when it is whole."""
    write_csv(path, _as_text(comparison.rows, setting="query_arguments"), columns=CSV_COLUMNS)


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Write all reports of a comparison into a folder that exists.

    Returns:
        The files: ``compare.json`` (everything), ``compare.csv`` (one line a method),
        ``pareto.csv``, ``operating.csv`` and ``compare.png``.
    """
    names = ("compare.json", "compare.csv", "pareto.csv", "operating.csv", "compare.png")
    paths = [folder / name for name in names]
    write_comparison_json(comparison, paths[0])
    write_comparison_csv(comparison, paths[1])
    pareto = _as_text(comparison.pareto, setting="query_arguments")
    write_csv(paths[2], pareto, columns=PARETO_COLUMNS)
    loads = {f"{load}_setting": f"{load}_arguments" for load in COSTS}
    write_csv(paths[3], _as_text(comparison.operating, **loads), columns=OPERATING_COLUMNS)
    plot_comparison(comparison, paths[4])
    return paths


def comparison_parts(comparison: Comparison) -> dict[str, Any]:
    """Return the parts of a comparison by name."""
    return {part.name: getattr(comparison, part.name) for part in fields(comparison)}


def _as_text(rows: list[dict[str, Any]], **columns: str) -> list[dict[str, Any]]:
    """Add columns with the query arguments of others in words."""
    return [
        row | {name: setting_text(row[source] or {}) for name, source in columns.items()}
        for row in rows
    ]
