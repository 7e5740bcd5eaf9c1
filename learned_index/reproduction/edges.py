"""The learned edges: their weights (figure 3), clusters of a label and what stays (figure 7)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from learned_index.errors import InputError
from learned_index.evaluation.edges import clusters_per_label, edge_distribution, label_overlap
from learned_index.index.learned_graph_index import LearnedGraphIndex
from learned_index.plotting import (
    BLUE,
    COLOURS,
    horizontal_lines,
    new_figure,
    save_figure,
    titled,
)
from learned_index.reproduction.by_decile import by_decile, decile_rows, draw_by_decile
from learned_index.reproduction.results import Made, Row
from learned_index.reproduction.study import EDGE_THRESHOLD, Study

N_BINS = 50


def learned_edges(index: LearnedGraphIndex) -> tuple[Any, Any]:
    """Return labels and weights of the edges, C x M.

    Raises:
        InputError: They were not learned.
    """
    if not index.is_graph_learned:
        raise InputError(
            "the index has the partition of stage 1 only: its edges were not learned; train with "
            "stage2_epochs above 0"
        )
    with torch.no_grad():
        weights = index.graph.weights().cpu().numpy()
    return index.graph.edge_labels_CM.cpu().numpy(), weights


def figure_3(study: Study) -> Made:
    """Weights of a cluster's edges by rank, and their distribution."""
    ranked, histograms = [], []
    for index in study.indexes:
        labels, weights = learned_edges(index)
        ranked.append(np.sort(np.where(labels >= 0, weights, 0.0), axis=1)[:, ::-1])
        histograms.append(edge_distribution(labels, weights, n_bins=N_BINS))
    weights_KM = np.concatenate(ranked)
    quartiles = np.quantile(weights_KM, [0.25, 0.5, 0.75], axis=0)
    mean = weights_KM.mean(axis=0)
    ranks = np.arange(1, weights_KM.shape[1] + 1)
    rows: list[Row] = [
        {"part": "rank", "rank": int(r), "mean": float(m), "quarter": a, "median": b, "three": c}
        for r, m, (a, b, c) in zip(ranks, mean, quartiles.T.tolist(), strict=True)
    ]
    counts = np.mean([each.bin_counts for each in histograms], axis=0)
    bins = histograms[0].bin_edges
    rows += [
        {"part": "histogram", "weight from": float(a), "weight to": float(b), "edges": float(n)}
        for a, b, n in zip(bins[:-1], bins[1:], counts, strict=True)
    ]

    def draw(paths: Sequence[Path]) -> None:
        figure, (left, right) = new_figure(2, width=4.9)
        titled(figure, "Weights of the learned edges", below=study.about)
        left.fill_between(
            ranks, quartiles[0], quartiles[2], color=BLUE, alpha=0.2, linewidth=0,
            label="half of the clusters",
        )  # fmt: skip
        left.plot(ranks, quartiles[1], color=BLUE, linewidth=2, label="median over clusters")
        left.plot(ranks, mean, color=COLOURS[1], linewidth=1.2, label="mean")
        left.set_xscale("log")
        left.xaxis.set_major_formatter("{x:g}")
        left.set_xlim(1, len(ranks))
        left.set_ylim(0, 1.02)
        left.set_xlabel("rank of the edge in its cluster")
        left.set_ylabel("edge weight, 0 to 1")
        left.legend(frameon=False, fontsize=8)
        right.stairs(counts, bins, color=BLUE, linewidth=1.5)
        right.set_yscale("log")
        right.set_xlim(0, 1)
        right.set_ylim(0.8, None)
        right.set_xlabel(f"edge weight, bins of {1 / N_BINS:g}")
        right.set_ylabel("edges in a bin (logarithmic)")
        horizontal_lines(left, right)
        save_figure(figure, *paths)

    shares = ", ".join(
        f"{100 * part:.1f} % of the edges hold {100 * share:g} % of the weight"
        for share, part in histograms[0].edges_for_weight.items()
    )
    return Made(
        rows=rows,
        draw=draw,
        caption=f"{histograms[0].n_edges:,} edges of an index. The heaviest {shares}; "
        f"{100 * histograms[0].share_at_1:.1f} % weigh 1. Unused places count as weight 0 in the "
        "left panel.",
    )


def _made(
    values: dict[str, Any],
    study: Study,
    *,
    title: str,
    unit: str,
    top: float | None,
    reference: tuple[str, float] | None = None,
    caption: str,
) -> Made:
    """Lines over the deciles of values of every label, trainings x labels."""
    lines = {}
    rows: list[Row] = []
    for name, values_SL in values.items():
        lines[name] = by_decile(values_SL, study.groups[: values_SL.shape[1]], study)
        rows += decile_rows({"what": name}, "mean", lines[name], study)

    def draw(paths: Sequence[Path]) -> None:
        below = f"{study.about}\nBars: {study.spread('labels')}."
        draw_by_decile(study, lines, paths, title=title, below=below, unit=unit, top=top,
                       reference=reference)  # fmt: skip

    return Made(rows=rows, draw=draw, caption=f"{caption} low and high: {study.spread('labels')}.")


def figure_7a(study: Study) -> Made:
    """Clusters that hold a label, by decile."""
    values = np.stack(
        [
            clusters_per_label(*learned_edges(index), index.n_labels, threshold=EDGE_THRESHOLD)
            for index in study.indexes
        ]
    )
    return _made(
        {"stage 2": values},
        study,
        title="Clusters of a label",
        unit=f"clusters with an edge above {EDGE_THRESHOLD:g}",
        top=None,
        reference=("stage 1", 1.0),
        caption=f"Mean number of clusters whose edge to a label weighs more than {EDGE_THRESHOLD:g}"
        ", over the labels of each decile; in stage 1 each label is in one.",
    )


def figure_7b(study: Study) -> Made:
    """Labels that their cluster of stage 1 still holds, by decile."""
    kept, strongest = [], []
    for index in study.indexes:
        own = index.cluster_of_label_L.cpu().numpy()
        found = label_overlap(*learned_edges(index), own)
        kept.append(100.0 * (found.own_weight_L > EDGE_THRESHOLD))
        strongest.append(100.0 * found.is_strongest_L)
    return _made(
        {
            f"edge above {EDGE_THRESHOLD:g}": np.stack(kept),
            "strongest edge": np.stack(strongest),
        },
        study,
        title="Edges of stage 1 that remain after stage 2",
        unit="labels whose stage-1 cluster holds them (%)",
        top=100.0,
        caption="Share of the labels of each decile whose edge from their cluster of stage 1 "
        f"weighs more than {EDGE_THRESHOLD:g} after stage 2, and of those whose strongest edge "
        "comes from there.",
    )
