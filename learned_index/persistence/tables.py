"""Tables for spreadsheets."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from learned_index.persistence.atomic import atomic_file


def write_csv(
    path: Path, rows: Sequence[Mapping[str, Any]], *, columns: Sequence[str] | None = None
) -> None:
    """Write rows of plain values as CSV; it appears when it is whole.

    Args:
        path: The file.
        rows: Missing values are empty.
        columns: The columns, of values that they do not name none is written; None: all, in the
            order in which they come.
    """
    if columns is None:
        columns = list(dict.fromkeys(name for row in rows for name in row))
    with (
        atomic_file(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
