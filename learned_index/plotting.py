"""The look of every picture: colours, titles, names beside their lines, files.

Colours are those of Okabe and Ito, which colour-blind eyes tell apart. An axis of amounts begins at
zero, or the values are dots. Files are the same bytes for the same numbers.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from learned_index.persistence import atomic_file
from learned_index.system.extras import require

BLACK, BLUE, ORANGE, GREEN = "#000000", "#0072B2", "#D55E00", "#009E73"
COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", "#56B4E9", "#E69F00", BLACK, "#7F7F7F")
GREY = "#7F7F7F"
"""Of what stands in the background."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
"""One more than colours, so that a pair comes again after 72 series only."""
FORMATS = ("png", "svg")
DPI = 150
"""Dots of an inch in PNG files."""
LETTERS_AN_INCH = 17.5
"""Small letters that an inch below a figure holds."""
_CLOSEST = 0.052
"""Least distance between two names beside an axis of 4 inches, as a part of its height."""


def new_figure(
    columns: int = 1, rows: int = 1, *, width: float = 5.2, height: float = 4.2, **shared: Any
) -> tuple[Any, list[Any]]:
    """Make a figure that needs no display.

    Args:
        columns: Panels beside one another.
        rows: Panels below one another.
        width: Of a panel, inches.
        height: Of a row of panels, inches.
        **shared: As ``Figure.subplots`` takes it.

    Returns:
        The figure and its panels, row by row.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    backend = require("matplotlib.backends.backend_agg", extra="report")
    figures = require("matplotlib.figure", extra="report")
    figure = figures.Figure(figsize=(width * columns, height * rows), dpi=DPI, layout="constrained")
    backend.FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False, **shared)
    return figure, list(panels.flat)


def horizontal_lines(*panels: Any) -> None:
    """Draw faint lines to read values by, and leave out the frame above and at the right."""
    for axes in panels:
        axes.grid(visible=True, axis="y", linewidth=0.4, alpha=0.5)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)


def titled(figure: Any, title: str, *, below: str = "") -> None:
    """Write a title over a figure, and below it what the numbers are of.

    Args:
        figure: With its panels drawn.
        title: One line.
        below: Data, points and uncertainty in small letters; lines that are longer than the figure
            is wide are wrapped.
    """
    if title:
        figure.suptitle(title, x=0.01, ha="left", fontsize="large", fontweight="bold")
    if below:
        most = int(LETTERS_AN_INCH * figure.get_size_inches()[0])
        lines = [part for line in below.split("\n") for part in textwrap.wrap(line, most)]
        figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=7.5, color="#444444")


class Series(NamedTuple):
    """A line of a plot.

    Attributes:
        x: Places.
        y: Values; NaN where there is none.
        low: Lower ends of the intervals, as many; None: there are none.
        high: Upper ends.
    """

    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


def draw_series(
    axes: Any, series: Mapping[str, Series], *, intervals: str = "band", bold: Sequence[str] = ()
) -> None:
    """Draw lines with their intervals, each with its name at its right end.

    Call it when the limits of the axes are set: names are moved apart by them.

    Args:
        axes: Where.
        series: Name -> its line.
        intervals: ``"band"`` behind the lines, or ``"bars"`` at the dots.
        bold: Names of lines that are drawn thicker; where there are any, only they have intervals.
    """
    for number, (name, line) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        style = {
            "color": colour,
            "linewidth": 2.4 if name in bold else 1.2,
            "linestyle": "-" if number < len(COLOURS) else "--",
        }
        many = len(line.x) > 25
        axes.plot(line.x, line.y, marker=None if many else MARKERS[number % len(MARKERS)],
                  markersize=4, zorder=4 if name in bold else 3, **style)  # fmt: skip
        if line.low is None or line.high is None or (bold and name not in bold):
            continue
        if intervals == "band":
            axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.15, linewidth=0)
        else:
            axes.vlines(line.x, line.low, line.high, color=colour, linewidth=1)
    name_lines(axes, {name: (line.x, line.y) for name, line in series.items()}, bold=bold)


def name_lines(
    axes: Any, lines: Mapping[str, tuple[Any, Any]], *, bold: Sequence[str] = ()
) -> None:
    """Write the names of lines behind their right ends, moved apart where they would overlap."""
    ends: list[tuple[float, str, str]] = []
    low, high = axes.get_ylim()
    for number, (name, (_, y)) in enumerate(lines.items()):
        known = [value for value in y if value == value]  # without NaN
        if known:
            place = (known[-1] - low) / (high - low)
            ends.append((place, name, COLOURS[number % len(COLOURS)]))
    gap = _CLOSEST * 4.0 / max(axes.get_figure().get_size_inches()[1], 1.0)
    for (_, name, colour), place, end in moved_apart(ends, gap):
        weight = "bold" if name in bold else "normal"
        axes.plot(
            [1.003, 1.03], [end, place], color=colour, linewidth=0.6, clip_on=False,
            transform=axes.transAxes,
        )  # fmt: skip
        axes.text(
            1.035, place, name, color=colour, fontsize=8, fontweight=weight, va="center",
            transform=axes.transAxes,
        )  # fmt: skip


def moved_apart(
    ends: Sequence[tuple[float, str, str]], gap: float
) -> Iterator[tuple[tuple[float, str, str], float, float]]:
    """Yield each end with a place at least ``gap`` from the others, in order, and its own place.

    Names that touch form a block around the mean of their ends; blocks that touch are joined.
    """
    blocks: list[list[tuple[float, str, str]]] = []
    for end in sorted(ends):
        blocks.append([end])
        while len(blocks) > 1 and _begin(blocks[-1], gap) < _begin(blocks[-2], gap) + gap * len(
            blocks[-2]
        ):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    for block in blocks:
        begin = _begin(block, gap)
        for number, end in enumerate(block):
            yield end, begin + number * gap, end[0]


def _begin(block: Sequence[tuple[float, str, str]], gap: float) -> float:
    """Place of the lowest name of a block."""
    return sum(end[0] for end in block) / len(block) - gap * (len(block) - 1) / 2


@contextmanager
def _same_bytes() -> Iterator[None]:
    """Names inside of SVG files that do not change from run to run."""
    matplotlib = require("matplotlib", extra="report")
    with matplotlib.rc_context({"svg.hashsalt": "learned-index"}):
        yield


def save_figure(figure: Any, *paths: Path) -> None:
    """Write a figure; each file appears when it is whole.

    Args:
        figure: The figure.
        *paths: Files, of the formats of their suffixes (:data:`FORMATS`).
    """
    for path in paths:
        form = path.suffix.removeprefix(".")
        metadata = {"Date": None} if form == "svg" else {"Software": None}
        with atomic_file(path) as temporary, _same_bytes():
            figure.savefig(temporary, format=form, metadata=metadata)
