"""The index itself: clustering, cluster-label graph, router, search."""

from learned_index.graph.adjacency import ClusterLabelGraph
from learned_index.graph.config import IndexConfig, TrainingConfig
from learned_index.graph.learned_graph_index import LearnedGraphIndex
from learned_index.graph.output import IndexOutput
from learned_index.graph.pruning import PruningReport
from learned_index.graph.router import ClusterRouter

__all__ = [
    "ClusterLabelGraph",
    "ClusterRouter",
    "IndexConfig",
    "IndexOutput",
    "LearnedGraphIndex",
    "PruningReport",
    "TrainingConfig",
]
