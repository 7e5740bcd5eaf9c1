"""Labels that join a trained index: their classifiers and edges from a few examples, at once.

Legend: N points that are known, L labels, M new labels, n examples of one of them, D dimension.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch
from torch import nn

from learned_index.errors import InputError
from learned_index.index.build.clustering import unit_rows
from learned_index.index.graph import ClusterLabelGraph
from learned_index.index.network import IndexNetwork
from learned_index.types import Float32Array

AnyIndex = TypeVar("AnyIndex", bound=IndexNetwork)
Float64Array = npt.NDArray[np.float64]

N_SIMILAR = 20
"""Known labels whose classifiers correct what the map makes of the examples."""
OWN_LOGIT = -4.0
"""Mean logit of the examples at least: regression shrinks what it predicts."""
MOST_CLUSTERS = 20
"""Edges of a new label at most."""
_TEMPERATURE = 0.05
_RIDGE = 10.0


class KnownPoints(NamedTuple):
    """Points that a trained index knows labels by.

    Attributes:
        vectors_ND: float32, as the index takes them.
        labels_NL: CSR, the labels of each.
    """

    vectors_ND: Float32Array
    labels_NL: sp.csr_matrix


def with_new_labels(
    index: AnyIndex, examples: Sequence[Float32Array], known: KnownPoints
) -> AnyIndex:
    """An index with M more labels, numbered from L on; all else is shared with this one.

    (21) A label with examples of mean μ gets the classifier A [μ; 1; log(1 + n)], where A is
    ridge regression of the known labels' classifiers [w; b] onto the means of their points, plus
    the mean residual of the labels with the nearest means (a softmax of their cosines): what the
    training makes of such examples, without the training. Its bias is raised where the mean logit
    of the examples would be below :data:`OWN_LOGIT`. Edges come from the clusters that the examples
    visit, as equation (13) counts them, the most visited with weight 1.

    Args:
        index: Trained.
        examples: For each new label n x D vectors, at least one.
        known: A sample of what the index was trained on; labels without a point are left out.
    """
    learned = _Learned.of(index, known)
    rows = [learned.classifier(x_nD) for x_nD in examples]
    visits = [_visits(index, x_nD) for x_nD in examples]
    twin = copy.copy(index)
    device = index.label_bias_L.device
    weights = torch.tensor(np.stack([row[:-1] for row in rows]), dtype=torch.float32)
    biases = torch.tensor(np.array([row[-1] for row in rows]), dtype=torch.float32)
    twin.label_weight_LD = _longer(index.label_weight_LD, weights.to(device))
    twin.label_bias_L = _longer(index.label_bias_L, biases.to(device))
    strongest = torch.tensor([int(np.argmax(visit_C)) for visit_C in visits], dtype=torch.int32)
    twin.register_buffer(
        "cluster_of_label_L", torch.cat([index.cluster_of_label_L, strongest.to(device)])
    )
    twin.graph = _longer_graph(index.graph, visits)
    return twin


class _Learned(NamedTuple):
    """What the known labels tell about classifiers.

    Attributes:
        index: Whose they are.
        map_FO: Ridge regression from [mean; 1; log(1 + count)] to [classifier; bias].
        means_KD: Means of the known labels' points, at length 1.
        residuals_KO: What the map leaves of their classifiers.
    """

    index: IndexNetwork
    map_FO: Float64Array
    means_KD: Float64Array
    residuals_KO: Float64Array

    @classmethod
    def of(cls, index: IndexNetwork, known: KnownPoints) -> _Learned:
        points_ND = index.project(known.vectors_ND)
        count_L = np.asarray((known.labels_NL != 0).sum(axis=0)).ravel()
        labels_K = np.flatnonzero(count_L)
        if not len(labels_K):
            raise InputError("no known point has a label, so nothing tells what classifiers are")
        sums_KD = known.labels_NL.T.tocsr()[labels_K] @ points_ND
        means_KD = np.asarray(sums_KD, np.float64) / count_L[labels_K, None]
        weight_LD, bias_L = index.label_classifiers()
        w_KO = np.concatenate([weight_LD[labels_K], bias_L[labels_K, None]], axis=1).astype(
            np.float64
        )
        features_KF = _features(means_KD, count_L[labels_K])
        square_FF = features_KF.T @ features_KF + _RIDGE * np.eye(features_KF.shape[1])
        map_FO: Float64Array = np.linalg.solve(square_FF, features_KF.T @ w_KO).astype(np.float64)
        unit_KD: Any = unit_rows(means_KD)
        return cls(index, map_FO, unit_KD, w_KO - features_KF @ map_FO)

    def classifier(self, x_nD: Float32Array) -> Float64Array:
        """Weights and bias of a label with these examples."""
        examples_nD = self.index.project(x_nD).astype(np.float64)
        mean_D = examples_nD.mean(axis=0)
        features_1F = _features(mean_D[None], np.array([len(examples_nD)]))
        begin: Float64Array = (features_1F @ self.map_FO)[0]
        cosine_K = self.means_KD @ unit_rows(mean_D[None])[0]
        similar = np.argsort(-cosine_K, kind="stable")[:N_SIMILAR]
        share = np.exp((cosine_K[similar] - cosine_K[similar[0]]) / _TEMPERATURE)
        begin = begin + (share / share.sum()) @ self.residuals_KO[similar]
        z = float(mean_D @ begin[:-1] + begin[-1])
        begin[-1] += max(0.0, OWN_LOGIT - z)
        return begin


def _features(means_KD: Float64Array, count_K: Any) -> Float64Array:
    ones = np.ones((len(means_KD), 1))
    return np.concatenate([means_KD, ones, np.log1p(count_K)[:, None]], axis=1)


@torch.no_grad()
def _visits(index: IndexNetwork, x_nD: Float32Array) -> Float64Array:
    """How much the examples visit each cluster, the most visited 1; few others stay above 0."""
    x = torch.tensor(np.asarray(x_nD, np.float32), device=index.label_bias_L.device)
    scores_nW, clusters_nW = index.beam(index.projected(x), index.config.beam_width)
    scores, clusters = scores_nW.cpu().numpy(), clusters_nW.cpu().numpy()
    visit_C = np.zeros(index.n_clusters)
    np.add.at(visit_C, clusters[clusters >= 0], scores[clusters >= 0])
    kept = np.argsort(-visit_C, kind="stable")[:MOST_CLUSTERS]
    shown_C = np.zeros_like(visit_C)
    shown_C[kept] = visit_C[kept] / max(float(visit_C.max()), 1e-12)
    shown_C[kept[0]] = 1.0  # also where every score rounds to 0: a label hangs from a cluster
    return shown_C


def _longer(parameter: nn.Parameter, more: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(torch.cat([parameter.detach(), more]), requires_grad=True)


def _longer_graph(graph: ClusterLabelGraph, visits: Sequence[Float64Array]) -> ClusterLabelGraph:
    """The graph with the new labels' edges, its weights held."""
    labels_CM, weights_CM = graph.arrays()
    visit_CM = np.stack(visits, axis=1)
    clusters, new = np.nonzero(visit_CM)
    used_C = (labels_CM >= 0).sum(axis=1)
    width = int((used_C + np.bincount(clusters, minlength=len(used_C))).max())
    place = np.argsort(labels_CM < 0, axis=1, kind="stable")  # pads to the end
    labels = np.full((len(labels_CM), width), -1, np.int32)
    weights = np.zeros((len(labels_CM), width), np.float32)
    kept = min(width, labels_CM.shape[1])
    labels[:, :kept] = np.take_along_axis(labels_CM, place, 1)[:, :kept]
    weights[:, :kept] = np.take_along_axis(weights_CM, place, 1)[:, :kept]
    first = np.searchsorted(clusters, clusters)  # nonzero() gives a cluster's labels in one piece
    column = used_C[clusters] + np.arange(len(clusters)) - first
    labels[clusters, column] = graph.n_labels + new
    weights[clusters, column] = visit_CM[clusters, new]
    longer = ClusterLabelGraph(
        torch.from_numpy(labels),
        graph.n_labels + len(visits),
        edge_weights_CM=torch.from_numpy(weights),
        scale=graph.scale,
    )
    longer.pruning = graph.pruning
    return longer.to(graph.edge_labels_CM.device)
