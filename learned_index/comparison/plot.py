"""The recall-cost plot of a comparison, with the Pareto front of each method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from learned_index.comparison.data import Comparison
from learned_index.comparison.operating import (
    COSTS,
    NEIGHBOUR_RECALL,
    TARGET_METRIC,
    Load,
    pareto_front,
)
from learned_index.comparison.settings import INDEX_CLASSIFIERS
from learned_index.plotting import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    MARKERS,
    ORANGE,
    new_figure,
    save_figure,
)

COLOURS = (BLACK, BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9", GREY)
"""Black is the learned index, which is measured first."""
NARROWEST = 0.7
"""Part of the recall asked for below which the left panels end."""


def plot_comparison(comparison: Comparison, path: Path) -> None:
    """Draw cost a query against recall: the Pareto front of each method as a line.

    Upper row: median latency of single queries; lower row: time a query in batches. Left: recall
    of the true labels at 100. Right: recall of the exact 100 best classifiers, for the methods
    that search those. Dashed lines search other classifiers than the index's. Settings off the
    front are faint dots. In the upper row the setting shown in
    the table is ringed; the dashed line is the recall asked for. The PNG appears when it is whole.
    """
    figure, found = new_figure(2, 2, width=6, height=4.5, sharex="col")
    panels = np.array(found).reshape(2, 2)
    for number, row in enumerate(comparison.rows):
        if row["error"] is not None:
            continue
        points = [point for point in comparison.curves if point["method"] == row["method"]]
        for line, load in enumerate(COSTS):
            for column, metric in enumerate((TARGET_METRIC, NEIGHBOUR_RECALL)):
                style = _style(number, row)
                _draw(panels[line, column], points, row, metric=metric, load=load, style=style)
    _label(panels, comparison)
    environment = comparison.environment
    figure.suptitle(
        f"{environment['n_labels']:,} labels, {environment['n_queries']:,} queries, "
        f"k = {environment['k']}; lower right is better"
    )
    handles, names = panels[0, 0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, names, loc="outside right center", frameon=False)
    save_figure(figure, path)


def _style(number: int, row: dict[str, Any]) -> dict[str, Any]:
    ours = row["method"].startswith(("learned", "engine", "model"))
    return {
        "color": COLOURS[number % len(COLOURS)],
        "marker": MARKERS[number % len(MARKERS)],
        "zorder": 5 if ours else 3,
        "linewidth": 2.2 if ours else 1.4,
        "linestyle": "-" if row["classifiers"] in (None, INDEX_CLASSIFIERS) else "--",
    }


def _label(panels: Any, comparison: Comparison) -> None:
    """Write titles and axes, and mark the recall asked for."""
    environment = comparison.environment
    target = environment["target_recall"] * environment["best_recall"]
    recalls = [point[TARGET_METRIC] for point in comparison.curves]
    title = f"dashed: {100 * environment['target_recall']:g}% of the best recall"
    # The interesting differences lie near the target; one quick setting would squeeze them.
    if recalls and min(recalls) < NARROWEST * target < max(recalls):
        panels[0, 0].set_xlim(left=NARROWEST * target)
        title += f"; settings under {100 * NARROWEST:g}% of it are left out"
    panels[0, 0].set_title(title, fontsize="medium")
    panels[0, 1].set_title("ringed: the setting in the table", fontsize="medium")
    panels[1, 0].set_xlabel("R@100: true labels among the 100 best (%)")
    panels[1, 1].set_xlabel("recall of the exact 100 best classifiers (%)")
    panels[0, 0].set_ylabel("one query, median (ms, one thread)")
    batch_size, threads = environment["batch_size"], environment["threads"]
    panels[1, 0].set_ylabel(f"a query in batches of {batch_size} (ms, {threads} threads)")
    for axes in panels.flat:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.grid(visible=True, which="both", linewidth=0.4, alpha=0.5)
        axes.margins(0.05)
    for axes in panels[:, 0]:
        axes.axvline(target, linestyle="--", linewidth=1, color="#555555")


def _draw(
    axes: Any,
    points: list[dict[str, Any]],
    row: dict[str, Any],
    *,
    metric: str,
    load: Load,
    style: dict[str, Any],
) -> None:
    front = pareto_front(points, metric=metric, load=load)
    if not front:
        return
    cost = COSTS[load]
    axes.plot(
        [point[metric] for point in points],
        [cost(point) for point in points],
        ".",
        markersize=3,
        alpha=0.4,
        color=style["color"],
    )
    axes.plot(
        [point[metric] for point in front],
        [cost(point) for point in front],
        markersize=5,
        label=row["method"],
        **style,
    )
    if load == "single":
        axes.plot(
            [row[metric]],
            [cost(row)],
            "o",
            markersize=13,
            markerfacecolor="none",
            markeredgecolor=style["color"],
            markeredgewidth=1.5,
            zorder=6,
        )
