"""Write a comparison as JSON and CSV."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

from learned_index.evaluation.compare import MEASUREMENTS, Comparison
from learned_index.persistence import atomic_file, write_json

CSV_COLUMNS = ("method", "setting", *MEASUREMENTS, "reached_target", "error")


def setting_text(query_arguments: dict[str, Any]) -> str:
    """Return query arguments as a few words, e.g. ``"nprobe=16"``."""
    return " ".join(f"{key}={value}" for key, value in query_arguments.items())


def write_comparison_json(comparison: Comparison, path: Path) -> None:
    """Write ``{"rows": ..., "curves": ..., "environment": ...}``; it appears when it is whole."""
    value = {
        "rows": comparison.rows,
        "curves": comparison.curves,
        "environment": comparison.environment,
    }
    with atomic_file(path) as temporary:
        write_json(temporary, _finite(value))


def write_comparison_csv(comparison: Comparison, path: Path) -> None:
    """Write the rows as CSV, one line for each method; it appears when it is whole."""
    with (
        atomic_file(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for row in comparison.rows:
            writer.writerow({**row, "setting": setting_text(row["query_arguments"])})


def _finite(value: Any) -> Any:
    """Replace NaN and infinities, which JSON has not, by null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
