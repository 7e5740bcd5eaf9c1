"""The regions that start stage 1 and their edges that start stage 2, as clusters have theirs."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from learned_index.index.build.clustering import balanced_partition, cluster_directions
from learned_index.index.graph import ClusterLabelGraph
from learned_index.index.hierarchy import default_edges_per_region
from learned_index.index.network import IndexNetwork
from learned_index.types import Float32Array

_MEASURED = 4096
_CHUNK_ROWS = 512


@torch.no_grad()
def partition_clusters(index: IndexNetwork, directions_CD: Float32Array) -> None:
    """Cut the clusters of a deep index into regions: every cluster hangs from its one region.

    Args:
        index: Allocated with a hierarchy; its regions get their vectors and edges.
        directions_CD: Unit vectors of the clusters.
    """
    hierarchy, training = index.hierarchy, index.training_config
    assert hierarchy is not None
    n_regions = hierarchy.n_regions
    region_C = balanced_partition([directions_CD], n_regions, seed=training.seed)
    region_SD = cluster_directions(region_C, n_regions, directions_CD)
    hierarchy.router.weight_CD.copy_(torch.from_numpy(region_SD * training.router_init_scale))
    hierarchy.graph = ClusterLabelGraph.from_partition(region_C, n_regions)


@torch.no_grad()
def learnable_region_edges(index: IndexNetwork, counts_SC: sp.csr_matrix) -> None:
    """Put edges with logits in the place of the partition of the clusters.

    Args:
        index: A deep index.
        counts_SC: How much the points that visit cluster c visit region s (A' = M^T Y with the
            clusters' beams as Y).
    """
    hierarchy, training = index.hierarchy, index.training_config
    assert hierarchy is not None
    n_clusters, n_regions = hierarchy.n_clusters, hierarchy.n_regions
    wanted = index.config.edges_per_region
    device = hierarchy.graph.edge_labels_CM.device
    hierarchy.graph = ClusterLabelGraph.from_counts(
        counts_SC,
        hierarchy.graph.strongest_cluster().cpu().numpy(),
        edges_per_cluster=wanted or default_edges_per_region(n_clusters, n_regions),
        scale=1.0,  # no cut at 1, which would make the clusters of a region tie
        init=training.edge_init,
        seed=training.seed,
    ).to(device)


@torch.no_grad()
def measure_coverage(index: IndexNetwork, vectors: Any) -> None:
    """Measure :attr:`RegionHierarchy.coverage` on some of the vectors, evenly chosen."""
    hierarchy = index.hierarchy
    assert hierarchy is not None
    chosen = np.linspace(0, len(vectors) - 1, min(len(vectors), _MEASURED)).astype(np.int64)
    total = 0.0
    for start in range(0, len(chosen), _CHUNK_ROWS):
        rows = np.ascontiguousarray(vectors[chosen[start : start + _CHUNK_ROWS]], dtype=np.float32)
        x_BD = index.projected(torch.tensor(rows, device=hierarchy.coverage.device))
        ids_BK = hierarchy.candidates(x_BD, hierarchy.W0, hierarchy.K0)
        softmax_BC = torch.softmax(index.router.logits(x_BD), dim=1)
        held_BK = softmax_BC.gather(1, ids_BK.clamp(min=0)).masked_fill(ids_BK < 0, 0.0)
        total += float(held_BK.sum(dtype=torch.float64))
    hierarchy.coverage.fill_(min(1.0, total / max(1, len(chosen))))
