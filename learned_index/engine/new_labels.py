"""Classifiers and edges of labels that join a trained index or engine, from a few examples.

Legend: N known points, K labels that these have, n examples of all M new labels, D dimension, O
numbers of a classifier: its D weights and the bias.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.special import expit

from learned_index.errors import InputError
from learned_index.inputs.labels import points_per_label
from learned_index.inputs.matrices import largest_first
from learned_index.types import Float32Array, Int64Array

Float64Array = npt.NDArray[np.float64]

MOST_MAPPED = 4096
"""Known labels that tell what classifiers are made of means."""
N_SIMILAR = 20
"""Known labels whose classifiers correct what the map makes of the examples."""
OWN_LOGIT = -4.0
"""Mean logit of the examples at least: regression shrinks what it predicts."""
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
MOST_BESIDE = 1024
"""Of these, points that are negatives of the steps."""
N_STEPS = 4
RATE = 0.1
"""Of a step along the gradient, in units of one point's, at most."""
_TEMPERATURE = 0.05
_RIDGE = 10.0
_LEAST_SCORE, _LEAST_SHARE = 1e-30, 1e-3
_BLOCK = 1 << 23
"""Cosines of new and known labels that are looked at in one go."""


class Examples(NamedTuple):
    """Examples of new labels in one table.

    Attributes:
        vectors_nD: float32, as the index or the engine takes them.
        owned_Mn: CSR float64, 1 where a label has an example; each label has one at least.
    """

    vectors_nD: Float32Array
    owned_Mn: sp.csr_matrix

    @classmethod
    def of(cls, vectors_nD: Float32Array, counts_M: Int64Array) -> Examples:
        """Examples in the order of their labels, so many of each."""
        n = len(vectors_nD)
        indptr = np.concatenate([[0], np.cumsum(counts_M)])
        owned = sp.csr_matrix((np.ones(n), np.arange(n), indptr), shape=(len(counts_M), n))
        return cls(vectors_nD, owned)

    @property
    def n_labels(self) -> int:
        """M."""
        return int(self.owned_Mn.shape[0])

    @property
    def counts(self) -> Int64Array:
        """Examples of each label."""
        counts: Int64Array = np.diff(self.owned_Mn.indptr).astype(np.int64)
        return counts


class Known(NamedTuple):
    """What known points and classifiers tell, in the space that the classifiers act on.

    Attributes:
        means_KD: Floats, means of the points of each label.
        counts_K: How many these are.
        classifiers: The weights and biases of some of them by their rows, floats n x O.
    """

    means_KD: npt.NDArray[Any]
    counts_K: Int64Array
    classifiers: Callable[[Int64Array], npt.NDArray[Any]]


def known_means(
    points_ND: Float32Array, labels_NL: sp.csr_matrix
) -> tuple[Int64Array, Float32Array, Int64Array]:
    """Labels that have a point, the means of their points, and how many these are.

    Raises:
        InputError: None has.
    """
    count_L = points_per_label(labels_NL)
    labels_K = np.flatnonzero(count_L)
    if not len(labels_K):
        raise InputError("no known point has a label, so nothing tells what classifiers are")
    sums_KD = labels_NL.T.tocsr()[labels_K] @ points_ND
    means_KD = np.asarray(sums_KD / count_L[labels_K, None].astype(np.float32), np.float32)
    return labels_K, means_KD, count_L[labels_K]


