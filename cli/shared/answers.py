"""Answers on the screen: names first, then what the model thinks of each, in 80 columns."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import click
from rich.cells import cell_len, chop_cells

from learned_index.cli.shared.lines import WIDTH

_RANK = 4
"""Columns of the rank before a name."""
COLUMNS = {
    "probability": ("probability", ".3f"),
    "score": ("score", ".4f"),
    "index_p": ("index p", ".3f"),
    "ranker_q": ("ranker q", "+.2f"),
}
"""What is told of an answer: heading and format, by the name in the JSON."""


def print_heads(names: Sequence[str]) -> None:
    """Print the headings of columns above the numbers."""
    click.echo(" " * (WIDTH - _width(names)) + "".join(_right(COLUMNS[n][0], n) for n in names))


def print_row(rank: int, name: str, values: dict[str, float | None]) -> None:
    """Print one answer; a long name goes on below.

    Args:
        rank: From 1.
        name: The label.
        values: Numbers by the names of :data:`COLUMNS`, in the order of the columns.
    """
    room = WIDTH - _width(list(values)) - _RANK - 2
    first, *others = _folded(name, room)
    numbers = "".join(_right(_number(value, n), n) for n, value in values.items())
    click.echo(f"{rank:{_RANK}d}  {first}{' ' * (room - cell_len(first))}{numbers}")
    for line in others:
        click.echo(" " * (_RANK + 2) + line)


def _number(value: float | None, name: str) -> str:
    """A number in its column; a dash where there is none."""
    return "-" if value is None or not math.isfinite(value) else format(value, COLUMNS[name][1])


def _right(text: str, name: str) -> str:
    return f"{text:>{_width([name])}}"


def _width(names: Sequence[str]) -> int:
    return sum(2 + max(len(COLUMNS[name][0]), 7) for name in names)


def _folded(text: str, width: int) -> list[str]:
    """A text in lines of so many columns."""
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    if cell_len(line) == len(line):
        return textwrap.wrap(line, width) or [""]
    return chop_cells(line, width) or [""]
