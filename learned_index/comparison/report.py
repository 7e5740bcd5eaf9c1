"""Write a comparison as JSON, CSV and a plot."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from learned_index.comparison.data import MEASUREMENTS, Comparison
from learned_index.comparison.measure import setting_text
from learned_index.comparison.plot import plot_comparison
from learned_index.persistence import atomic_file, write_json

CSV_COLUMNS = ("method", "setting", *MEASUREMENTS, "reached_target", "error")
PARETO_COLUMNS = ("method", "load", "metric", "recall", "ms", "setting")
OPERATING_COLUMNS = (
    *("target", "metric", "least", "method", "best"),
    *("single_ms", "single_times", "single_spread", "single_recall", "single_setting"),
    *("batch_ms", "batch_times", "batch_spread", "batch_recall", "batch_setting"),
)


def write_comparison_json(comparison: Comparison, path: Path) -> None:
    """Write all parts of the comparison by name; the file appears when it is whole."""
    with atomic_file(path) as temporary:
        write_json(temporary, _finite(comparison_parts(comparison)))


def write_comparison_csv(comparison: Comparison, path: Path) -> None:
    """Write the rows as CSV, one line for each method; it appears when it is whole."""
    rows = [{**row, "setting": setting_text(row["query_arguments"])} for row in comparison.rows]
    _write_csv(path, CSV_COLUMNS, rows)


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
    pareto = [{**row, "setting": setting_text(row["query_arguments"])} for row in comparison.pareto]
    _write_csv(paths[2], PARETO_COLUMNS, pareto)
    operating = [
        {
            **row,
            "single_setting": setting_text(row["single_arguments"] or {}),
            "batch_setting": setting_text(row["batch_arguments"] or {}),
        }
        for row in comparison.operating
    ]
    _write_csv(paths[3], OPERATING_COLUMNS, operating)
    plot_comparison(comparison, paths[4])
    return paths


def comparison_parts(comparison: Comparison) -> dict[str, Any]:
    """Return the parts of a comparison by name."""
    return {part.name: getattr(comparison, part.name) for part in fields(comparison)}


def _write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    with (
        atomic_file(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _finite(value: Any) -> Any:
    """Replace NaN and infinities, which JSON has not, by null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
