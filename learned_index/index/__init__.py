"""The index itself: clustering, cluster-label graph, router, search."""

from learned_index.index.config import IndexConfig, TrainingConfig
from learned_index.index.graph import ClusterLabelGraph, PruningReport
from learned_index.index.learned_graph_index import LearnedGraphIndex
from learned_index.index.loss import IndexOutput
from learned_index.index.router import ClusterRouter

__all__ = [
    "ClusterLabelGraph",
    "ClusterRouter",
    "IndexConfig",
    "IndexOutput",
    "LearnedGraphIndex",
    "PruningReport",
    "TrainingConfig",
]
