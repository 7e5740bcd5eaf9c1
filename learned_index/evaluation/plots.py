"""Pictures of an analysis and of an ablation: PNG and SVG files that appear when they are whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from learned_index.evaluation.analysis import IndexAnalysis
from learned_index.plotting import (
    BLUE,
    COLOURS,
    horizontal_lines,
    new_figure,
    save_figure,
    titled,
)

NARROWEST = 2.0
"""Percentage points that an axis of a sweep shows at least, so that noise looks like noise."""


def plot_analysis(analysis: IndexAnalysis, path: Path) -> None:
    """Draw recall by group, clusters per label by group, and the histogram of edge weights.

    Several graphs (an ensemble) are drawn beside each other in the second panel and as lines in
    the third.

    Args:
        analysis: What to draw.
        path: The PNG.
    """
    figure, (left, middle, right) = new_figure(3)
    groups = np.arange(1, len(analysis.group_sizes) + 1)
    recall = [np.nan if value is None else value for value in analysis.recall]
    left.bar(groups, recall, color=BLUE)
    left.set_ylabel(f"R@{analysis.k}: true (point, label) pairs found (%)")
    left.set_ylim(0, 105)
    for group, value in zip(groups, recall, strict=True):
        text = "none" if np.isnan(value) else f"{value:.0f}"
        left.text(group, 0 if np.isnan(value) else value, text, ha="center", va="bottom", size=8)
    n_graphs = len(analysis.graphs)
    width = 0.8 / n_graphs
    for number, graph in enumerate(analysis.graphs):
        place = groups + (number - (n_graphs - 1) / 2) * width
        name = f"model {number + 1}"
        colour = COLOURS[number % len(COLOURS)]
        middle.bar(place, graph.clusters_per_label, width, color=colour, label=name)
        bins = graph.distribution
        right.stairs(bins.bin_counts, bins.bin_edges, color=colour, fill=n_graphs == 1, label=name)
    middle.set_ylabel(f"clusters per label (edges above {analysis.edge_threshold:g})")
    # "1-4 x" below each group: how often its labels were trained.
    counts = [f"{low}" if low == high else f"{low}-{high}" for low, high in analysis.group_counts]
    for axes in (left, middle):
        axes.set_xticks(groups, [f"{g}\n{c}" for g, c in zip(groups, counts, strict=True)], size=7)
        axes.set_xlabel("labels by frequency, most frequent first; below: training points each")
    if any(graph.distribution.n_edges for graph in analysis.graphs):
        right.set_yscale("log")
    right.set_xlabel("edge weight")
    right.set_ylabel("edges")
    horizontal_lines(left, middle, right)
    if n_graphs > 1:
        middle.legend(frameon=False)
    save_figure(figure, path)


def plot_sweep(
    values: Sequence[float],
    series: Mapping[str, Sequence[float]],
    *paths: Path,
    label: str,
    log: bool = False,
    reference: Mapping[str, float] | None = None,
    title: str = "",
    below: str = "",
) -> None:
    """Draw metrics against the value of one parameter, one panel each.

    Args:
        values: The parameter's values, one for each row.
        series: Name of the metric -> its values in percent.
        *paths: The files, PNG or SVG.
        label: What the parameter is, below the panels.
        log: Logarithmic axis of values.
        reference: Name of the metric -> value drawn as a dashed line.
        title: Over the panels; none where empty.
        below: What the numbers are of, in small letters.
    """
    figure, panels = new_figure(len(series), width=4.2, height=3.6)
    titled(figure, title, below=below)
    order = np.argsort(values, kind="stable")
    for number, (axes, (name, metric)) in enumerate(zip(panels, series.items(), strict=True)):
        x, y = np.asarray(values, float)[order], np.asarray(metric, float)[order]
        axes.plot(x, y, marker="o", color=COLOURS[number % len(COLOURS)])
        if reference is not None:
            axes.axhline(reference[name], linestyle="--", linewidth=1, color="#555555")
        if log:
            axes.set_xscale("log")
        axes.set_xticks(x, [f"{value:g}" for value in x])
        axes.minorticks_off()
        axes.set_xlabel(label)
        axes.set_ylabel(f"{name} (%)")
        axes.grid(visible=True, linewidth=0.4, alpha=0.5)
        axes.spines[["top", "right"]].set_visible(False)
        shown = y if reference is None else np.append(y, reference[name])
        middle, half = (shown.max() + shown.min()) / 2, 0.6 * (shown.max() - shown.min())
        half = max(half, NARROWEST / 2)
        axes.set_ylim(middle - half, middle + half)
    save_figure(figure, *paths)


def plot_build_up(
    names: Sequence[str],
    series: Mapping[str, Sequence[float]],
    *paths: Path,
    title: str = "",
    below: str = "",
) -> None:
    """Draw the rows of a build-up table as dots with their values, one panel for each metric.

    Args:
        names: Names of the rows, from top to bottom.
        series: Name of the metric -> its values in percent.
        *paths: The files, PNG or SVG.
        title: Over the panels; none where empty.
        below: What the numbers are of, in small letters.
    """
    height = 1.3 + 0.36 * len(names) + (0.5 if title else 0.0)
    figure, panels = new_figure(len(series), width=3.6, height=height, sharey=True)
    titled(figure, title, below=below)
    rows = np.arange(len(names))
    for number, (axes, (metric, values)) in enumerate(zip(panels, series.items(), strict=True)):
        numbers = np.asarray(values, float)
        # Dots, not bars: rows differ in the second digit, and the axis need not begin at zero.
        axes.plot(numbers, rows, "o", color=COLOURS[number % len(COLOURS)], markersize=6)
        for row, value in zip(rows, numbers, strict=True):
            axes.annotate(
                f"{value:.2f}", (value, row), (7, 0), textcoords="offset points",
                va="center", size=8,
            )  # fmt: skip
        low, high = float(np.nanmin(numbers)), float(np.nanmax(numbers))
        room = max(high - low, NARROWEST)
        axes.set_xlim(low - 0.1 * room, high + 0.35 * room)
        axes.set_yticks(rows, names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.grid(visible=True, linewidth=0.4, alpha=0.5)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel(f"{metric} (%)")
    save_figure(figure, *paths)


def plot_lines(
    series: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], path: Path, *, label: str
) -> None:
    """Draw several lines for each metric, one panel a metric.

    Args:
        series: Name of the metric -> name of the line -> its points (place, percent).
        path: The PNG.
        label: What the places are, below the panels.
    """
    figure, panels = new_figure(len(series), height=3.6)
    for axes, (metric, lines) in zip(panels, series.items(), strict=True):
        for number, (name, points) in enumerate(lines.items()):
            colour = COLOURS[number % len(COLOURS)]
            axes.plot(*zip(*points, strict=True), marker="o", color=colour, label=name)
        axes.set_xlabel(label)
        axes.set_ylabel(f"{metric} (%)")
        axes.grid(visible=True, linewidth=0.4, alpha=0.5)
    panels[0].legend(frameon=False)
    save_figure(figure, path)
