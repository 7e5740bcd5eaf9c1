"""Points of a data set that an index sends to a cluster before all others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from learned_index.data.dataset import Dataset
from learned_index.encoding import dense_vectors
from learned_index.errors import InputError
from learned_index.index.network import IndexNetwork
from learned_index.index.paths import best_clusters
from learned_index.inputs.points import unanswerable_rows
from learned_index.types import Encoder


@dataclass(frozen=True)
class ExamplePoint:
    """A point of a cluster.

    Attributes:
        row: Its row in the split, from 0.
        id: Its name; None where the data name no points.
        text: None for points without texts.
        score: Score s of the cluster for this point, 0 to 1.
        labels: Names of its labels.
    """

    row: int
    id: str | None
    text: str | None
    score: float
    labels: list[str]


@dataclass(frozen=True)
class Examples:
    """The points of a split whose best cluster it is.

    Attributes:
        split: Name of the split.
        n_points: Points of the split.
        n_here: Points whose best cluster it is.
        points: Some of these: the largest scores first, of equal ones the largest inner product
            with the cluster's vector, then the first row.
    """

    split: str
    n_points: int
    n_here: int
    points: list[ExamplePoint]


def cluster_examples(
    network: IndexNetwork,
    encoder: Encoder,
    cluster: int,
    dataset: Dataset,
    *,
    k: int,
    vectors: Any | None = None,
) -> Examples:
    """Find the points whose best cluster is this one.

    Points without an answer, which are blank or of unknown words, have no best cluster.

    Args:
        network: A trained index.
        encoder: Made the vectors that it was trained on.
        cluster: Its number.
        dataset: The points.
        k: Points wanted, at most.
        vectors: N x D vectors of all points; None: encode them.

    Raises:
        InputError: Another number of vectors than points, or another dimension.
    """
    x_ND = dense_vectors(encoder, dataset.points) if vectors is None else vectors
    if len(x_ND) != dataset.n_points:
        raise InputError(f"got {len(x_ND)} vectors for {dataset.n_points} points; expected as many")
    found = best_clusters(network, x_ND)
    here = (found.clusters == cluster) & ~unanswerable_rows(dataset.points, [x_ND])
    rows = np.flatnonzero(here)
    # lexsort is stable and sorts by its last key first.
    rows = rows[np.lexsort((-found.logits[rows], -found.scores[rows]))]
    return Examples(
        split=dataset.split,
        n_points=dataset.n_points,
        n_here=len(rows),
        points=[
            ExamplePoint(
                row=row,
                id=None if dataset.ids is None else dataset.ids[row],
                text=None if dataset.texts is None else dataset.texts[row],
                score=float(found.scores[row]),
                labels=dataset.label_names(row),
            )
            for row in rows[:k].tolist()
        ],
    )
