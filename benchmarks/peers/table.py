"""The table: metrics from the stored lists, the best peer of each column, where ours is ahead."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column.

    Attributes:
        key: Name in the rows.
        better: Which values are better.
        digits: Digits after the point that are shown.
    """

    key: str
    better: Literal["higher", "lower"]
    digits: int = 2


METRICS = tuple(
    Column(key=key, better="higher")
    for key in ("P@1", "P@3", "P@5", "R@10", "R@100", "PSP@1", "PSP@3", "PSP@5")
)
COSTS = (
    Column(key="embed s", better="lower", digits=0),
    Column(key="train s", better="lower", digits=0),
    Column(key="train CPU s", better="lower", digits=0),
    Column(key="batch ms", better="lower"),
    Column(key="single ms", better="lower"),
    Column(key="model MB", better="lower", digits=0),
    Column(key="peak MB", better="lower", digits=0),
)
COLUMNS = METRICS + COSTS

Row = dict[str, Any]
"""``system``, ``title``, ``role`` (peer, ours), ``status`` (ok, failed), ``error``, and columns."""


def best_peers(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Return ``{column: {"system": ..., "value": ...}}``; columns that no peer has are left out."""
    best: dict[str, dict[str, Any]] = {}
    for column in COLUMNS:
        found = [
            (row[column.key], row["system"])
            for row in rows
            if row["role"] == "peer" and row["status"] == "ok" and row.get(column.key) is not None
        ]
        if found:
            choose = max if column.better == "higher" else min
            value, system = choose(found, key=lambda pair: pair[0])
            best[column.key] = {"system": system, "value": value}
    return best


def compare_with_best(rows: Sequence[Row]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return for each of ours ``{column: {"ratio": ours / best peer, "ahead": bool}}``.

    ``ratio`` is None where the best peer has 0; equal values are not ahead.
    """
    best = best_peers(rows)
    compared: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        if row["role"] != "ours" or row["status"] != "ok":
            continue
        compared[row["system"]] = {
            column.key: {
                "ratio": row[column.key] / best[column.key]["value"]
                if best[column.key]["value"]
                else None,
                "ahead": row[column.key] > best[column.key]["value"]
                if column.better == "higher"
                else row[column.key] < best[column.key]["value"],
            }
            for column in COLUMNS
            if column.key in best and row.get(column.key) is not None
        }
    return compared


def markdown(rows: Sequence[Row]) -> str:
    """Return two tables: values (ours bold where ahead of the best peer), and ratios to it."""
    best, compared = best_peers(rows), compare_with_best(rows)
    lines = _head("system")
    for row in rows:
        cells = [
            _cell(row, column, compared.get(row["system"], {}).get(column.key, {}))
            for column in COLUMNS
        ]
        lines.append(_line(row["title"], cells))
    if best:
        values = [
            _shown(best[column.key]["value"], column) if column.key in best else "—"
            for column in COLUMNS
        ]
        lines.append(_line("*best peer*", values))
        names = [best.get(column.key, {}).get("system", "—") for column in COLUMNS]
        lines.append(_line("*which*", names))
    if compared:
        lines += ["", "Ours divided by the best peer of the column; ✓ where ours is ahead.", ""]
        lines += _head("ratio")
        titles = {row["system"]: row["title"] for row in rows}
        for system, columns in compared.items():
            cells = []
            for column in COLUMNS:
                found = columns.get(column.key)
                if found is None or found["ratio"] is None:
                    cells.append("—")
                else:
                    cells.append(f"{found['ratio']:.3g}{' ✓' if found['ahead'] else ''}")
            lines.append(_line(titles[system], cells))
    failed = [row for row in rows if row["status"] == "failed"]
    if failed:
        lines.append("")
        for row in failed:
            lines.append(f"Failed: {row['title']}: {row['error']}")
    return "\n".join(lines) + "\n"


def csv_text(rows: Sequence[Row]) -> str:
    """Return the values as CSV, one line for each system."""
    text = io.StringIO()
    names = ["system", "title", "role", "status", *(column.key for column in COLUMNS), "error"]
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _head(first: str) -> list[str]:
    names = [first, *(column.key for column in COLUMNS)]
    return [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]


def _line(first: str, cells: Sequence[str]) -> str:
    return f"| {first} | {' | '.join(cells)} |"


def _shown(value: float, column: Column) -> str:
    if column.better == "lower" and 0 < value < 10:
        return f"{value:.2f}"
    return f"{value:.{column.digits}f}"


def _cell(row: Row, column: Column, compared: dict[str, Any]) -> str:
    if row["status"] == "failed":
        return "failed" if column is COLUMNS[0] else ""
    value = row.get(column.key)
    if value is None:
        return "—"
    shown = _shown(value, column)
    if column.key in row.get("estimated", ()):
        shown = f"≈{shown}"
    return f"**{shown}**" if compared.get("ahead") else shown