def new_classifiers(known: Known, points_nD: Float32Array, examples: Examples) -> Float64Array:
    """Weights and biases of new labels, float64 M x O.

    (21) A label with examples of mean μ gets the classifier A [μ; 1; log(1 + n)], where A is
    ridge regression of the known labels' classifiers [w; b] onto the means of their points, plus
    the mean residual of the labels with the nearest means (a softmax of their cosines): what the
    training makes of such examples, without the training. A is told from at most
    :data:`MOST_MAPPED` labels, evenly drawn. Its bias is raised where the mean logit
    of the examples would be below :data:`OWN_LOGIT`.

    Args:
        known: Of the index.
        points_nD: The examples' vectors in the same space, of about unit length.
        examples: Which belong to which label.
    """
    counts_M = examples.counts
    means_MD = (examples.owned_Mn @ points_nD.astype(np.float64)) / counts_M[:, None]
    n_known = len(known.counts_K)
    size = min(n_known, MOST_MAPPED)
    features_RF, made_RO = _rows_of(known, np.arange(size) * n_known // size)
    square_FF = features_RF.T @ features_RF + _RIDGE * np.eye(features_RF.shape[1])
    map_FO = np.linalg.solve(square_FF, features_RF.T @ made_RO)
    shares_MK = _shares(_unit(means_MD), _unit(known.means_KD))
    near_U = np.unique(shares_MK.indices)
    shares_MU = shares_MK[:, near_U]
    features_UF, made_UO = _rows_of(known, near_U)
    # Shares of the residuals W - F A: (S W) - (S F) A.
    explained_MF = _features(means_MD, counts_M) - shares_MU @ features_UF
    made_MO: Float64Array = explained_MF @ map_FO + shares_MU @ made_UO
    logits_M = np.einsum("md,md->m", means_MD, made_MO[:, :-1]) + made_MO[:, -1]
    made_MO[:, -1] += np.maximum(0.0, OWN_LOGIT - logits_M)
    return made_MO


def _rows_of(known: Known, rows: Int64Array) -> tuple[Float64Array, Float64Array]:
    """Features and classifiers of some known labels, float64."""
    features = _features(known.means_KD[rows].astype(np.float64), known.counts_K[rows])
    return features, known.classifiers(rows).astype(np.float64)


def _features(means_KD: Float64Array, count_K: Any) -> Float64Array:
    ones = np.ones((len(means_KD), 1))
    return np.concatenate([means_KD, ones, np.log1p(count_K)[:, None]], axis=1)


def _unit(rows: npt.NDArray[Any]) -> Float32Array:
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    unit: Float32Array = rows.astype(np.float32)  # a copy
    unit /= np.maximum(lengths, 1e-12).astype(np.float32)[:, None]
    return unit


def _shares(unit_MD: Float32Array, unit_KD: Float32Array) -> sp.csr_matrix:
    """What the residuals of the nearest known labels count for each new one: CSR M x K."""
    n_known = len(unit_KD)
    kept = min(N_SIMILAR, n_known)
    step = max(1, _BLOCK // n_known)
    parts = []
    for start in range(0, len(unit_MD), step):
        cosine = unit_MD[start : start + step] @ unit_KD.T
        near = largest_of_rows(cosine, kept)
        values = np.take_along_axis(cosine, near, 1).astype(np.float64)
        shares = np.exp((values - values.max(axis=1, keepdims=True)) / _TEMPERATURE)
        shares /= shares.sum(axis=1, keepdims=True)
        indptr = np.arange(len(near) + 1) * kept
        parts.append(
            sp.csr_matrix((shares.ravel(), near.ravel(), indptr), shape=(len(near), n_known))
        )
    return sp.vstack(parts, format="csr")


def largest_of_rows(values_MN: npt.NDArray[Any], count: int) -> Int64Array:
    """Columns of the ``count`` largest values of each row, ascending; of equal values the first."""
    place = values_MN.shape[1] - count
    least_M1 = np.partition(values_MN, place, axis=1)[:, place : place + 1]
    chosen = values_MN >= least_M1
    surplus_M = chosen.sum(axis=1) - count
    for row in np.flatnonzero(surplus_M):
        equal = np.flatnonzero(values_MN[row] == least_M1[row])
        chosen[row, equal[-surplus_M[row] :]] = False
    return np.nonzero(chosen)[1].reshape(len(values_MN), count)


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
    scores = np.clip(scores_nW[row, column].astype(np.float64), _LEAST_SCORE, 1.0)
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

    (23a) e_cl = e_l (a_cl / max a_l)^tau with the shares a_cl = v_cl / (V_c + v_cl) of equation
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


def stepped(
    made_MO: Float64Array,
    edges_MC: sp.csr_matrix,
    points_nD: Float32Array,
    examples: Examples,
    beside: Background,
) -> Float64Array:
    """Classifiers of new labels after :data:`N_STEPS` steps, float64 M x O.

    Along the gradient of the classification loss (equation 7) of the examples, and of the known
    points on the paths that lead to the label; each of these counts for the training points that
    it stands for. A step is 1 / (1 / RATE + h), with h the sum of the second derivatives times the
    squared lengths, which bounds the curvature: no step leads too far. The mean logit of a label's
    examples does not fall. Only the rows of the new labels move, each by itself.

    Args:
        made_MO: Where they begin.
        edges_MC: Their edges.
        points_nD: The examples in the space of the classifiers.
        examples: Which belong to which label.
        beside: The known points.
    """
    every = -(-len(beside.points_SD) // MOST_BESIDE)
    x_nD, x_SD = points_nD.astype(np.float64), beside.points_SD[::every].astype(np.float32)
    owner_n = np.repeat(np.arange(examples.n_labels), examples.counts)
    visits_CS = beside.visits_SC[::every].T.tocsr()
    each = beside.each * len(beside.points_SD) / max(1, len(x_SD))
    out_MO = made_MO.copy()
    step = max(1, _BLOCK // (4 * max(1, len(x_SD))))
    for start in range(0, examples.n_labels, step):
        rows = slice(start, start + step)
        own_n = np.flatnonzero((owner_n >= start) & (owner_n < start + step))
        path_MS = _best_paths(edges_MC[rows], visits_CS)
        _step_block(out_MO[rows], x_nD[own_n], owner_n[own_n] - start, x_SD, path_MS, each)
    return out_MO


def _best_paths(edges_MC: sp.csr_matrix, visits_CS: sp.csr_matrix) -> Float32Array:
    """The weight of the best path from each point to each label (equation 5), float32 M x S."""
    paths_MS: Float32Array = np.zeros((edges_MC.shape[0], visits_CS.shape[1]), np.float32)
    counts_M = np.diff(edges_MC.indptr)
    for place in range(int(counts_M.max(initial=0))):
        rows = np.flatnonzero(counts_M > place)
        edge = edges_MC.indptr[rows] + place
        visits = visits_CS[edges_MC.indices[edge]].toarray()
        visits *= edges_MC.data[edge, None]
        paths_MS[rows] = np.maximum(paths_MS[rows], visits)
    return paths_MS


def _step_block(
    made_MO: Float64Array,
    x_nD: Float64Array,
    owner_n: Int64Array,
    x_SD: Float32Array,
    path_MS: Float32Array,
    each: float,
) -> None:
    """Move the classifiers of some labels, in place."""
    owned_Mn = sp.csr_matrix(
        (np.ones(len(owner_n)), (owner_n, np.arange(len(owner_n)))),
        shape=(len(made_MO), len(owner_n)),
    )
    share_M = 1.0 / np.maximum(np.bincount(owner_n, minlength=len(made_MO)), 1)
    begin_M = None
    size_n, size_S = 1 + np.square(x_nD).sum(axis=1), 1 + np.square(x_SD).sum(axis=1)
    for _ in range(N_STEPS):
        weight_MD, bias_M = made_MO[:, :-1].astype(np.float32), made_MO[:, -1].astype(np.float32)
        logit_n = np.einsum("nd,nd->n", x_nD, made_MO[owner_n, :-1]) + made_MO[owner_n, -1]
        begin_M = share_M * (owned_Mn @ logit_n) if begin_M is None else begin_M
        short_n = expit(-logit_n)  # what a positive lacks
        p_MS = expit(weight_MD @ x_SD.T + bias_M[:, None])
        # First and second derivative of -log(1 - y p) by the logit, y being the path.
        push_MS = path_MS * p_MS
        push_MS *= (1 - p_MS) / np.maximum(1 - push_MS, _LEAST_SCORE)
        bend_MS = push_MS * (np.abs(1 - 2 * p_MS) + push_MS)
        bends_M = owned_Mn @ (short_n * (1 - short_n) * size_n) + each * (bend_MS @ size_S)
        rate_M = 1.0 / (1.0 / RATE + bends_M)
        pull_MD = owned_Mn @ (short_n[:, None] * x_nD) - each * (push_MS @ x_SD)
        pull_M = owned_Mn @ short_n - each * push_MS.sum(axis=1)
        made_MO[:, :-1] += rate_M[:, None] * pull_MD
        made_MO[:, -1] += rate_M * pull_M
        # All points share the bias, so that few steps would lower that first of all.
        logit_n = np.einsum("nd,nd->n", x_nD, made_MO[owner_n, :-1]) + made_MO[owner_n, -1]
        made_MO[:, -1] += np.maximum(0.0, begin_M - share_M * (owned_Mn @ logit_n))
