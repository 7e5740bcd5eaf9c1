"""Which column of a table is what: as the user says, or by names that mean one thing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from learned_index.data.tables.cells import guessed_separator
from learned_index.data.tables.files import Table
from learned_index.data.tables.options import NO_SEPARATOR, TableOptions
from learned_index.errors import InputError
from learned_index.inputs.similar import did_you_mean
from learned_index.system.progress import Progress

_TEXT = ("text", "content", "body", "abstract", "description", "document", "sentence")
_TITLES = ("title", "headline")
_LABELS = (
    *("labels", "label", "subjects", "subject_uris", "categories", "category", "tags", "tag"),
    *("keywords", "classes", "class", "target", "targets"),
)
_IDS = ("id", "key", "uid", "document_id", "doc_id")
_SPLITS = ("split", "subset")
SAMPLE = 1000
"""Rows that are looked at before the table is read."""


@dataclass(frozen=True)
class Roles:
    """Columns of a table by what they are used for.

    Attributes:
        text: The columns that make the text.
        labels: Those that hold labels, each with what stands between the labels of a cell.
        id: The column of the points' names, or None.
        split: The column that names the split, or None.
        guessed: Which of these were not said, but found by their names.
    """

    text: tuple[str, ...]
    labels: tuple[tuple[str, str | None], ...]
    id: str | None
    split: str | None
    guessed: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that are read, once each."""
        wanted = (*self.text, *(name for name, _ in self.labels), self.id, self.split)
        return tuple(dict.fromkeys(name for name in wanted if name is not None))

    def is_guessed(self, column: str) -> bool:
        """Whether nobody said what a column is used for."""
        return any(role in self.guessed for role in self.use(column).split(", "))

    def use(self, column: str) -> str:
        """What a column is used for, in one word; empty where it is not."""
        found = []
        if column in self.text:
            found.append("text")
        found += ["labels" for name, _ in self.labels if name == column]
        found += [role for role in ("id", "split") if getattr(self, role) == column]
        return ", ".join(found)


class _Rows(Table):
    """The first rows of a table, as a table."""

    kind = "rows"

    def __init__(self, table: Table, rows: list[tuple[Any, ...]]) -> None:
        super().__init__(table.path, table.columns)
        self._rows = rows
        for bad in table.bad_rows:
            if bad <= len(rows) + len(self.bad_rows):
                self.bad_rows.append(bad)

    def rows(
        self, columns: Sequence[str], progress: Progress | None = None
    ) -> Iterator[tuple[Any, ...]]:
        """See :meth:`Table.rows`."""
        places = [self.columns.index(name) for name in columns]
        return (tuple(row[place] for place in places) for row in self._rows)


def first_rows(table: Table, sample: dict[str, list[Any]]) -> Table:
    """The rows that a sample holds, as a table."""
    return _Rows(table, list(zip(*sample.values(), strict=True)))


def head(table: Table) -> dict[str, list[Any]]:
    """The first values of every column."""
    rows = list(islice(table.rows(table.columns), SAMPLE))
    return {name: [row[i] for row in rows] for i, name in enumerate(table.columns)}


def choose_roles(
    table: Table, options: TableOptions, sample: dict[str, list[Any]], *, need_labels: bool = True
) -> Roles:
    """Find the columns that are meant.

    Args:
        table: The table.
        options: What the user says of it.
        sample: From :func:`head`.
        need_labels: Whether there must be labels.

    Raises:
        InputError: A column that is not there, or none that can be meant; names those that are.
    """
    for name in (*options.text, *options.labels, options.id, options.split):
        if name is not None:
            _check_there(table, name)
    guessed = []
    text, labels = options.text, options.labels
    if not text:
        text = _by_name(table, _TITLES)[:1] + _by_name(table, _TEXT)[:1]
        guessed.append("text")
    if not labels:
        labels = _by_name(table, _LABELS)[:1]
        guessed.append("labels")
    for what, found, option in (("text", text, "--text"), ("labels", labels, "--labels")):
        if not found and (need_labels or what == "text"):
            raise InputError(
                f"{table.path}: which column holds the {what}? Say so ({option} NAME); the columns "
                f"are {_shown(table.columns)}"
            )
    point_id, split = options.id, options.split
    if point_id is None and (names := _by_name(table, _IDS)):
        point_id = names[0]
        guessed.append("id")
    if split is None and options.test_share is None and (names := _by_name(table, _SPLITS)):
        split = names[0]
        guessed.append("split")
    both = sorted({*text} & {*labels})
    if both:
        raise InputError(
            f"{table.path}: column {both[0]!r} is to be text and labels; name another for one of "
            "them (--text, --labels)"
        )
    if len(labels) > 1 and all(_is_indicator(sample[name]) for name in labels):
        raise InputError(
            f"{table.path}: the columns {_shown(labels)} hold nothing but 0 and 1, expected names "
            "of labels; make one column of them that holds the names of the columns with 1"
        )
    separated = tuple((name, _separator(options.separator, sample[name], name)) for name in labels)
    return Roles(text, separated, point_id, split, tuple(guessed))


def _separator(given: str | None, values: list[Any], column: str) -> str | None:
    if given == NO_SEPARATOR:
        return None
    return guessed_separator(values, column) if given is None else given


def _is_indicator(values: list[Any]) -> bool:
    told = {str(value).strip().lower() for value in values if value is not None} - {""}
    return bool(told) and told <= {"0", "1", "0.0", "1.0", "true", "false"}


def _by_name(table: Table, known: Sequence[str]) -> tuple[str, ...]:
    """Columns of these names, in the order of the names; capitals do not matter."""
    lower = {name.lower(): name for name in table.columns}
    return tuple(lower[name] for name in known if name in lower)


def _check_there(table: Table, name: str) -> None:
    if name not in table.columns:
        hint = did_you_mean(name, table.columns)
        raise InputError(
            f"{table.path} has no column {name!r}; it has {_shown(table.columns)}{hint}"
        )


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(f"{name!r:.60}" for name in names[:20]) + more
