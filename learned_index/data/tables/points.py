"""The rows of a table as points; what is left out is counted, with the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from learned_index.data.dataset import SPLITS, SplitName
from learned_index.data.formats.jsonl import LONGEST_NAME
from learned_index.data.formats.lines import has_half_pair
from learned_index.data.tables.cells import labels_of, text_of
from learned_index.data.tables.files import Table
from learned_index.data.tables.roles import Roles
from learned_index.errors import InputError
from learned_index.system.progress import Progress

_NAMED_ROWS = 3
SPLIT_NAMES: dict[str, SplitName] = {
    **{name: name for name in SPLITS},
    **dict.fromkeys(("trn", "training"), "train"),
    **dict.fromkeys(("valid", "validation", "val", "development"), "dev"),
    **dict.fromkeys(("tst", "testing", "eval"), "test"),
}


class Point(NamedTuple):
    """A row that can be learned from.

    Attributes:
        text: Its text.
        labels: Its labels as (key, text), at least one.
        id: Its name, or None.
        split: Where it belongs.
    """

    text: str
    labels: list[tuple[str, str]]
    id: str | None
    split: SplitName


@dataclass
class Dropped:
    """Rows that were left out for one reason.

    Attributes:
        count: How many.
        rows: Numbers of the first ones, from 1, the header not counted.
    """

    count: int = 0
    rows: list[int] = field(default_factory=list)

    def add(self, row: int) -> None:
        """Count a row."""
        self.count += 1
        if len(self.rows) < _NAMED_ROWS:
            self.rows.append(row)


@dataclass
class TableReport:
    """What became of the rows of a table.

    Attributes:
        rows: Rows of the file.
        kept: Points of each split.
        dropped: Rows that were left out, by the reason.
        long_labels: Labels that were left out at points that were kept: their names are too long.
        repeated_ids: Points whose name an earlier one has.
        labels_without_text: Labels that the file of label texts does not know; None without one.
    """

    rows: int = 0
    kept: Counter[str] = field(default_factory=Counter)
    dropped: dict[str, Dropped] = field(default_factory=dict)
    long_labels: int = 0
    repeated_ids: int = 0
    labels_without_text: int | None = None

    def drop(self, reason: str, row: int) -> None:
        """Count a row that is left out."""
        self.dropped.setdefault(reason, Dropped()).add(row)

    def lines(self) -> list[str]:
        """What was left out and what looks wrong, a line each."""
        told = []
        for reason, dropped in self.dropped.items():
            numbers = ", ".join(map(str, dropped.rows)) + (", ..." * (dropped.count > _NAMED_ROWS))
            word = "row" if dropped.count == 1 else "rows"
            told.append(f"dropped {dropped.count:,} {word}: {reason} ({word} {numbers})")
        if self.long_labels:
            told.append(
                f"dropped {self.long_labels:,} labels of more than {LONGEST_NAME:,} characters; is "
                "the separator right?"
            )
        if self.repeated_ids:
            told.append(f"{self.repeated_ids:,} points have an id that an earlier point has")
        if self.labels_without_text:
            told.append(f"{self.labels_without_text:,} labels have no text in the given file")
        return told

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON-able values."""
        return {
            "rows": self.rows,
            "kept": dict(self.kept),
            "dropped": {why: {"count": d.count, "rows": d.rows} for why, d in self.dropped.items()},
            "long_labels": self.long_labels,
            "repeated_ids": self.repeated_ids,
            "labels_without_text": self.labels_without_text,
        }


def read_points(
    table: Table,
    roles: Roles,
    report: TableReport,
    *,
    split: SplitName = "train",
    where: str = "",
    progress: Progress | None = None,
) -> Iterator[Point]:
    """Yield the points of a table, one after the other; fill in the report.

    Args:
        table: The table.
        roles: Its columns.
        report: What is left out is counted here.
        split: Where the points belong, unless a column says it.
        where: Before the reasons in the report, which tables of different names share.
        progress: Told how much of the file is read.

    Raises:
        DataFormatError: The file is damaged.
        InputError: Cells that can be no text or no labels, or no row that can be kept.
    """
    columns = roles.columns
    place = {name: number for number, name in enumerate(columns)}
    seen: set[int] = set()
    skipped = number = kept = 0
    for row in table.rows(columns, progress):
        # Rows that the reader left out have numbers too.
        number += 1
        while skipped < len(table.bad_rows) and table.bad_rows[skipped] <= number:
            number += 1
            skipped += 1
        try:
            point = _point(row, place, roles, report, number, split)
        except InputError as error:
            raise InputError(f"{table.path}, row {number}: {error}") from None
        if isinstance(point, str):
            report.drop(where + point, number)
            continue
        if point.id is not None:
            mark = hash(point.id)
            report.repeated_ids += mark in seen
            seen.add(mark)
        report.kept[point.split] += 1
        kept += 1
        yield point
    for bad in table.bad_rows:
        report.drop(f"{where}another number of columns than the header", bad)
    report.rows += number + len(table.bad_rows) - skipped
    if not kept:
        why = "; ".join(report.lines()) or "it has no rows"
        raise InputError(f"{table.path}: no row can be used: {why}")


def _point(
    row: tuple[Any, ...],
    place: dict[str, int],
    roles: Roles,
    report: TableReport,
    number: int,
    split: SplitName,
) -> Point | str:
    """The point of a row, or why it is left out."""
    text = " ".join(filter(None, (text_of(row[place[name]]).strip() for name in roles.text)))
    if not text:
        return "no text"
    if has_half_pair(text):
        return "the text is no UTF-8"
    if roles.split is not None:
        name = text_of(row[place[roles.split]]).strip()
        if name.lower() not in SPLIT_NAMES:
            return f"the split is {name[:20]!r}, expected train, dev or test"
        split = SPLIT_NAMES[name.lower()]
    cells = [(row[place[name]], separator) for name, separator in roles.labels]
    found = [label for cell, separator in cells for label in labels_of(cell, separator)]
    labels = [label for label in dict.fromkeys(found) if len(label[0]) <= LONGEST_NAME]
    report.long_labels += len(set(found)) - len(labels)
    if not labels:
        return "no label"
    point_id = None
    if roles.id is not None:
        point_id = text_of(row[place[roles.id]]).strip()[:LONGEST_NAME] or f"row {number}"
    return Point(text, labels, point_id, split)
