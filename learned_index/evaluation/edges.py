"""The edges of a cluster-label graph: how many, how heavy, and which of the partition remain."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from learned_index.errors import InputError
from learned_index.types import Float32Array, Int64Array

Float64Array = npt.NDArray[np.float64]
QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
"""Quantiles of the edge weights that are reported."""
WEIGHT_SHARES = (0.5, 0.9, 0.99)
"""Shares of the whole weight for which the number of heaviest edges is reported."""


class EdgeDistribution(NamedTuple):
    """Distribution of edge weights.

    Attributes:
        n_edges: Edges of the graph.
        mean: Mean weight.
        share_at_1: Part of the edges whose weight is 1 (the cut of ``min(1, beta softmax)``).
        quantiles: Weight at each of :data:`QUANTILES`.
        edges_for_weight: For each of :data:`WEIGHT_SHARES`: the least part of the edges that
            together hold this share of the whole weight.
        bin_edges: float64, B + 1 boundaries from 0 to 1.
        bin_counts: int64, B. Edges in each bin; a bin holds its lower boundary, the last both.
    """

    n_edges: int
    mean: float
    share_at_1: float
    quantiles: dict[float, float]
    edges_for_weight: dict[float, float]
    bin_edges: Float64Array
    bin_counts: Int64Array


class LabelOverlap(NamedTuple):
    """What remains of the edge that each label had in stage 1.

    Attributes:
        own_weight_L: float64. Learned weight of the edge from the label's cluster of stage 1; -inf
            where there is none.
        is_strongest_L: bool. Whether no other cluster has a stronger edge to the label.
    """

    own_weight_L: Float64Array
    is_strongest_L: npt.NDArray[np.bool_]


class PartitionOverlap(NamedTuple):
    """What remains of the edges of stage 1, one for each label.

    Attributes:
        share_kept: Part of the stage-1 edges that are in the learned graph at all.
        share_above: Part of the stage-1 edges whose learned weight is above the threshold.
        share_strongest: Part of the labels whose strongest edge comes from their stage-1 cluster.
        weight_share: Weight of the stage-1 edges / weight of all edges.
        mean_weight: Mean weight of the stage-1 edges that are kept.
    """

    share_kept: float
    share_above: float
    share_strongest: float
    weight_share: float
    mean_weight: float


def clusters_per_label(
    edge_labels_CM: npt.NDArray[Any],
    edge_weights_CM: Float32Array,
    n_labels: int,
    *,
    threshold: float | None = None,
) -> Int64Array:
    """Count the clusters that hold each label by an edge of weight above ``threshold``.

    Args:
        edge_labels_CM: Integers, -1 where unused; no label twice in a row.
        edge_weights_CM: Their weights, 0 to 1.
        n_labels: L.
        threshold: Edges must weigh more; None counts every edge.

    Returns:
        int64, L.
    """
    labels, weights = _checked(edge_labels_CM, edge_weights_CM, n_labels)
    chosen = labels >= 0
    if threshold is not None:
        chosen &= weights > threshold
    return np.bincount(labels[chosen], minlength=n_labels).astype(np.int64)


def partition_overlap(
    edge_labels_CM: npt.NDArray[Any],
    edge_weights_CM: Float32Array,
    cluster_of_label_L: npt.NDArray[Any],
    *,
    threshold: float,
) -> PartitionOverlap:
    """Compare the learned edges with the partition of stage 1.

    Edges as in :func:`clusters_per_label`; ``cluster_of_label_L`` holds the cluster of each label
    in stage 1, and ``threshold`` is that of ``share_above``.
    """
    clusters = np.asarray(cluster_of_label_L, dtype=np.int64)
    labels, weights = _checked(edge_labels_CM, edge_weights_CM, len(clusters))
    found = label_overlap(labels, weights, clusters)
    kept = np.isfinite(found.own_weight_L)
    own = float(found.own_weight_L[kept].sum())
    total = float(weights[labels >= 0].astype(np.float64).sum())
    return PartitionOverlap(
        share_kept=float(kept.mean()),
        share_above=float((found.own_weight_L > threshold).mean()),
        share_strongest=float(found.is_strongest_L.mean()),
        weight_share=own / total if total > 0 else 0.0,
        mean_weight=own / max(1, int(kept.sum())),
    )


def label_overlap(
    edge_labels_CM: npt.NDArray[Any],
    edge_weights_CM: Float32Array,
    cluster_of_label_L: npt.NDArray[Any],
) -> LabelOverlap:
    """What remains of each label's edge of stage 1; arguments as of :func:`partition_overlap`."""
    clusters = np.asarray(cluster_of_label_L, dtype=np.int64)
    labels, weights = _checked(edge_labels_CM, edge_weights_CM, len(clusters))
    rows, columns = np.nonzero(labels >= 0)
    label_T, weight_T = labels[rows, columns], weights[rows, columns].astype(np.float64)
    own_T = clusters[label_T] == rows
    strongest_L = np.full(len(clusters), -np.inf)
    np.maximum.at(strongest_L, label_T, weight_T)
    own_L = np.full(len(clusters), -np.inf)
    own_L[label_T[own_T]] = weight_T[own_T]
    return LabelOverlap(own_L, np.isfinite(own_L) & (own_L == strongest_L))


def edge_distribution(
    edge_labels_CM: npt.NDArray[Any], edge_weights_CM: Float32Array, *, n_bins: int = 20
) -> EdgeDistribution:
    """Describe the weights of all edges, with a histogram of ``n_bins`` bins from 0 to 1.

    Edges as in :func:`clusters_per_label`.
    """
    labels, weights = _checked(edge_labels_CM, edge_weights_CM, None)
    found = np.sort(weights[labels >= 0].astype(np.float64))
    counts, bins = np.histogram(found, bins=n_bins, range=(0.0, 1.0))
    if not found.size:
        return EdgeDistribution(0, 0.0, 0.0, {}, {}, bins, counts.astype(np.int64))
    heavy = np.cumsum(found[::-1])
    return EdgeDistribution(
        n_edges=int(found.size),
        mean=float(found.mean()),
        share_at_1=float((found >= 1.0).mean()),
        quantiles={q: float(np.quantile(found, q)) for q in QUANTILES},
        edges_for_weight={
            share: float((1 + np.searchsorted(heavy, share * heavy[-1])) / found.size)
            for share in WEIGHT_SHARES
        },
        bin_edges=bins,
        bin_counts=counts.astype(np.int64),
    )


def _checked(
    edge_labels_CM: npt.NDArray[Any], edge_weights_CM: Float32Array, n_labels: int | None
) -> tuple[Int64Array, npt.NDArray[Any]]:
    labels, weights = np.asarray(edge_labels_CM), np.asarray(edge_weights_CM)
    if labels.ndim != 2 or labels.shape != weights.shape:
        raise InputError(
            f"edge labels have shape {labels.shape}, weights {weights.shape}; expected C x M twice"
        )
    if n_labels is not None and labels.size and labels.max() >= n_labels:
        raise InputError(f"an edge leads to label {labels.max()}, expected 0 to {n_labels - 1}")
    return labels.astype(np.int64), weights
