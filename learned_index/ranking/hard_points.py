"""Which points a label's classifier of the sparse ranker learns from: its own, and its hard ones.

ELIAS++ (Gupta et al. 2022, section 3.5): a point is hard for the labels of its shortlist.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from learned_index.ranking.float_weights import row_offsets
from learned_index.types import Float32Array, Int64Array


class HardPoints(NamedTuple):
    """For each label the points that it is trained on: int64 offsets L + 1, int32, and bool."""

    label_indptr: Int64Array
    points: Any
    positive: Any


class DualVariables(NamedTuple):
    """What each label's training points weigh in its classifier: where a further training begins.

    Attributes:
        label_indptr: int64, L + 1. Where the points of each label begin.
        points: int32, ascending within a label.
        alpha: float32, 0 or more.
    """

    label_indptr: Any
    points: Any
    alpha: Any


def listed_labels(ids_NK: Int64Array, n_labels: int) -> sp.csr_matrix:
    """Shortlists as a matrix N x L, 1 where a label is listed."""
    row, column = np.nonzero(ids_NK >= 0)
    ones = np.ones(len(row), np.int8)
    return sp.csr_matrix((ones, (row, ids_NK[row, column])), shape=(len(ids_NK), n_labels))


def label_points(
    labels_NL: sp.csr_matrix, listed_NL: sp.csr_matrix, *, max_negatives: int, seed: int
) -> HardPoints:
    """Invert shortlists and labels: for each label its points, and whether they have it."""
    n_labels = labels_NL.shape[1]
    listed = listed_NL.astype(np.int8)
    listed.data[:] = 1
    # A shortlisted label counts 1, a true one 2: the sum of both matrices tells them apart.
    truth = sp.csr_matrix(
        (np.full(labels_NL.nnz, 2, np.int8), labels_NL.indices, labels_NL.indptr),
        shape=labels_NL.shape,
    )
    pairs = (listed + truth).tocsc()
    pairs.sort_indices()
    positive = pairs.data >= 2
    points, indptr = pairs.indices.astype(np.int32), pairs.indptr.astype(np.int64)
    label_of_pair = np.repeat(np.arange(n_labels), np.diff(indptr))
    negatives_L = np.bincount(label_of_pair[~positive], minlength=n_labels)
    if negatives_L.max(initial=0) > max_negatives:
        share = np.minimum(1.0, max_negatives / np.maximum(negatives_L, 1))
        draw = np.random.default_rng(seed).random(len(points))
        kept = positive | (draw < share[label_of_pair])
        points, positive = points[kept], positive[kept]
        indptr = row_offsets(np.bincount(label_of_pair[kept], minlength=n_labels))
    return HardPoints(indptr, points, positive)


def started(hard: HardPoints, start: DualVariables | None) -> Float32Array:
    """The dual variables to begin with, one for each label's point: 0 where none is known."""
    alphas = np.zeros(len(hard.points), np.float32)
    if start is None or not len(start.points):
        return alphas
    size = 1 + max(int(hard.points.max(initial=0)), int(start.points.max()))
    mine, known = (
        np.repeat(np.arange(len(indptr) - 1), np.diff(indptr)) * size + points
        for indptr, points in ((hard.label_indptr, hard.points), start[:2])
    )
    found = np.minimum(np.searchsorted(known, mine), len(known) - 1)
    same = known[found] == mine
    alphas[same] = start.alpha[found[same]]
    return alphas
