"""The partition that starts stage 1 and the graph that starts stage 2 (paper, section 3.3)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
import torch

from learned_index.errors import InputError
from learned_index.index.build.clustering import (
    Block,
    balanced_partition,
    cluster_directions,
    label_centroids,
    sparse_label_centroids,
)
from learned_index.index.build.regions import learnable_region_edges, partition_clusters
from learned_index.index.config import IndexConfig, TrainingConfig
from learned_index.index.graph import ClusterLabelGraph, as_csr
from learned_index.index.hierarchy import DENSE_CLUSTERS, RegionHierarchy, hierarchy_shape
from learned_index.index.network import IndexNetwork
from learned_index.inputs.labels import Labels, as_label_matrix
from learned_index.inputs.matrices import canonical_features
from learned_index.inputs.vectors import as_vectors, check_finite
from learned_index.types import DenseMatrix

logger = logging.getLogger(__name__)

_CHUNK_ROWS = 8192
_SCORED_AT_ONCE = 1 << 26
"""Bound on rows x clusters of one product over the training points."""
_LEAST_LENGTH = 1e-12
"""Mean length of training vectors; one over it is a factor of all queries, which may be large."""
_MOST_CLUSTERS_FLAT = 16384
_MOST_CLUSTERS_DEEP = 262144


def default_n_clusters(n_labels: int, hierarchy: str = "flat") -> int:
    """C = L / 40 (measured: docs/method.md), at most 16384 where all clusters are scored.

    Args:
        n_labels: L.
        hierarchy: As configured; below a hierarchy there may be 262144.
    """
    most = _MOST_CLUSTERS_FLAT if hierarchy == "flat" else _MOST_CLUSTERS_DEEP
    return int(np.clip(round(n_labels / 40), 1, most))


def checked(
    embeddings: DenseMatrix, labels: Labels, n_labels: int | None = None, dim: int | None = None
) -> tuple[Any, sp.csr_matrix]:
    """Embeddings as an array of finite numbers, labels as a canonical CSR matrix."""
    vectors = as_vectors(embeddings, dim=dim)
    check_finite(vectors)
    return vectors, as_label_matrix(labels, n_points=len(vectors), n_labels=n_labels)


def checked_features(features: sp.csr_matrix | None, n_points: int) -> sp.csr_matrix | None:
    """Clustering features as canonical CSR.

    Raises:
        InputError: Features of other points, or no sparse matrix of finite numbers.
    """
    if features is None:
        return None
    return canonical_features(features, what="clustering_features", n_rows=n_points)


def build_partition(
    index: IndexNetwork,
    embeddings: DenseMatrix,
    labels: Labels,
    *,
    clustering_features: sp.csr_matrix | None,
) -> None:
    """See :meth:`LearnedGraphIndex.build_partition`."""
    vectors, labels_NL = checked(embeddings, labels)
    features = checked_features(clustering_features, len(vectors))
    partition_labels(index, vectors, labels_NL, features)


def n_clusters_for(config: IndexConfig, n_labels: int) -> int:
    """C: as configured, or by the number of labels.

    Raises:
        InputError: More clusters than labels.
    """
    n_clusters = config.n_clusters or default_n_clusters(n_labels, config.hierarchy)
    if n_clusters > n_labels:
        raise InputError(
            f"n_clusters is {n_clusters}, expected 1 to {n_labels} (the number of labels)"
        )
    return n_clusters


def partition_labels(
    index: IndexNetwork,
    vectors: Any,
    labels_NL: sp.csr_matrix,
    features: sp.csr_matrix | None,
    *,
    cluster_on: Literal["both", "features"] = "both",
) -> None:
    """Cluster the labels and make all parameters, on the CPU.

    Args:
        index: It gets the parameters.
        vectors: N x D.
        labels_NL: CSR.
        features: CSR N x V, or None.
        cluster_on: ``"both"``: [features ; vectors], the paper's psi; ``"features"``: features
            alone if there are any. The first cluster and label vectors are always centroids of
            ``vectors``.
    """
    training = index.training_config
    n_labels = labels_NL.shape[1]
    n_clusters = n_clusters_for(index.config, n_labels)
    centroids_LD = label_centroids(labels_NL, vectors)
    blocks: list[Block] = [centroids_LD]
    if features is not None:
        blocks.append(sparse_label_centroids(labels_NL, features.tocsr()))
        blocks = blocks[1:] if cluster_on == "features" else blocks
    cluster_L = balanced_partition(blocks, n_clusters, seed=training.seed)
    del blocks
    index.allocate(
        dim=vectors.shape[1],
        n_labels=n_labels,
        n_clusters=n_clusters,
        hierarchy=hierarchy_shape(index.config, n_clusters),
    )
    router_CD = cluster_directions(cluster_L, n_clusters, centroids_LD)
    with torch.no_grad():
        index.router.weight_CD.copy_(torch.from_numpy(router_CD * training.router_init_scale))
        index.label_weight_LD.copy_(torch.from_numpy(centroids_LD))
        index.label_weight_LD.mul_(training.label_init_scale)
        index.label_bias_L.fill_(_initial_bias(training, labels_NL))
        index.input_scale.fill_(_input_scale(vectors, labels_NL))
    index.cluster_of_label_L = torch.from_numpy(cluster_L.astype(np.int32))
    index.graph = ClusterLabelGraph.from_partition(cluster_L, n_clusters)
    if index.hierarchy is not None:
        partition_clusters(index, router_CD)
    remember_tree(index)


def _input_scale(vectors: Any, labels_NL: sp.csr_matrix) -> float:
    """1 / mean length of labelled vectors; exactly 1 where that is 1 within a thousandth."""
    labelled = np.diff(labels_NL.indptr) > 0
    total = 0.0
    for start in range(0, len(vectors), _CHUNK_ROWS):
        rows = np.asarray(vectors[start : start + _CHUNK_ROWS], dtype=np.float32)
        lengths = np.linalg.norm(rows, axis=1)[labelled[start : start + _CHUNK_ROWS]]
        total += float(lengths.sum(dtype=np.float64))
    mean = total / max(1, int(np.count_nonzero(labelled)))
    # The squares of still smaller numbers are 0 in float32.
    if 0.0 < mean < _LEAST_LENGTH or (mean == 0.0 and np.any(vectors)):
        raise InputError(
            f"the mean length of the embeddings is {mean:.1e}, expected at least "
            f"{_LEAST_LENGTH:.0e}; scale them up, e.g. to length 1"
        )
    if mean == 0.0:
        logger.warning(
            "all training vectors are 0, so that nothing tells the points apart; is the encoder, "
            "or the file of vectors, the right one?"
        )
        return 1.0
    return 1.0 if abs(mean - 1.0) < 1e-3 else 1.0 / mean


def _initial_bias(training: TrainingConfig, labels_NL: sp.csr_matrix) -> float:
    """Log of the share of (point, label) pairs that are positive, unless the configuration says."""
    if training.label_init_bias is not None:
        return training.label_init_bias
    labelled = max(1, int(np.count_nonzero(np.diff(labels_NL.indptr))))
    return float(np.log(labels_NL.nnz / (labelled * labels_NL.shape[1])))


@torch.no_grad()
def remember_tree(index: IndexNetwork) -> None:
    """Keep the present router as that of the fixed tree."""
    index.tree_router_CD = index.router.weight_CD.detach().clone()


def build_graph(index: IndexNetwork, embeddings: DenseMatrix, labels: Labels) -> None:
    """See :meth:`LearnedGraphIndex.build_graph`."""
    vectors, labels_NL = checked(embeddings, labels, index.n_labels, index.dim)
    learnable_graph(index, vectors, labels_NL)


@torch.no_grad()
def learnable_graph(index: IndexNetwork, vectors: Any, labels_NL: sp.csr_matrix) -> None:
    """Put edges with logits, or the fixed ones asked for, in the place of the partition."""
    counts_CL, counts_SC = count_visits(index, vectors, labels_NL)
    index.graph = _label_graph(index, counts_CL).to(index.label_bias_L.device)
    if index.hierarchy is not None:
        learnable_region_edges(index, counts_SC)
    index.parameters_changed()


def _label_graph(index: IndexNetwork, counts_CL: sp.csr_matrix) -> ClusterLabelGraph:
    """The graph of stage 2, on the CPU."""
    config, training = index.config, index.training_config
    n_clusters, n_labels = index.n_clusters, index.n_labels
    cluster_L = index.cluster_of_label_L.cpu().numpy().astype(np.int64)
    if training.fixed_edges == 0:
        return ClusterLabelGraph.from_partition(cluster_L, n_clusters)
    if training.fixed_edges is not None:
        return ClusterLabelGraph.from_assignment(
            counts_CL, cluster_L, clusters_per_label=training.fixed_edges
        )
    return ClusterLabelGraph.from_counts(
        counts_CL,
        cluster_L,
        edges_per_cluster=config.edges_per_cluster
        or default_edges_per_cluster(n_labels, n_clusters),
        scale=config.edge_scale or max(1.0, n_labels / n_clusters),
        init=training.edge_init,
        seed=training.seed,
    )


@torch.no_grad()
def count_visits(
    index: IndexNetwork, vectors: Any, labels_NL: sp.csr_matrix
) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """How much the points visit the clusters, and the regions with them.

    Returns:
        CSR C x L, by the labels of the points: A' = M^T Y; and CSR S x C, by the clusters that the
        same points visit (S is 0 in a flat index).
    """
    hierarchy, n_clusters = index.hierarchy, index.n_clusters
    counts_CL = sp.csr_matrix((n_clusters, labels_NL.shape[1]), dtype=np.float32)
    n_regions = 0 if hierarchy is None else hierarchy.n_regions
    counts_SC = sp.csr_matrix((n_regions, n_clusters), dtype=np.float32)
    for start, x_BD, visits_BC in _beams(index, vectors):
        counts_CL = counts_CL + visits_BC.T @ labels_NL[start : start + len(x_BD)]
        if hierarchy is not None:
            counts_SC = counts_SC + _region_visits(hierarchy, x_BD).T @ visits_BC
    return counts_CL.tocsr(), counts_SC.tocsr()


def _beams(index: IndexNetwork, vectors: Any) -> Iterator[tuple[int, torch.Tensor, sp.csr_matrix]]:
    """First row, projected rows and scores of their beams (CSR) of one chunk after another."""
    device, n_clusters = index.label_bias_L.device, index.n_clusters
    width = min(index.config.beam_width, n_clusters)
    step = int(np.clip(_SCORED_AT_ONCE // n_clusters, 256, _CHUNK_ROWS))
    for start in range(0, len(vectors), step):
        rows = np.ascontiguousarray(vectors[start : start + step], dtype=np.float32)
        x_BD = index.projected(torch.tensor(rows, device=device))
        scores_BW, clusters_BW = _build_beam(index, x_BD, width)
        yield start, x_BD, as_csr(clusters_BW.cpu().numpy(), scores_BW.cpu().numpy(), n_clusters)


def _region_visits(hierarchy: RegionHierarchy, x_BD: torch.Tensor) -> sp.csr_matrix:
    scores_BW, regions_BW = hierarchy.router.beam(x_BD, hierarchy.W0)
    return as_csr(regions_BW.cpu().numpy(), scores_BW.cpu().numpy(), hierarchy.n_regions)


def _build_beam(
    index: IndexNetwork, x_BD: torch.Tensor, width: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The beam from all clusters; where there are too many, from a wide choice of them."""
    hierarchy = index.hierarchy
    if hierarchy is None or index.n_clusters <= DENSE_CLUSTERS:
        return index.router.beam(x_BD, width)
    # The regions are a partition still, whose edges do not order the clusters of a region.
    return hierarchy.beam(index.router, x_BD, width, widths=hierarchy.widths(4 * width))


def default_edges_per_cluster(n_labels: int, n_clusters: int) -> int:
    """M = 10 L / C, at most L (about ten clusters per label)."""
    return int(min(n_labels, max(1, round(10 * n_labels / n_clusters))))
