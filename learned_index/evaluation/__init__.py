"""What a trained index learned: by label frequency, by edge; and the tables of the paper."""

from learned_index.evaluation.analysis import (
    GraphAnalysis,
    IndexAnalysis,
    analyse_graph,
    analyse_index,
)
from learned_index.evaluation.deciles import (
    frequency_groups,
    mean_by_group,
    recall_by_group,
)
from learned_index.evaluation.edges import (
    clusters_per_label,
    edge_distribution,
    partition_overlap,
)

__all__ = [
    "GraphAnalysis",
    "IndexAnalysis",
    "analyse_graph",
    "analyse_index",
    "clusters_per_label",
    "edge_distribution",
    "frequency_groups",
    "mean_by_group",
    "partition_overlap",
    "recall_by_group",
]
