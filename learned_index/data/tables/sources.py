"""The tables behind a name: one file, or a folder with a file for each split."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from learned_index.data.dataset import SplitName
from learned_index.data.tables.files import Table, is_table, open_table
from learned_index.data.tables.options import TableOptions
from learned_index.data.tables.points import SPLIT_NAMES, Point, TableReport, read_points
from learned_index.data.tables.roles import Roles, choose_roles, head
from learned_index.errors import InputError
from learned_index.persistence.foreign import reading
from learned_index.system.progress import Progress

_STEM = re.compile(r"([a-z]+)(-\d+-of-\d+)?")
"""``train``, and ``train-00000-of-00004`` as data sets in parts are called."""


class Tables(NamedTuple):
    """Tables with the same columns.

    Attributes:
        tables: Each with the split of its rows, where no column says it.
        roles: Their columns.
        sample: The first values of the first one, by column.
    """

    tables: list[tuple[Table, SplitName]]
    roles: Roles
    sample: dict[str, list[Any]]

    def points(self, report: TableReport, progress: Progress | None = None) -> Iterator[Point]:
        """Yield the points of all; fill in the report.

        Args:
            report: What is left out is counted here.
            progress: Told how much is read.

        Raises:
            DataFormatError: A file is damaged.
            InputError: Cells that can be no text or no labels, or a table without a row to keep.
        """
        for done, (table, split) in enumerate(self.tables):
            shown = None if progress is None else _part(progress, done, len(self.tables))
            where = f"{table.path.name}: " if len(self.tables) > 1 else ""
            yield from read_points(
                table, self.roles, report, split=split, where=where, progress=shown
            )


def split_of(path: Path) -> SplitName | None:
    """The split that a file is named after; None where it is not."""
    match = _STEM.fullmatch(path.name.lower().partition(".")[0])
    return None if match is None else SPLIT_NAMES.get(match[1])


def split_tables(folder: Path) -> list[Path]:
    """Tables of a folder that are named after splits, sorted."""
    with reading(folder):
        there = sorted(folder.iterdir())
    return [path for path in there if is_table(path) and split_of(path) and path.is_file()]


def open_tables(path: Path, options: TableOptions) -> Tables:
    """Open a table, or those of a folder, and find their columns.

    Args:
        path: A table. One that is called ``test.csv`` holds test points, and so on; others hold
            training points. Or a folder with such files.
        options: What the user says of them.

    Raises:
        DataFormatError: No such file, or none in the format of its ending.
        InputError: Columns that are not there, or that can be meant in two ways.
    """
    paths = split_tables(path) if path.is_dir() else [path]
    if not paths:
        raise InputError(f"{path} holds no table called train.csv, test.parquet or the like")
    tables = [
        (open_table(each, columns=options.columns, encoding=options.encoding), split_of(each))
        for each in paths
    ]
    first = tables[0][0]
    sample = head(first)
    roles = choose_roles(first, options, sample)
    for table, _ in tables[1:]:
        missing = [name for name in roles.columns if name not in table.columns]
        if missing:
            raise InputError(
                f"{table.path} has no column {missing[0]!r}, which {first.path.name} has; expected "
                "the same columns in all"
            )
    return Tables([(table, split or "train") for table, split in tables], roles, sample)


def _part(progress: Progress, before: int, n_tables: int) -> Progress:
    def tell(done: float, total: float, text: str = "") -> None:
        progress(before + done / max(total, 1), n_tables, text)

    return tell
