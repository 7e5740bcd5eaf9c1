"""Which ways an index goes: the clusters of queries, and the paths that lead to a label."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from learned_index.index.network import IndexNetwork
from learned_index.inputs.numbers import whole_number
from learned_index.inputs.vectors import as_query_rows
from learned_index.types import DenseMatrix, Float32Array, Int64Array

_BATCH = 2048
"""Queries at a time: [queries x clusters] arrays stay small."""


class LabelPaths(NamedTuple):
    """The parts of equations (2) to (6) for one query and one label.

    ``p = path ** exponent * sigmoid(logit)``, with ``path`` the largest of ``scores * weights``; 0
    where no cluster of the beam leads to the label.

    Attributes:
        clusters: int64, clusters of the beam with an edge to the label, the best path first.
        scores: float32, s of each.
        weights: float32, e of its edge.
        logit: z of the label's classifier.
        exponent: ``path_exponent`` of the index.
    """

    clusters: Int64Array
    scores: Float32Array
    weights: Float32Array
    logit: float
    exponent: float

    @property
    def path(self) -> float:
        """Score of the best path, 0 to 1."""
        return float((self.scores * self.weights).max(initial=0.0))

    @property
    def classifier(self) -> float:
        """What the classifier makes of the label, sigmoid(z)."""
        return float(1.0 / (1.0 + np.exp(-np.float64(self.logit))))

    @property
    def p(self) -> float:
        """Probability from the index."""
        return float(self.path**self.exponent * self.classifier)


class BestClusters(NamedTuple):
    """Where the beams of N queries begin.

    Attributes:
        clusters: int64, N. The first cluster of each query's beam.
        scores: float32, N. Its score s, 0 to 1; several clusters of a query can have score 1.
        logits: float32, N. Inner product of query and cluster, which orders clusters.
    """

    clusters: Int64Array
    scores: Float32Array
    logits: Float32Array


@torch.no_grad()
def best_clusters(network: IndexNetwork, queries: DenseMatrix) -> BestClusters:
    """The best cluster of each query, by the routing of a search with the trained beam width.

    Args:
        network: A trained index.
        queries: N x D, in memory or memory-mapped: it is read in batches.

    Raises:
        InputError: Another dimension, NaN or infinity.
        NotFittedError: The index is not trained.
    """
    network.require_fitted()
    width, n = min(network.config.beam_width, network.n_clusters), len(queries)
    found = BestClusters(np.empty(n, np.int64), np.empty(n, np.float32), np.empty(n, np.float32))
    for start in range(0, n, _BATCH):
        rows = as_query_rows(queries[start : start + _BATCH], dim=network.dim)
        x_BD = network.projected(torch.tensor(rows, device=network.label_bias_L.device))
        scores_BW, clusters_BW = network.beam(x_BD, width)
        best_B = clusters_BW[:, 0].long()
        logits_B = (x_BD * network.router.weight_CD[best_B]).sum(dim=1)
        part = slice(start, start + len(rows))
        found.clusters[part] = best_B.cpu().numpy()
        found.scores[part] = scores_BW[:, 0].cpu().numpy()
        found.logits[part] = logits_B.cpu().numpy()
    return found


@torch.no_grad()
def label_paths(
    network: IndexNetwork, query: DenseMatrix, label: int, *, beam_width: int | None = None
) -> LabelPaths:
    """Follow a query to a label.

    Args:
        network: A trained index.
        query: One vector, 1 x D.
        label: Its id.
        beam_width: Clusters explored; None: the trained value.

    Raises:
        InputError: Not one vector of the right length, or a label that does not exist.
        NotFittedError: The index is not trained.
    """
    network.require_fitted()
    label = whole_number(label, "label", low=0, high=network.n_labels - 1)
    width = network.config.beam_width if beam_width is None else beam_width
    width = min(whole_number(width, "beam_width"), network.n_clusters)
    x_1D = network.projected(
        torch.tensor(as_query_rows(query, dim=network.dim)[:1], device=network.label_bias_L.device)
    )
    scores_1W, clusters_1W = network.beam(x_1D, width)
    clusters_W = clusters_1W[0].long()
    clusters_W, scores_W = clusters_W[clusters_W >= 0], scores_1W[0][clusters_W >= 0]
    weights_WM = network.graph.weights()[clusters_W]
    leads_WM = network.graph.edge_labels_CM[clusters_W] == label
    leads_W = leads_WM.any(dim=1)
    weights_W = (weights_WM * leads_WM).sum(dim=1)[leads_W]
    scores_W, clusters_W = scores_W[leads_W], clusters_W[leads_W]
    order = torch.argsort(-scores_W * weights_W, stable=True)
    logit = x_1D[0] @ network.label_weight_LD[label] + network.label_bias_L[label]
    return LabelPaths(
        clusters_W[order].cpu().numpy(),
        scores_W[order].cpu().numpy(),
        weights_W[order].cpu().numpy(),
        float(logit),
        float(network.config.path_exponent),
    )
