"""Edges of labels that join a trained index or engine, and what they are learned beside.

Legend: S known points that are drawn, L known labels, n examples of all M new ones, W clusters of a
beam, C of an index, D dimension.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.engine.new_labels import Examples, Float64Array
from learned_index.inputs.matrices import largest_first
from learned_index.types import Float32Array, Int64Array

MOST_CLUSTERS = 20
"""Edges that a label gets from points at most."""
CONCENTRATION = 6.0
"""tau: by how much the strongest edge of a new label outweighs the others."""
ENOUGH_LABELS = 100
"""Known labels that tell how strong edges are, where there are so many."""
LEAST_STRONGEST = 1e-4
"""What a known label's strongest edge counts at least."""
MOST_BACKGROUND = 2048
"""Known points that are routed, to tell V_c."""
LEAST_SCORE = 1e-30
"""What the score of a cluster that is visited counts at least."""
_LEAST_SHARE = 1e-3


class Background(NamedTuple):
    """Known points, evenly drawn, beside which new labels are learned; S of them.

    Attributes:
        points_SD: float32, in the space that the classifiers act on.
        visits_SC: CSR float64, the scores of the clusters that they visit.
        all_C: float64, V_c of equation (23): the scores that each cluster gets from all training
            points, once for each of a point's labels.
        each: How many training points each of them stands for.
    """

    points_SD: Float32Array
    visits_SC: sp.csr_matrix
    all_C: Float64Array
    each: float


def drawn_rows(labels_NL: sp.csr_matrix) -> Int64Array:
    """Known points to route, evenly drawn from those that have a label."""
    rows = np.flatnonzero(np.diff(labels_NL.indptr))
    size = min(len(rows), MOST_BACKGROUND)
    return rows[np.arange(size) * len(rows) // max(1, size)]


def background(
    points_SD: Float32Array,
    visits_SC: sp.csr_matrix,
    labels_SL: sp.csr_matrix,
    known_NL: sp.csr_matrix,
    counts_L: Int64Array | None,
) -> Background:
    """What the drawn points tell of all training points.

    Args:
        points_SD: See :class:`Background`.
        visits_SC: Likewise.
        labels_SL: CSR, their labels.
        known_NL: CSR, the labels of all points that were handed in.
        counts_L: int64, training points of each label; None: as many as in ``known_NL``.
    """
    pairs = known_NL.nnz if counts_L is None else max(known_NL.nnz, int(counts_L.sum()))
    each = pairs / labels_SL.nnz
    return Background(points_SD, visits_SC, each * cluster_sums(labels_SL, visits_SC), each)


def cluster_sums(labels_NL: sp.csr_matrix, visits_NC: sp.csr_matrix) -> Float64Array:
    """The scores that each cluster gets from points, once for each of a point's labels."""
    sums_C: Float64Array = visits_NC.T @ np.diff(labels_NL.indptr).astype(np.float64)
    return sums_C


def visits_of(
    clusters_nW: npt.NDArray[Any], scores_nW: npt.NDArray[Any], n_clusters: int
) -> sp.csr_matrix:
    """Scores of the clusters that points visit, n x C CSR float64 in 0 to 1, none of them 0.

    Args:
        clusters_nW: Beams, -1 at pads.
        scores_nW: Their scores; what is above 1 counts 1.
        n_clusters: C.
    """
    row, column = np.nonzero(clusters_nW >= 0)
    # A score may round to 0, which a product of sparse matrices would drop.
    scores = np.clip(scores_nW[row, column].astype(np.float64), LEAST_SCORE, 1.0)
    shape = (len(clusters_nW), n_clusters)
    return sp.csr_matrix((scores, (row, clusters_nW[row, column])), shape=shape)


def strongest_visits(visits_LC: sp.csr_matrix) -> tuple[Any, Any, Any, Any]:
    """Of each row its :data:`MOST_CLUSTERS` largest entries.

    Returns:
        Row, column and value of each, and its place in the row, 0 being the largest.
    """
    row, order, place = largest_first(visits_LC)
    kept = place < MOST_CLUSTERS
    order = order[kept]
    return row[kept], visits_LC.indices[order], visits_LC.data[order], place[kept]


def new_edges(
    visits_nC: sp.csr_matrix, examples: Examples, all_C: Float64Array, strongest_M: Float64Array
) -> sp.csr_matrix:
    """Edges of new labels: CSR float64 M x C, weights above 0 to 1.

    (23b) e_cl = e_l (a_cl / max a_l)^tau with the shares a_cl = v_cl / (V_c + v_cl) of equation
    (23), from the :data:`MOST_CLUSTERS` clusters that the examples visit most. A label does not
    depend on others that join with it.

    Args:
        visits_nC: Of the examples, see :func:`visits_of`.
        examples: Which belong to which label.
        all_C: V_c, see :class:`Background`.
        strongest_M: e_l, see :func:`strongest_weights`.
    """
    visits_MC = sp.csr_matrix(examples.owned_Mn @ visits_nC)
    visits_MC.sort_indices()
    label, cluster, visited, _ = strongest_visits(visits_MC)
    shares = visited / (all_C[cluster] + visited)
    begin_M = np.searchsorted(label, np.arange(examples.n_labels))
    relative = shares / np.maximum.reduceat(shares, begin_M)[label]
    relative **= CONCENTRATION
    kept = relative > _LEAST_SHARE  # others would be walked for nothing
    weights = strongest_M[label[kept]] * relative[kept]
    edges = sp.csr_matrix((weights, (label[kept], cluster[kept])), shape=visits_MC.shape)
    edges.sort_indices()
    return edges


def strongest_weights(
    counts_L: Int64Array, strongest_L: npt.NDArray[Any], counts_M: Int64Array
) -> Float64Array:
    """e_l of new labels: the strongest edge that known labels with as many points have.

    Their geometric mean, over all labels with so many points, and where these are fewer than
    :data:`ENOUGH_LABELS`, over so many with the nearest counts. With edges of weight 1 a thousand
    labels that join together would fill the shortlists of all others; as weak as a training begins
    with, they would not be found.

    Args:
        counts_L: int64, training points of known labels.
        strongest_L: Weight of the strongest edge of each; 0 where it has none.
        counts_M: int64, examples of new labels.
    """
    known = np.flatnonzero((strongest_L > 0) & (counts_L > 0))
    if not len(known):
        return np.ones(len(counts_M))
    order = known[np.argsort(counts_L[known], kind="stable")]
    logs = np.log(np.maximum(strongest_L[order].astype(np.float64), LEAST_STRONGEST))
    before = np.concatenate([[0.0], np.cumsum(logs)])
    asked, number_M = np.unique(counts_M, return_inverse=True)
    found = np.empty(len(asked))
    for place, count in enumerate(asked.tolist()):
        start, stop = np.searchsorted(counts_L[order], [count, count + 1])
        missing = min(ENOUGH_LABELS, len(order)) - (stop - start)
        if missing > 0:
            start = min(max(0, start - missing // 2), len(order) - (stop - start) - missing)
            stop = start + min(ENOUGH_LABELS, len(order))
        found[place] = np.exp((before[stop] - before[start]) / (stop - start))
    return found[number_M]
