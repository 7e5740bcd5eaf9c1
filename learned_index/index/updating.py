"""A trained index that learns from new points, without a new training.

Legend: N new points, K of them and of a sample of old ones in a batch's shortlists, C clusters, L
labels, D dimension.
"""

from __future__ import annotations

import copy
from typing import NamedTuple, TypeVar

import numpy as np
import scipy.sparse as sp
import torch
from torch import nn

from learned_index.engine.new_edges import cluster_sums, strongest_visits, visits_of
from learned_index.index.graph import ClusterLabelGraph, as_csr
from learned_index.index.level import walk_edges
from learned_index.index.network import IndexNetwork
from learned_index.index.new_labels import beams
from learned_index.inputs.labels import points_per_label
from learned_index.inputs.positives import padded_positives
from learned_index.kernels.classify import score_labels
from learned_index.kernels.losses import both_losses
from learned_index.kernels.update import RowGradients
from learned_index.types import Float32Array, Int64Array

AnyIndex = TypeVar("AnyIndex", bound=IndexNetwork)

RATE = 0.1
"""Step of a classifier along the gradient of one point."""
EPOCHS = 2
"""Passes over the points."""
_BATCH = 256
_LEAST_WEIGHT = np.float32(np.finfo(np.float32).tiny)


class Labelled(NamedTuple):
    """Points with labels.

    Attributes:
        vectors_ND: float32, as the index takes them.
        labels_NL: CSR, the labels of each.
    """

    vectors_ND: Float32Array
    labels_NL: sp.csr_matrix


def with_new_points(
    index: AnyIndex,
    new: Labelled,
    kept: Labelled | None = None,
    *,
    counts_L: Int64Array | None = None,
    epochs: int = EPOCHS,
    rate: float = RATE,
) -> AnyIndex:
    """An index that has learned from points; router, projection and regions are shared with it.

    (23) Edges become what the training began with (equation 13), where that is more than they are:
    with v_cl the sum of the cluster scores that the new points of label l give cluster c, V_c that
    of all labels and points (of the old ones estimated from those kept), and beta of the graph::

        e_cl = max(e_cl, min(1, beta v_cl / V_c))

    for the clusters that a label visits most. On these paths the classifiers of shortlisted labels
    follow the gradient of the classification loss (equation 7) of the new points and the kept ones,
    in plain steps: of few points the normalised steps of the training would move a label of a
    negligible gradient as far as any other.

    Args:
        index: Trained; its labels are those of the points.
        new: What to learn from; each point has a label.
        kept: A sample of what it was trained on: it protects what was learned.
        counts_L: int64, m_l; None: as many as in ``kept``.
        epochs: Passes over the points.
        rate: Of a step, in units of one point's gradient.
    """
    twin = copy.copy(index)
    for name in ("label_weight_LD", "label_bias_L"):
        setattr(twin, name, nn.Parameter(getattr(index, name).detach().clone()))
    if counts_L is None:
        counts_L = (
            np.zeros(index.n_labels, np.int64) if kept is None else points_per_label(kept.labels_NL)
        )
    twin.graph = _raised(index.graph, _visited(index, new, kept, counts_L))
    twin.parameters_changed()
    points = new if kept is None else _joined(new, kept)
    order = np.random.default_rng(0)
    gradients = RowGradients(*twin.label_weight_LD.shape, device=twin.label_bias_L.device)
    for _ in range(epochs):
        rows = order.permutation(len(points.vectors_ND))
        for start in range(0, len(rows), _BATCH):
            _step(twin, points, np.sort(rows[start : start + _BATCH]), gradients, rate)
    twin.parameters_changed()
    return twin


