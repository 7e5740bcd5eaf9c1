"""Charts as SVG: scales, ticks, lines, dots, bars; colours and fonts are those of the page.

Every text is escaped by the XML writer. Sizes are in the units of the view box, which a phone
shows at nearly their own size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

WIDTH, HEIGHT = 440.0, 280.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 14.0, 14.0, 50.0
N_COLOURS = 6
"""Colours of series, as style sheets define them: ``s1`` to ``s6``."""


@dataclass(frozen=True)
class Axis:
    """Maps values to a length.

    Attributes:
        low: Value at its start.
        high: Value at its end.
        title: What it tells, with the unit.
        log: Whether it is logarithmic.
        labels: Texts at values; None: round numbers are chosen.
    """

    low: float
    high: float
    title: str
    log: bool = False
    labels: Sequence[tuple[float, str]] | None = None

    def place(self, value: float) -> float:
        """Where a value lies, 0 at the start and 1 at the end; values beyond are moved to these."""
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log10(low), math.log10(high), math.log10(max(value, 1e-300))
        share = (at - low) / (high - low) if high > low else 0.5
        return min(max(share, 0.0), 1.0)

    def ticks(self) -> list[tuple[float, str]]:
        """Values with their texts."""
        if self.labels is not None:
            return list(self.labels)
        values = _powers(self.low, self.high) if self.log else _round(self.low, self.high)
        return [(value, number_text(value)) for value in values]


def spanning(
    values: Sequence[float],
    title: str,
    *,
    zero: bool = False,
    log: bool = False,
    least: float = 0.0,
    high: float | None = None,
) -> Axis:
    """An axis over some values, with a little room at both ends.

    Args:
        values: At least one.
        title: Of the axis.
        zero: Whether it begins at 0.
        log: Whether it is logarithmic; values of 0 or less are left out.
        least: Smallest span, so that noise looks like noise.
        high: Its end; None: the largest value.
    """
    kept = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
    first, last = (min(kept), max(kept)) if kept else (1.0, 1.0)
    if log:
        return Axis(first / 1.3, max(last, first) * 1.3, title, log=True)
    if zero:
        first = min(first, 0.0)
    if last - first < least:
        middle = (first + last) / 2
        first, last = middle - least / 2, middle + least / 2
    room = 0.06 * (last - first or 1.0)
    start = first if zero else first - room
    return Axis(start, last + room if high is None else high, title)


def _round(low: float, high: float) -> list[float]:
    """About five round numbers between two others."""
    rough = (high - low) / 5 or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * each for each in (1, 2, 5, 10) if power * each >= rough)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def _powers(low: float, high: float) -> list[float]:
    exponents = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
    found = [10.0**exponent for exponent in exponents]
    if len(found) >= 3:
        return found
    around = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine = [each * 10.0**exponent for exponent in around for each in (1, 2, 5)]
    return [value for value in fine if low <= value <= high] or found


def number_text(value: float) -> str:
    """A number of an axis: thousands with commas, no zeros at the end."""
    if value != 0 and abs(value) < 0.001:
        return f"{value:.0e}"
    return f"{value:,.10g}"


@dataclass
class Chart:
    """A chart that is drawn piece by piece.

    Args:
        x: The axis below.
        y: The axis at the left; None: there is none, and rows are placed by :meth:`row`.
        title: What the picture shows, for those who do not see it.
        height: Of the view box.
        left: Room left of the plot.
    """

    x: Axis
    y: Axis
    title: str
    height: float = HEIGHT
    left: float = LEFT
    root: ET.Element = field(init=False)

    def __post_init__(self) -> None:
        view = f"0 0 {WIDTH:g} {self.height:g}"
        self.root = ET.Element("svg", {"viewBox": view, "role": "img", "aria-label": self.title})
        ET.SubElement(self.root, "title").text = self.title
        self._axes()

    # -- places ----------------------------------------------------------------------------------

    def at_x(self, value: float) -> float:
        """Where a value of the x axis lies."""
        return self.left + self.x.place(value) * (WIDTH - self.left - RIGHT)

    def at_y(self, value: float) -> float:
        """Where a value of the y axis lies."""
        return self.height - BOTTOM - self.y.place(value) * (self.height - TOP - BOTTOM)

    def _axes(self) -> None:
        bottom, right = self.height - BOTTOM, WIDTH - RIGHT
        for value, text in self.y.ticks():
            y = self.at_y(value)
            self.segment((self.left, y), (right, y), "grid")
            self.text(text, self.left - 6, y + 4, "tick end")
        for value, text in self.x.ticks():
            x = self.at_x(value)
            self.segment((x, bottom), (x, bottom + 4), "axis")
            for number, line in enumerate(text.split("\n")):
                self.text(line, x, bottom + 15 + 12 * number, "tick middle")
        self.segment((self.left, bottom), (right, bottom), "axis")
        self.text(self.x.title, (self.left + right) / 2, self.height - 5, "label middle")
        if self.y.title:
            middle = (TOP + bottom) / 2
            turned = {"transform": f"translate(12 {middle:.1f}) rotate(-90)"}
            self._add("text", turned | {"class": "label middle"}).text = self.y.title

    # -- marks -----------------------------------------------------------------------------------

    def _add(self, name: str, attributes: dict[str, str]) -> ET.Element:
        return ET.SubElement(self.root, name, attributes)

    def text(self, text: str, x: float, y: float, kind: str) -> None:
        """Write a text at a place of the view box."""
        self._add("text", {"x": f"{x:.1f}", "y": f"{y:.1f}", "class": kind}).text = text

    def segment(self, start: tuple[float, float], end: tuple[float, float], kind: str) -> None:
        """Draw a straight line between two places of the view box."""
        (x1, y1), (x2, y2) = start, end
        ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
        self._add("line", {name: f"{at:.1f}" for name, at in ends.items()} | {"class": kind})

    def line(self, points: Sequence[tuple[float, float]], kind: str) -> None:
        """Draw a line through values."""
        at = " ".join(f"{self.at_x(x):.1f},{self.at_y(y):.1f}" for x, y in points)
        self._add("polyline", {"points": at, "class": f"line {kind}"})

    def dot(self, x: float, y: float, kind: str, *, radius: float = 3.5, told: str = "") -> None:
        """Draw a dot at values; ``told`` is shown where a pointer rests on it."""
        place = {"cx": f"{self.at_x(x):.1f}", "cy": f"{self.at_y(y):.1f}", "r": f"{radius:.1f}"}
        dot = self._add("circle", place | {"class": f"dot {kind}"})
        if told:
            ET.SubElement(dot, "title").text = told

    def bar(self, x: float, y: float, kind: str, *, width: float, told: str = "") -> None:
        """Draw a bar from the axis to a value, of a width in the view box."""
        top, bottom = self.at_y(y), self.height - BOTTOM
        box = {
            "x": self.at_x(x) - width / 2,
            "y": top,
            "width": width,
            "height": max(bottom - top, 0.0),
        }
        bar = self._add("rect", {n: f"{v:.1f}" for n, v in box.items()} | {"class": f"bar {kind}"})
        if told:
            ET.SubElement(bar, "title").text = told

    def whisker(self, x: float, low: float, high: float) -> None:
        """Draw an interval of y at a value of x."""
        place = self.at_x(x)
        self.segment((place, self.at_y(low)), (place, self.at_y(high)), "whisker")

    def to_text(self) -> str:
        """The chart as a part of an HTML page."""
        return ET.tostring(self.root, encoding="unicode")


def series(number: int) -> str:
    """The class of the colour of a series, counted from 0."""
    return f"s{number % N_COLOURS + 1}"
