"""Why an index gives a label its probability: the paths that lead to it from a query."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from learned_index.index.network import IndexNetwork
from learned_index.inputs.numbers import whole_number
from learned_index.inputs.vectors import as_query_rows
from learned_index.types import DenseMatrix, Float32Array, Int64Array


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
