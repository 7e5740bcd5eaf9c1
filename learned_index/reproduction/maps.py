"""Maps of the training points of some labels (figures 8 and 9)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from learned_index.elias.points import parts_of, take
from learned_index.encoding import dense_vectors
from learned_index.errors import InputError
from learned_index.evaluation.edges import clusters_per_label
from learned_index.evaluation.truth import truth_of
from learned_index.index.learned_graph_index import LearnedGraphIndex
from learned_index.plotting import COLOURS, GREY, MARKERS, new_figure, save_figure, titled
from learned_index.reproduction.edges import learned_edges
from learned_index.reproduction.results import Made, Row
from learned_index.reproduction.study import EDGE_THRESHOLD, Study
from learned_index.system.extras import require
from learned_index.types import Float32Array, Int64Array

N_LABELS = 6
LEAST_POINTS, MOST_POINTS = 8, 120
"""Training points of a label that is shown."""
N_BACKGROUND = 500
"""Other training points, drawn in grey: a place to lie in."""
PERPLEXITY = 20.0
COLOURED = 4
"""Clusters of a label that have a colour of their own; more are one colour."""


@dataclass(frozen=True)
class ShownLabel:
    """A label of a map.

    Attributes:
        label: Its id.
        rows: int64 T. Training points that have it.
        cluster_T: int64 T. Which of its clusters is the first one for each, see
            :func:`visited_clusters`.
        n_clusters: Clusters that hold it by an edge above the threshold.
    """

    label: int
    rows: Int64Array
    cluster_T: Int64Array
    n_clusters: int


def figure_8(study: Study) -> Made:
    """Training points of labels that several clusters hold."""
    return _map(study, several=True)


def figure_9(study: Study) -> Made:
    """Training points of labels that one cluster holds."""
    return _map(study, several=False)


def visited_clusters(index: LearnedGraphIndex, label: int, vectors_TD: Any) -> Int64Array:
    """Return the cluster of a label that is the first one for each point.

    That is the one with the largest logit, which orders a beam, of those that hold the label by an
    edge above the threshold. Scores would not tell them apart: several are cut off at 1.

    Args:
        index: Fitted.
        label: Its id; a cluster holds it.
        vectors_TD: The points.

    Returns:
        int64 T.
    """
    labels_CM, weights_CM = learned_edges(index)
    clusters, _ = np.nonzero((labels_CM == label) & (weights_CM > EDGE_THRESHOLD))
    logits_TE = index.project(vectors_TD) @ index.router.vectors()[clusters].T
    return np.asarray(clusters[logits_TE.argmax(axis=1)], dtype=np.int64)


def _map(study: Study, *, several: bool) -> Made:
    index, labels_NL = study.indexes[0], _training_labels(study)
    chosen = _chosen(study, labels_NL, several=several)
    rng = np.random.default_rng(0)
    shown_rows = np.unique(np.concatenate([labels_NL.indices_of(label) for label in chosen]))
    others = np.setdiff1d(np.arange(study.train.n_points), shown_rows)
    drawn = rng.permutation(others)[:N_BACKGROUND]
    rows_P = np.sort(np.concatenate([shown_rows, drawn]))
    study.say("vectors of the training points")
    x_PD = _vectors(study, rows_P)
    study.say("t-SNE")
    places_P2 = _embedded(index.project(x_PD))
    members = clusters_per_label(*learned_edges(index), index.n_labels, threshold=EDGE_THRESHOLD)
    shown = []
    for label in chosen:
        rows = labels_NL.indices_of(label)
        here = np.searchsorted(rows_P, rows)
        visited = visited_clusters(index, label, x_PD[here])
        shown.append(ShownLabel(label, here, visited, int(members[label])))
    rows_out = _rows(study, shown, places_P2, rows_P)
    title = (
        "Training points of labels that several clusters hold"
        if several
        else "Training points of labels that one cluster holds"
    )

    def draw(paths: Sequence[Path]) -> None:
        _draw(study, shown, places_P2, paths, title=title)

    return Made(
        rows=rows_out,
        draw=draw,
        caption=f"t-SNE (cosine, perplexity {PERPLEXITY:g}) of the vectors that the index routes, "
        f"training points of {len(shown)} labels drawn at random among those of {LEAST_POINTS} to "
        f"{MOST_POINTS} training points that "
        f"{'two or more clusters hold' if several else 'one cluster holds'} by an edge above "
        f"{EDGE_THRESHOLD:g}; grey: {len(drawn)} other points. Coloured by which of the "
        "label's clusters comes first in a point's beam. Distances of far groups mean nothing.",
    )


class _Columns:
    """Training points of each label."""

    def __init__(self, labels_NL: Any) -> None:
        self._columns = labels_NL.tocsc()

    def indices_of(self, label: int) -> Int64Array:
        """Rows that have a label, ascending."""
        start, end = self._columns.indptr[label : label + 2]
        return np.asarray(np.sort(self._columns.indices[start:end]), dtype=np.int64)

    def counts(self) -> Int64Array:
        """Rows of each label."""
        return np.asarray(np.diff(self._columns.indptr), dtype=np.int64)


def _vectors(study: Study, rows_P: Int64Array) -> Float32Array:
    """Vectors of some training points; only stored ones are read with all others."""
    encoder = study.model.encoder
    if any(part.kind == "precomputed" for part in parts_of(encoder)):
        return np.asarray(study.encode(encoder, study.train)[rows_P], dtype=np.float32)
    return dense_vectors(encoder, take(study.train.points, rows_P))


def _training_labels(study: Study) -> _Columns:
    return _Columns(truth_of(study.model, study.train))


def _chosen(study: Study, labels_NL: _Columns, *, several: bool) -> list[int]:
    """Labels to show, drawn with a fixed seed."""
    index = study.indexes[0]
    members = clusters_per_label(*learned_edges(index), index.n_labels, threshold=EDGE_THRESHOLD)
    counts = labels_NL.counts()[: index.n_labels]
    wanted = members >= 2 if several else members == 1
    fitting = np.flatnonzero(wanted & (counts >= LEAST_POINTS) & (counts <= MOST_POINTS))
    if not len(fitting):
        held = "two or more clusters hold" if several else "one cluster holds"
        raise InputError(
            f"no label of {LEAST_POINTS} to {MOST_POINTS} training points is there that {held} by "
            f"an edge above {EDGE_THRESHOLD:g}"
        )
    return sorted(np.random.default_rng(0).permutation(fitting)[:N_LABELS].tolist())


def _embedded(x_PD: Any) -> Any:
    """Places in the plane, float32 P x 2."""
    manifold = require("sklearn.manifold")
    perplexity = min(PERPLEXITY, max(2.0, (len(x_PD) - 1) / 3.5))
    return manifold.TSNE(
        n_components=2, metric="cosine", init="random", perplexity=perplexity, random_state=0
    ).fit_transform(x_PD)


def _rows(study: Study, shown: Sequence[ShownLabel], places: Any, rows_P: Int64Array) -> list[Row]:
    name = study.model.vocabulary.name
    return [
        {
            "label": name(each.label),
            "point": int(rows_P[row]),
            "x": float(places[row, 0]),
            "y": float(places[row, 1]),
            "cluster": int(cluster),
            "clusters of the label": each.n_clusters,
        }
        for each in shown
        for row, cluster in zip(each.rows, each.cluster_T, strict=True)
    ]


def _draw(
    study: Study, shown: Sequence[ShownLabel], places: Any, paths: Sequence[Path], *, title: str
) -> None:
    columns = min(3, len(shown))
    figure, panels = new_figure(columns, -(-len(shown) // columns), width=3.4, height=3.3)
    titled(figure, title, below=study.about)
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    for axes, each in zip(panels, shown, strict=False):
        axes.plot(*places.T, ".", color=GREY, alpha=0.25, markersize=2.5, markeredgewidth=0)
        kinds, counts = np.unique(each.cluster_T, return_counts=True)
        order = kinds[np.argsort(-counts, kind="stable")]
        for number, cluster in enumerate(order):
            here = places[each.rows[each.cluster_T == cluster]]
            last = number >= COLOURED
            axes.plot(
                *here.T, MARKERS[min(number, COLOURED)], markersize=5, alpha=0.9,
                color="#000000" if last else COLOURS[number], markeredgecolor="white",
                markeredgewidth=0.4,
                label=None if number > COLOURED else "others" if last
                else f"cluster {cluster} ({len(here)})",
            )  # fmt: skip
        held = f"{len(each.rows)} points, {each.n_clusters} cluster"
        held += "s" if each.n_clusters > 1 else ""
        axes.set_title(f"{_short(study.model.vocabulary.name(each.label))}\n{held}", fontsize=8.5)
        axes.legend(frameon=False, fontsize=6.5, loc="best", handletextpad=0.1, borderpad=0.1)
        axes.set_xticks([])
        axes.set_yticks([])
    save_figure(figure, *paths)


def _short(name: str, most: int = 42) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
