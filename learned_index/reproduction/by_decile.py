"""Values by how often labels were trained: rows of a table, and lines over the deciles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from learned_index.plotting import (
    GREY,
    Series,
    draw_series,
    horizontal_lines,
    new_figure,
    save_figure,
    titled,
)
from learned_index.reproduction.results import Row
from learned_index.reproduction.study import Study, interval
from learned_index.types import Int64Array

Ends: TypeAlias = tuple[float, float, float]
"""A mean and the ends of its interval; NaN where there is nothing."""


def by_decile(values_ST: Any, group_T: Int64Array, study: Study) -> list[Ends]:
    """Return mean and interval of the values of each group of labels.

    Args:
        values_ST: Trainings x values.
        group_T: Group of the label that each value belongs to.
        study: Tells how many groups there are.
    """
    groups = range(len(study.group_names))
    return [interval(values_ST[:, group_T == group]) for group in groups]


def decile_rows(
    named: Mapping[str, Any], name: str, ends: Sequence[Ends], study: Study, **more: Sequence[Any]
) -> list[Row]:
    """Return a row of plain values for each group.

    Args:
        named: What stands first in every row.
        name: Of the mean.
        ends: Of each group.
        study: Tells how often the labels of each group were trained.
        **more: Further columns, a value for each group.
    """
    return [
        {
            **named,
            "decile": group + 1,
            "training points": study.group_names[group].split("\n")[1],
            **{column: values[group] for column, values in more.items()},
            name: mean,
            "low": low,
            "high": high,
        }
        for group, (mean, low, high) in enumerate(ends)
    ]


def draw_by_decile(
    study: Study,
    lines: Mapping[str, Sequence[Ends]],
    paths: Sequence[Path],
    *,
    title: str,
    below: str,
    unit: str,
    top: float | None,
    bold: Sequence[str] | None = None,
    reference: tuple[str, float] | None = None,
) -> None:
    """Draw lines over the deciles, with their intervals, from zero.

    Args:
        study: Tells the names of the groups.
        lines: Name -> mean and interval of each group.
        paths: The files.
        title: Over the picture.
        below: What the numbers are of.
        unit: Name of the values.
        top: Where the axis ends; None: above the highest value.
        bold: Lines that have their intervals; None: all.
        reference: Name and place of a dashed line.
    """
    places = list(range(len(study.group_names)))
    series = {
        name: Series(places, *(list(part) for part in zip(*ends, strict=True)))
        for name, ends in lines.items()
    }
    figure, (axes,) = new_figure(width=7.6, height=4.4 if len(lines) < 5 else 5.0)
    titled(figure, title, below=below)
    highest = np.nanmax([line.high for line in series.values()])
    axes.set_ylim(0, 1.12 * highest if top is None else top)
    axes.set_xlim(-0.3, len(places) - 0.8)
    axes.set_xticks(places, study.group_names, size=8)
    axes.set_xlabel("decile of labels, most frequent first; below: training points of each")
    axes.set_ylabel(unit)
    horizontal_lines(axes)
    if reference is not None:
        axes.axhline(reference[1], color=GREY, linewidth=1, linestyle="--")
        axes.annotate(
            reference[0], (places[-1] + 0.15, reference[1]), (0, 3), size=8, color=GREY,
            textcoords="offset points", ha="right",
        )  # fmt: skip
    draw_series(axes, series, intervals="bars", bold=tuple(lines) if bold is None else bold)
    save_figure(figure, *paths)
