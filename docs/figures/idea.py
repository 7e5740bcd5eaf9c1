"""Draw docs/figures/idea.png: how a query finds its labels.

Run: python docs/figures/idea.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

INK, FAINT, ACCENT, SECOND = "#22303c", "#b9c3cc", "#d1495b", "#2e6f9e"
QUERY_X, CLUSTER_X, LABEL_X = 1.1, 4.6, 8.6

CLUSTERS = [("cluster 1", 0.02), ("cluster 2", 0.85), ("cluster 3", 0.60), ("cluster 4", 0.01)]
LABELS = [
    "numpy.zeros",
    "scipy.linalg.solve",
    "scipy.sparse.linalg.spsolve",
    "scipy.sparse.linalg.cg",
    "scipy.sparse.csr_matrix",
    "scipy.signal.savgol_filter",
]
# (cluster, label, learned weight)
EDGES = [
    (0, 0, 0.9), (0, 1, 0.2), (1, 1, 0.6), (1, 2, 0.9), (1, 3, 0.4),
    (2, 2, 0.5), (2, 3, 0.7), (2, 4, 1.0), (3, 5, 0.9), (3, 4, 0.1),
]  # fmt: skip
BEAM = {1, 2}


def rows(n: int) -> list[float]:
    """Return n heights, evenly spread, the first on top."""
    return [5.15 - (i + 0.5) * 4.9 / n for i in range(n)]


def box(axes: plt.Axes, x: float, y: float, text: str, *, width: float, colour: str) -> None:
    """Draw a rounded box with a text in it, centred at (x, y)."""
    patch = FancyBboxPatch(
        (x - width / 2, y - 0.24), width, 0.48, boxstyle="round,pad=0.02,rounding_size=0.14",
        linewidth=1.4, edgecolor=colour, facecolor="white", zorder=3,
    )  # fmt: skip
    axes.add_patch(patch)
    axes.text(x, y, text, ha="center", va="center", fontsize=9.5, color=colour, zorder=4)


def arrow(
    axes: plt.Axes, start: tuple[float, float], end: tuple[float, float], width: float, colour: str
) -> None:
    """Draw an arrow whose width shows a weight."""
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=9 + 2 * width,
            linewidth=width,
            color=colour,
            shrinkA=0,
            shrinkB=0,
            zorder=2,
        )
    )


def draw(path: Path) -> None:
    """Draw the figure into ``path``."""
    figure, axes = plt.subplots(figsize=(11.4, 5.4), dpi=150)
    cluster_y, label_y = rows(len(CLUSTERS)), rows(len(LABELS))
    query_y = 2.7

    for (name, score), y in zip(CLUSTERS, cluster_y, strict=True):
        inside = score > 0.1
        start, end = (QUERY_X + 0.97, query_y), (CLUSTER_X - 0.72, y)
        arrow(axes, start, end, 0.8 + 2.6 * score, ACCENT if inside else FAINT)
        where = 0.62
        axes.text(
            start[0] + where * (end[0] - start[0]), start[1] + where * (end[1] - start[1]),
            f"{score:.2f}", fontsize=8.5, ha="center", va="center", zorder=5,
            color=ACCENT if inside else "#7b8791",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.2},
        )  # fmt: skip
        box(axes, CLUSTER_X, y, name, width=1.36, colour=ACCENT if inside else "#7b8791")

    reached: dict[int, list[int]] = {}
    for cluster, label, weight in EDGES:
        inside = cluster in BEAM
        if inside:
            reached.setdefault(label, []).append(cluster)
        start, end = (CLUSTER_X + 0.72, cluster_y[cluster]), (LABEL_X - 1.42, label_y[label])
        arrow(axes, start, end, 0.6 + 2.4 * weight, SECOND if inside else FAINT)
    for label, (name, y) in enumerate(zip(LABELS, label_y, strict=True)):
        box(axes, LABEL_X, y, name, width=2.76, colour=SECOND if label in reached else "#7b8791")

    box(axes, QUERY_X, query_y, "query  x = φ(text)", width=1.86, colour=INK)
    axes.text(
        QUERY_X, query_y - 0.5, "“solve a sparse\nlinear system”", ha="center", va="top",
        fontsize=9.5, style="italic", color=INK,
    )  # fmt: skip
    for x, title in (
        (QUERY_X, "encoder"),
        (CLUSTER_X, "router: keep the best clusters"),
        (LABEL_X, "shortlist, then classify"),
    ):
        axes.text(x, 5.62, title, ha="center", va="center", fontsize=11, weight="bold", color=INK)
    both = next(label for label, clusters in reached.items() if len(clusters) == 2)
    axes.annotate(
        "one label, two clusters:\nthe stronger path counts",
        xy=(LABEL_X + 1.4, label_y[both]), xytext=(LABEL_X + 1.75, label_y[both]),
        ha="left", va="center", fontsize=9, color=INK,
        arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.8, "linestyle": ":"},
    )  # fmt: skip
    axes.text(
        (QUERY_X + LABEL_X) / 2, -0.12,
        "score of a label = max over paths (cluster score × learned edge weight)"
        "  ×  σ(its classifier · x)",
        ha="center", va="center", fontsize=10.5, color=INK,
    )  # fmt: skip
    axes.set_xlim(0, 12.2)
    axes.set_ylim(-0.4, 5.9)
    axes.axis("off")
    figure.savefig(path, bbox_inches="tight", facecolor="white")
    plt.close(figure)


if __name__ == "__main__":
    draw(Path(__file__).with_suffix(".png"))