def _step(
    index: IndexNetwork,
    points: Labelled,
    rows: Int64Array,
    gradients: RowGradients,
    rate: float,
) -> None:
    with torch.no_grad():
        x_BD = index.projected(
            torch.tensor(points.vectors_ND[rows], device=index.label_bias_L.device)
        )
        scores_BW, clusters_BW = index.beam(x_BD, index.config.beam_width)
        walk = walk_edges(
            clusters_BW,
            scores_BW,
            index.graph,
            index.graph.weights(),
            positives_BP=padded_positives(points.labels_NL, rows).to(x_BD.device),
            size=min(index.config.shortlist_size, index.n_labels),
        )
    logits_BK = score_labels(
        x_BD, index.label_weight_LD, index.label_bias_L, walk.ids_BK, optimiser=gradients
    )
    loss, _ = both_losses(logits_BK, walk.path_BK, walk.n_positives_B, walk.n_valid_B)
    loss.backward()  # type: ignore[no-untyped-call]
    labels_U, weight_UD, bias_U = gradients.take()
    with torch.no_grad():
        index.label_weight_LD[labels_U] -= rate * len(rows) * weight_UD
        index.label_bias_L[labels_U] -= rate * len(rows) * bias_U


def _visited(
    index: IndexNetwork, new: Labelled, kept: Labelled | None, counts_L: Int64Array
) -> sp.csr_matrix:
    """The edges of equation 23: CSR float32, C x L."""
    visits_NC = _visits(index, new)
    visits_LC = (new.labels_NL.T @ visits_NC).tocsr()
    visits_LC.sum_duplicates()
    all_C = cluster_sums(new.labels_NL, visits_NC)
    seen = new if kept is None else kept
    known = all_C if kept is None else cluster_sums(kept.labels_NL, _visits(index, kept))
    all_C = all_C + known * (counts_L.sum() / max(1, seen.labels_NL.nnz))
    labels, clusters, visited, _ = strongest_visits(visits_LC)
    share = visited / np.maximum(all_C[clusters], _LEAST_WEIGHT)
    weights = np.minimum(1.0, index.graph.scale * share).astype(np.float32)
    shape = (index.n_clusters, len(counts_L))
    return sp.csr_matrix((weights, (clusters, labels)), shape=shape)


def _visits(index: IndexNetwork, points: Labelled) -> sp.csr_matrix:
    """Scores of the clusters that each point explores, N x C."""
    vectors = np.asarray(points.vectors_ND, np.float32)
    return visits_of(*beams(index, vectors), index.n_clusters)


def _csr(graph: ClusterLabelGraph) -> sp.csr_matrix:
    labels_CM, weights_CM = graph.arrays()
    # A sparse matrix drops what is 0, and a label's only edge may have rounded to it.
    return as_csr(labels_CM, np.maximum(weights_CM, _LEAST_WEIGHT), graph.n_labels)


def _raised(graph: ClusterLabelGraph, edges_CL: sp.csr_matrix) -> ClusterLabelGraph:
    """A graph of its own whose edges weigh at least as much as these; its weights are held."""
    both = _csr(graph).maximum(edges_CL).tocsr()
    both.sort_indices()
    counts_C = np.diff(both.indptr)
    cluster_T = np.repeat(np.arange(both.shape[0]), counts_C)
    column_T = np.arange(both.nnz) - both.indptr[cluster_T]
    labels = np.full((both.shape[0], max(1, int(counts_C.max()))), -1, np.int32)
    weights = np.zeros(labels.shape, np.float32)
    labels[cluster_T, column_T] = both.indices
    weights[cluster_T, column_T] = both.data
    raised = ClusterLabelGraph(
        torch.from_numpy(labels),
        graph.n_labels,
        edge_weights_CM=torch.from_numpy(weights),
        scale=graph.scale,
    )
    raised.pruning = graph.pruning
    return raised.to(graph.edge_labels_CM.device)


def _joined(new: Labelled, kept: Labelled) -> Labelled:
    return Labelled(
        np.concatenate([new.vectors_ND, kept.vectors_ND]).astype(np.float32),
        sp.vstack([new.labels_NL, kept.labels_NL], format="csr"),
    )
