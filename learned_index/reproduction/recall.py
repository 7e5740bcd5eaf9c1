"""Recall at every size of the answer (figure 5, left) and by label frequency (right)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.comparison.reference import DEPTH
from learned_index.metrics import Float64Array, canonical_truth, hit_matrix
from learned_index.plotting import (
    Series,
    draw_series,
    horizontal_lines,
    new_figure,
    save_figure,
    titled,
)
from learned_index.reproduction.answers import STAGE_2, TITLES, WHOLE, Answered, answers, failures
from learned_index.reproduction.by_decile import by_decile, decile_rows, draw_by_decile
from learned_index.reproduction.results import Made, Row
from learned_index.reproduction.study import Study, interval
from learned_index.reproduction.tables import SETTINGS
from learned_index.types import Int64Array

WITH_INTERVALS = (1, 2, 3, 5, 10, 20, 30, 50, 75, 100)
"""Sizes whose recall has an interval; the others have the mean alone."""
OURS = (TITLES[STAGE_2], TITLES[WHOLE])


def recall_at_every_size(ids_NK: Int64Array, truth_NL: sp.csr_matrix) -> Float64Array:
    """Recall of each point's labels at every size of the answer.

    Args:
        ids_NK: Labels found, best first, padded with -1.
        truth_NL: True labels.

    Returns:
        float64 M x K, percent, of the M points that have a label: column k - 1 is the mean of R@k.
    """
    counts_N = np.diff(truth_NL.indptr)
    found_NK = np.cumsum(hit_matrix(ids_NK, truth_NL), axis=1)
    labelled = counts_N > 0
    return np.asarray(100.0 * found_NK[labelled] / counts_N[labelled, None])


def found_pairs(ids_NK: Int64Array, truth_NL: sp.csr_matrix) -> npt.NDArray[np.bool_]:
    """Whether each pair of point and true label was found.

    Args:
        ids_NK: Labels found, best first, padded with -1.
        truth_NL: True labels.

    Returns:
        bool T, in the order of the rows of the truth and of their labels.
    """
    truth = canonical_truth(truth_NL)
    hits_NK = hit_matrix(ids_NK, truth)
    found = sp.csr_matrix(
        (np.ones(int(hits_NK.sum())), (np.nonzero(hits_NK)[0], ids_NK[hits_NK])), shape=truth.shape
    )
    rows_T = np.repeat(np.arange(truth.shape[0]), np.diff(truth.indptr))
    return np.asarray(found[rows_T, truth.indices]).ravel() > 0


def figure_5_left(study: Study) -> Made:
    """R@k for k from 1 to 100 of every method."""
    found = answers(study)
    rows: list[Row] = []
    lines: dict[str, Series] = {}
    for each in found:
        if each.error is None:
            lines[each.title] = _curve(each, study, rows)

    def draw(paths: Sequence[Path]) -> None:
        figure, (axes,) = new_figure(width=8.6, height=5.0)
        titled(figure, "Recall at every size of the answer", below=_below(study))
        axes.set_xscale("log")
        axes.set_xticks(WITH_INTERVALS, [str(size) for size in WITH_INTERVALS])
        axes.minorticks_off()
        axes.set_xlim(1, DEPTH)
        axes.set_ylim(0, 100)
        horizontal_lines(axes)
        axes.set_xlabel("labels in the answer, k")
        axes.set_ylabel("R@k: true labels of a point found (%)")
        draw_series(axes, lines, bold=OURS)
        save_figure(figure, *paths)

    return Made(
        rows=rows,
        draw=draw if rows else None,
        caption=f"R@k, mean over points with a label, percent; {study.spread()} at "
        f"k = {', '.join(map(str, WITH_INTERVALS))}. {SETTINGS}",
        failed=failures(found),
    )


def _below(study: Study, over: str = "points") -> str:
    return (
        f"{study.below}\nStage 2 and the whole model have their {study.spread(over)}; those of the "
        "others are in the CSV file."
    )


def _curve(found: Answered, study: Study, rows: list[Row]) -> Series:
    values_SNK = np.stack([recall_at_every_size(ids, study.truth) for ids in found.ids])
    means = values_SNK.mean(axis=(0, 1))
    ends = {k: interval(values_SNK[:, :, k - 1]) for k in WITH_INTERVALS}
    for k, mean in enumerate(means.tolist(), start=1):
        _, low, high = ends.get(k, (mean, None, None))
        rows.append({"method": found.title, "k": k, "recall": mean, "low": low, "high": high})
    sizes = np.arange(1, DEPTH + 1)
    # Between the sizes that have one, the interval is drawn as wide as beside it.
    below, above = (
        np.interp(sizes, list(ends), [means[k - 1] - end[side] for k, end in ends.items()])
        for side in (1, 2)
    )
    return Series(
        sizes.tolist(), means.tolist(), (means - below).tolist(), (means - above).tolist()
    )


def figure_5_right(study: Study) -> Made:
    """R@100 of the (point, label) pairs of each decile of labels, of every method."""
    found = answers(study)
    rows: list[Row] = []
    lines = {}
    group_T = study.groups[canonical_truth(study.truth).indices]
    pairs = [int((group_T == group).sum()) for group in range(len(study.group_names))]
    for each in found:
        if each.error is None:
            hits_ST = 100.0 * np.stack([found_pairs(ids, study.truth) for ids in each.ids])
            lines[each.title] = by_decile(hits_ST, group_T, study)
            named = {"method": each.title, "trainings": len(each.ids)}
            rows += decile_rows(named, f"R@{DEPTH}", lines[each.title], study, pairs=pairs)

    def draw(paths: Sequence[Path]) -> None:
        draw_by_decile(
            study,
            lines,
            paths,
            title="Recall by how often a label was trained",
            below=_below(study, "pairs"),
            unit=f"R@{DEPTH}: true (point, label) pairs found (%)",
            top=100.0,
            bold=OURS,
        )

    return Made(
        rows=rows,
        draw=draw if rows else None,
        caption=f"Labels in ten groups of equal size by training points. R@{DEPTH}: found pairs of "
        f"point and true label / all pairs, percent; {study.spread('pairs')}. {SETTINGS}",
        failed=failures(found),
    )
