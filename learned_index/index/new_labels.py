"""Labels that join a trained index: their classifiers and edges from a few examples, at once.

Legend: M new labels, n examples of all of them, C clusters.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import numpy as np
import scipy.sparse as sp
import torch
from torch import nn

from learned_index.engine.new_edges import (
    background,
    drawn_rows,
    new_edges,
    strongest_weights,
    visits_of,
)
from learned_index.engine.new_labels import Examples, Known, known_means, new_classifiers
from learned_index.engine.new_steps import stepped
from learned_index.index.graph import ClusterLabelGraph
from learned_index.index.network import IndexNetwork
from learned_index.inputs.labels import points_per_label
from learned_index.inputs.matrices import largest_first
from learned_index.inputs.new_labels import (
    KnownPoints,
    NewLabels,
    checked_counts,
    checked_examples,
    checked_known,
)
from learned_index.types import Float32Array, Int64Array

AnyIndex = TypeVar("AnyIndex", bound=IndexNetwork)

_BATCH = 4096
"""Examples that are routed at once."""


def with_new_labels(
    index: AnyIndex,
    examples: NewLabels,
    known: KnownPoints,
    counts: Any = None,
) -> AnyIndex:
    """See :meth:`LearnedGraphIndex.add_labels`."""
    index.require_fitted()
    counts_L = checked_counts(counts, index.n_labels)
    vectors_nD, counts_M = checked_examples(examples, dim=index.dim)
    of_labels = Examples.of(vectors_nD, counts_M)
    known_ND, labels_NL = checked_known(known, dim=index.dim, n_labels=index.n_labels)
    labels_K, means_KD, counts_K = known_means(known_ND, labels_NL)
    weight_LD, bias_L = index.label_classifiers()

    def of_known(rows: Int64Array) -> Float32Array:
        some = labels_K[rows]
        return np.concatenate([weight_LD[some], bias_L[some, None]], axis=1)

    x_nD = index.project(vectors_nD)
    # The projection is linear: that of a mean is the mean of the projected.
    made_MO = new_classifiers(Known(index.project(means_KD), counts_K, of_known), x_nD, of_labels)
    rows = drawn_rows(labels_NL)
    beside = background(
        index.project(known_ND[rows]),
        visits_of(*beams(index, known_ND[rows]), index.n_clusters),
        labels_NL[rows],
        labels_NL,
        counts_L,
    )
    visits_nC = visits_of(*beams(index, vectors_nD), index.n_clusters)
    known_L = points_per_label(labels_NL) if counts_L is None else counts_L
    strongest_M = strongest_weights(known_L, _strongest_edges(index.graph), counts_M)
    edges_MC = new_edges(visits_nC, of_labels, beside.all_C, strongest_M)
    made_MO = stepped(made_MO, edges_MC, x_nD, of_labels, beside)
    twin = copy.copy(index)
    device = index.label_bias_L.device
    made = torch.tensor(made_MO, dtype=torch.float32, device=device)
    twin.label_weight_LD = _longer(index.label_weight_LD, made[:, :-1])
    twin.label_bias_L = _longer(index.label_bias_L, made[:, -1])
    strongest = torch.tensor(_strongest(edges_MC), dtype=torch.int32, device=device)
    twin.register_buffer("cluster_of_label_L", torch.cat([index.cluster_of_label_L, strongest]))
    twin.graph = _longer_graph(index.graph, edges_MC)
    return twin


def _strongest_edges(graph: ClusterLabelGraph) -> Float32Array:
    """Weight of each label's strongest edge, float32 L; 0 where it has none."""
    labels_CM, weights_CM = graph.arrays()
    strongest_L = np.zeros(graph.n_labels, np.float32)
    np.maximum.at(strongest_L, labels_CM[labels_CM >= 0], weights_CM[labels_CM >= 0])
    return strongest_L


@torch.no_grad()
def beams(index: IndexNetwork, vectors_nD: Float32Array) -> tuple[Any, Any]:
    """Numbers (-1 at pads) and scores of the clusters that each vector visits, n x W."""
    clusters, scores = [], []
    for start in range(0, len(vectors_nD), _BATCH):
        block = torch.tensor(vectors_nD[start : start + _BATCH], device=index.label_bias_L.device)
        found, numbers = index.beam(index.projected(block), index.config.beam_width)
        scores.append(found.cpu().numpy())
        clusters.append(numbers.cpu().numpy())
    return np.concatenate(clusters), np.concatenate(scores)


def _strongest(edges_MC: sp.csr_matrix) -> Any:
    """The cluster of each label's strongest edge, of equals the first."""
    _, order, place = largest_first(edges_MC)
    return edges_MC.indices[order[place == 0]]


def _longer(parameter: nn.Parameter, more: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(torch.cat([parameter.detach(), more]), requires_grad=True)


def _longer_graph(graph: ClusterLabelGraph, edges_MC: sp.csr_matrix) -> ClusterLabelGraph:
    """The graph with the new labels' edges, its weights held."""
    labels_CM, weights_CM = graph.arrays()
    by_cluster = edges_MC.tocsc()
    by_cluster.sort_indices()
    used_C, more_C = (labels_CM >= 0).sum(axis=1), np.diff(by_cluster.indptr)
    width = int((used_C + more_C).max())
    labels = np.full((len(labels_CM), width), -1, np.int32)
    weights = np.zeros((len(labels_CM), width), np.float32)
    row, column = np.nonzero(labels_CM >= 0)
    place = np.arange(len(row)) - np.repeat(np.cumsum(used_C) - used_C, used_C)
    labels[row, place] = labels_CM[row, column]
    weights[row, place] = weights_CM[row, column]
    cluster = np.repeat(np.arange(len(more_C)), more_C)
    place = used_C[cluster] + np.arange(by_cluster.nnz) - by_cluster.indptr[cluster]
    labels[cluster, place] = graph.n_labels + by_cluster.indices
    weights[cluster, place] = by_cluster.data
    longer = ClusterLabelGraph(
        torch.from_numpy(labels),
        graph.n_labels + edges_MC.shape[0],
        edge_weights_CM=torch.from_numpy(weights),
        scale=graph.scale,
    )
    longer.pruning = graph.pruning
    return longer.to(graph.edge_labels_CM.device)
