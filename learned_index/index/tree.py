"""The fixed partition of stage 1 as an index of its own: the classic tree to compare with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from learned_index.index.graph import ClusterLabelGraph
from learned_index.index.router import ClusterRouter
from learned_index.types import Int64Array

if TYPE_CHECKING:
    from learned_index.index.learned_graph_index import LearnedGraphIndex


def fixed_tree(index: LearnedGraphIndex) -> LearnedGraphIndex:
    """See :meth:`LearnedGraphIndex.fixed_tree`; the parameters are shared, not copied."""
    from learned_index.index.learned_graph_index import LearnedGraphIndex

    tree = LearnedGraphIndex(index.config, training=index.training_config)
    tree._dim = index._dim
    tree.projection = index.projection
    tree.hierarchy = None
    tree.router = ClusterRouter(index.n_clusters, index.dim, scale=index.config.router_scale)
    tree.router.weight_CD = nn.Parameter(index.tree_router_CD, requires_grad=False)
    tree.label_weight_LD, tree.label_bias_L = index.label_weight_LD, index.label_bias_L
    tree.register_buffer("cluster_of_label_L", index.cluster_of_label_L)
    tree.register_buffer("tree_router_CD", index.tree_router_CD)
    tree.register_buffer("input_scale", index.input_scale)
    cluster: Int64Array = index.cluster_of_label_L.cpu().numpy().astype(np.int64)
    tree.graph = ClusterLabelGraph.from_partition(cluster, index.n_clusters).to(
        index.label_bias_L.device
    )
    return tree
