"""Lines for a terminal of 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import click
from rich.cells import cell_len, set_cell_size

WIDTH = 79
_INDENT = "  "
_HEADING = 10
_KEY = 30
"""Most columns of the terminal for the keys of labels."""
_GLUE = "\x00"
"""Stands for a blank at which no line ends; no item holds it."""


def cut(text: str, width: int) -> str:
    """One line of a text in at most so many columns; what was cut off is an ellipsis.

    White space becomes single blanks, and what moves the cursor a question mark.
    """
    line = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    if cell_len(line) <= width:
        return line
    return set_cell_size(line, width - 1).rstrip() + "…"


def say(heading: str, told: str, *, indent: str = _INDENT, width: int = _HEADING) -> None:
    """Print what is told, wrapped, behind a short heading in so many columns."""
    first, others = f"{indent}{heading:{width}}", indent + " " * width
    lines = textwrap.fill(
        told, WIDTH, initial_indent=first, subsequent_indent=others, break_on_hyphens=False
    )
    click.echo(lines.replace(_GLUE, " "))


def say_items(heading: str, items: list[str]) -> None:
    """Print items with commas between them; a line ends behind an item and not inside it."""
    say(heading, ", ".join(item.replace(" ", _GLUE) for item in items))


def say_cut(start: str, text: str) -> None:
    """Print a line that begins with ``start``, and as much of a text as fits behind it."""
    click.echo(start + cut(text, WIDTH - len(start)))


def say_rows(heading: str, rows: list[tuple[str, str]]) -> None:
    """Print a short value and a text in each line, behind a heading of the first."""
    for number, (value, text) in enumerate(rows):
        say_cut(f"{_INDENT}{heading if number == 0 else '':{_HEADING}}{value}  ", text)


def say_columns(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns, the second of which holds numbers; long first and last ones are cut.

    Args:
        headings: Three.
        rows: Of three cells each.
    """
    widths = [
        max((cell_len(cut(row[column], _KEY)) for row in rows), default=0) for column in (0, 1)
    ]
    widths = [max(width, len(name)) for width, name in zip(widths, headings, strict=False)]
    for first, number, last in [headings, *rows]:
        start = f"{_padded(cut(first, widths[0]), widths[0])}  {number:>{widths[1]}}  "
        click.echo(start + cut(last, WIDTH - sum(widths) - 4))


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cell_len(text))


def named(label: str, key: str) -> str:
    """A label's name, with its key where that is another one."""
    return label if label == key else f"{label}  ({key})"
