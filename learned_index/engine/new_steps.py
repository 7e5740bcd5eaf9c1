"""Steps of the classifiers of labels that join a trained index or engine, beside known points.

Legend: S known points, n examples of all M new labels, C clusters, D dimension, O numbers of a
classifier: its D weights and the bias.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from learned_index.engine.new_edges import LEAST_SCORE, Background
from learned_index.engine.new_labels import Examples, Float64Array
from learned_index.types import Float32Array, Int64Array

MOST_BESIDE = 1024
"""Of these, points that are negatives of the steps."""
N_STEPS = 4
RATE = 0.1
"""Of a step along the gradient, in units of one point's, at most."""
_BLOCK = 1 << 21
"""Pairs of a new label and a known point that are looked at in one go."""


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
    step = max(1, _BLOCK // max(1, len(x_SD)))
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
    # Imported here: it takes a tenth of a second, and searches need none of it.
    from scipy.special import expit

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
        push_MS *= (1 - p_MS) / np.maximum(1 - push_MS, LEAST_SCORE)
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
