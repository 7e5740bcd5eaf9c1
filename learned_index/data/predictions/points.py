"""Points without labels to predict for: lines of a file, rows of a table, a split of data.

They are read block by block, as often as asked for, so that nothing but a block is in memory.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from learned_index.data.dataset import Dataset
from learned_index.data.formats.lines import has_half_pair, iter_lines
from learned_index.data.tables.cells import text_of
from learned_index.data.tables.files import Table, open_table
from learned_index.data.tables.options import NO_SEPARATOR, TableOptions
from learned_index.data.tables.roles import Roles, choose_roles, head
from learned_index.errors import InputError

BLOCK = 1024
"""Points of a block."""


class PointBlock(NamedTuple):
    """Some points, one after the other.

    Attributes:
        points: Texts, or CSR rows of features.
        ids: A name for each, or None.
    """

    points: Any
    ids: list[str] | None


class PointSource(ABC):
    """Points to predict for."""

    @abstractmethod
    def blocks(self) -> Iterator[PointBlock]:
        """Yield all points, :data:`BLOCK` at a time, the last block being shorter.

        Raises:
            DataFormatError, InputError: A point that cannot be read; names its place.
        """


class LineSource(PointSource):
    """A UTF-8 file with one text a line, perhaps with ``.gz`` behind its name."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def blocks(self) -> Iterator[PointBlock]:
        """See :meth:`PointSource.blocks`."""
        lines = (line.removesuffix("\r") for line in iter_lines(self._path))
        while block := list(islice(lines, BLOCK)):
            yield PointBlock(block, None)


class TableSource(PointSource):
    """A table (CSV, TSV, Parquet, JSON lines) with a row a point.

    Args:
        path: The file.
        options: What the user says of its columns.

    Raises:
        DataFormatError: No such file, or none in the format of its ending.
        InputError: A column that is not there, or no column that is known to hold texts.
    """

    def __init__(self, path: Path, options: TableOptions) -> None:
        self._table: Table = open_table(path, columns=options.columns, encoding=options.encoding)
        # Labels that the table may have are not read, however they are separated.
        wanted = replace(options, separator=NO_SEPARATOR)
        self._roles: Roles = choose_roles(self._table, wanted, head(self._table), need_labels=False)

    def blocks(self) -> Iterator[PointBlock]:
        """See :meth:`PointSource.blocks`."""
        rows = self._points()
        while block := list(islice(rows, BLOCK)):
            texts, ids = (list(column) for column in zip(*block, strict=True))
            yield PointBlock(texts, None if self._roles.id is None else ids)

    def _points(self) -> Iterator[tuple[str, str]]:
        table, roles = self._table, self._roles
        columns = tuple(dict.fromkeys([*roles.text, *([roles.id] if roles.id else [])]))
        place = {name: number for number, name in enumerate(columns)}
        for number, row in enumerate(table.rows(columns), start=1):
            # Predictions are told apart by their order: no row may get lost.
            if table.bad_rows and table.bad_rows[0] <= number:
                break
            try:
                texts = (text_of(row[place[name]]).strip() for name in roles.text)
                text = " ".join(filter(None, texts))
                name = text_of(row[place[roles.id]]).strip() if roles.id else ""
            except InputError as error:
                raise InputError(f"{table.path}, row {number}: {error}") from None
            if has_half_pair(text + name):
                raise InputError(f"{table.path}, row {number} is no UTF-8")
            yield text, name
        if table.bad_rows:
            raise InputError(
                f"{table.path}, row {table.bad_rows[0]} has another number of columns than the "
                "header; mend it: each row gets its predictions"
            )


class SplitSource(PointSource):
    """A split of a data set."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    def blocks(self) -> Iterator[PointBlock]:
        """See :meth:`PointSource.blocks`."""
        points, ids = self._dataset.points, self._dataset.ids
        for start in range(0, self._dataset.n_points, BLOCK):
            part = slice(start, start + BLOCK)
            yield PointBlock(points[part], None if ids is None else list(ids[part]))
