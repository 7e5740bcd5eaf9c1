"""The recall-latency plot of a comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from learned_index.evaluation.compare import NEIGHBOUR_RECALL, TARGET_METRIC, Comparison
from learned_index.persistence import atomic_file

# Distinguishable with colour-blind eyes (Okabe and Ito), and by marker.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")

NARROWEST = 0.7
"""Part of the recall asked for below which the left panel ends."""


def plot_comparison(comparison: Comparison, path: Path) -> None:
    """Draw median single-query latency against recall, one line for each method.

    Left: recall of the true labels at 100. Right: recall of the exact 100 best classifiers, for
    the methods that search those. The setting shown in the table is ringed; the dashed line is
    the recall asked for. The PNG appears when it is whole.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    environment = comparison.environment
    for number, row in enumerate(comparison.rows):
        if row["error"] is not None:
            continue
        style = {
            "color": COLOURS[number % len(COLOURS)],
            "marker": MARKERS[number % len(MARKERS)],
            "zorder": 5 if row["method"] == "learned" else 3,
            "linewidth": 2.2 if row["method"] == "learned" else 1.4,
        }
        points = [point for point in comparison.curves if point["method"] == row["method"]]
        for axes, metric in ((left, TARGET_METRIC), (right, NEIGHBOUR_RECALL)):
            _draw(axes, points, row, metric=metric, style=style)
    target = environment["target_recall"] * environment["best_recall"]
    left.axvline(target, linestyle="--", linewidth=1, color="#555555")
    left.set_xlabel("R@100: true labels among the 100 best (%)")
    right.set_xlabel("recall of the exact 100 best classifiers (%)")
    left.set_ylabel("latency of one query, median (ms, one thread)")
    for axes in (left, right):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.grid(visible=True, which="both", linewidth=0.4, alpha=0.5)
        axes.margins(0.05)
    title = f"dashed: {100 * environment['target_recall']:g}% of the best recall"
    recalls = [point[TARGET_METRIC] for point in comparison.curves]
    # The interesting differences lie near the target; one quick setting would squeeze them.
    if recalls and min(recalls) < NARROWEST * target < max(recalls):
        left.set_xlim(left=NARROWEST * target)
        title += f"; settings under {100 * NARROWEST:g}% of it are left out"
    left.set_title(title, fontsize="medium")
    right.set_title("ringed: the setting in the table", fontsize="medium")
    figure.suptitle(
        f"{environment['n_labels']:,} labels, {environment['n_queries']:,} queries, "
        f"k = {environment['k']}; lower right is better"
    )
    handles, names = left.get_legend_handles_labels()
    if handles:
        figure.legend(handles, names, loc="outside right center", frameon=False)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png")


def _draw(
    axes: Any,
    points: list[dict[str, Any]],
    row: dict[str, Any],
    *,
    metric: str,
    style: dict[str, Any],
) -> None:
    points = [point for point in points if point[metric] is not None]
    if not points:
        return
    recalls = [point[metric] for point in points]
    latencies = [point["latency_ms_p50"] for point in points]
    axes.plot(recalls, latencies, markersize=5, label=row["method"], **style)
    axes.plot(
        [row[metric]],
        [row["latency_ms_p50"]],
        linestyle="none",
        marker="o",
        markersize=13,
        markerfacecolor="none",
        markeredgecolor=style["color"],
        markeredgewidth=1.5,
        zorder=6,
    )
