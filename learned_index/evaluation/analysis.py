"""The decile and edge analysis of a trained index in one call (paper, analysis section)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch

from learned_index.errors import InputError
from learned_index.evaluation.deciles import frequency_groups, mean_by_group, recall_by_group
from learned_index.evaluation.edges import (
    EdgeDistribution,
    PartitionOverlap,
    clusters_per_label,
    edge_distribution,
    partition_overlap,
)
from learned_index.index.learned_graph_index import LearnedGraphIndex
from learned_index.types import Int64Array, SearchResult

EDGE_THRESHOLD = 0.25
"""An edge above this weight counts as "the label is in the cluster", unless the caller says."""


@dataclass(frozen=True, kw_only=True)
class GraphAnalysis:
    """The graph of one index.

    Attributes:
        clusters_per_label: For each group: mean clusters of a label by edges above the threshold.
        edges_per_label: For each group: mean edges of a label, of any weight.
        overlap: What remains of the stage-1 partition; None where the graph is still that.
        distribution: Weights of the edges.
        n_unreachable: Labels without any edge.
    """

    clusters_per_label: list[float]
    edges_per_label: list[float]
    overlap: PartitionOverlap | None
    distribution: EdgeDistribution
    n_unreachable: int


@dataclass(frozen=True, kw_only=True)
class IndexAnalysis:
    """The whole analysis; groups go from the most frequent labels to the rarest.

    Attributes:
        k: Cut-off of the recall.
        edge_threshold: Weight above which an edge counts for ``clusters_per_label``.
        group_sizes: Labels of each group.
        group_counts: For each group: least and largest training count of its labels.
        recall: For each group: recall@k in percent, None without a pair.
        n_pairs: For each group: (point, true label) pairs.
        n_pairs_untrained: Pairs whose label the model does not know, always missed.
        graphs: One analysis for each index (several for an ensemble).
    """

    k: int
    edge_threshold: float
    group_sizes: list[int]
    group_counts: list[tuple[int, int]]
    recall: list[float | None]
    n_pairs: list[int]
    n_pairs_untrained: int
    graphs: list[GraphAnalysis]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able dictionary of everything."""
        return {
            "k": self.k,
            "edge_threshold": self.edge_threshold,
            "n_pairs_untrained": self.n_pairs_untrained,
            "groups": self.group_rows(),
            "graphs": [
                {
                    "n_unreachable": graph.n_unreachable,
                    "partition": None if graph.overlap is None else graph.overlap._asdict(),
                    "edges": {
                        **graph.distribution._asdict(),
                        "bin_edges": graph.distribution.bin_edges.tolist(),
                        "bin_counts": graph.distribution.bin_counts.tolist(),
                    },
                }
                for graph in self.graphs
            ],
        }

    def histogram_rows(self) -> list[dict[str, Any]]:
        """Rows for a table: how many edges of each index weigh so much."""
        return [
            {
                "model": number,
                "weight_from": round(float(low), 6),
                "weight_to": round(float(high), 6),
                "edges": int(count),
            }
            for number, graph in enumerate(self.graphs, start=1)
            for (low, high), count in zip(
                pairwise(graph.distribution.bin_edges), graph.distribution.bin_counts, strict=True
            )
        ]

    def group_rows(self) -> list[dict[str, Any]]:
        """One dictionary for each group, of plain numbers: the rows of a table or a CSV file."""
        rows = []
        for group, size in enumerate(self.group_sizes):
            row: dict[str, Any] = {
                "group": group + 1,
                "n_labels": size,
                "min_count": self.group_counts[group][0],
                "max_count": self.group_counts[group][1],
                "n_pairs": self.n_pairs[group],
                f"R@{self.k}": self.recall[group],
            }
            for number, graph in enumerate(self.graphs):
                suffix = "" if len(self.graphs) == 1 else f"_{number + 1}"
                row[f"clusters_per_label{suffix}"] = graph.clusters_per_label[group]
                row[f"edges_per_label{suffix}"] = graph.edges_per_label[group]
            rows.append(row)
        return rows


def analyse_graph(
    index: LearnedGraphIndex,
    group_of_label_L: Int64Array,
    *,
    edge_threshold: float = EDGE_THRESHOLD,
    n_bins: int = 20,
) -> GraphAnalysis:
    """Analyse the edges of one fitted index.

    Args:
        index: Fitted.
        group_of_label_L: From :func:`frequency_groups`.
        edge_threshold: Weight above which an edge counts as membership.
        n_bins: Bins of the histogram of weights.
    """
    with torch.no_grad():
        weights = index.graph.weights().cpu().numpy()
    labels = index.graph.edge_labels_CM.cpu().numpy()
    n_labels = index.n_labels
    overlap = None
    if index.is_graph_learned:
        overlap = partition_overlap(
            labels, weights, index.cluster_of_label_L.cpu().numpy(), threshold=edge_threshold
        )
    edges = clusters_per_label(labels, weights, n_labels)
    members = clusters_per_label(labels, weights, n_labels, threshold=edge_threshold)
    return GraphAnalysis(
        clusters_per_label=mean_by_group(members, group_of_label_L).tolist(),
        edges_per_label=mean_by_group(edges, group_of_label_L).tolist(),
        overlap=overlap,
        distribution=edge_distribution(labels, weights, n_bins=n_bins),
        n_unreachable=int((edges == 0).sum()),
    )


def analyse_index(
    indexes: LearnedGraphIndex | Sequence[LearnedGraphIndex],
    result: SearchResult | Int64Array,
    truth_NL: sp.csr_matrix,
    label_counts_L: npt.ArrayLike,
    *,
    k: int = 100,
    n_groups: int = 10,
    edge_threshold: float = EDGE_THRESHOLD,
) -> IndexAnalysis:
    """Recall and clusters by label frequency, remaining stage-1 edges, edge weights.

    Args:
        indexes: A fitted index, or those of an ensemble, over the same L labels.
        result: Answers on N points (of the whole model), at least k wide.
        truth_NL: True labels of the points; columns behind the first L are labels that the model
            does not know.
        label_counts_L: Training points of each of the L labels.
        k: Cut-off of the recall.
        n_groups: Groups of equal numbers of labels, by training frequency.
        edge_threshold: Weight above which an edge counts as membership of a cluster.

    Raises:
        InputError: Shapes do not fit.
    """
    members = list(indexes) if isinstance(indexes, Sequence) else [indexes]
    counts = np.asarray(label_counts_L)
    for member in members:
        if member.n_labels != len(counts):
            raise InputError(
                f"got training counts of {len(counts)} labels, the index has {member.n_labels}"
            )
    groups = frequency_groups(counts, n_groups=n_groups)
    if truth_NL.shape[1] < len(counts):
        raise InputError(
            f"the truth has {truth_NL.shape[1]} labels, the index {len(counts)}; number the "
            "labels as the model does"
        )
    unknown = truth_NL.shape[1] - len(counts)
    recall = recall_by_group(
        result, truth_NL, np.concatenate([groups, np.full(unknown, -1)]).astype(np.int64), k=k
    )
    sizes = np.bincount(groups)
    inside = [counts[groups == group] for group in range(len(sizes))]
    return IndexAnalysis(
        k=k,
        edge_threshold=edge_threshold,
        group_sizes=sizes.tolist(),
        group_counts=[(int(values.min()), int(values.max())) for values in inside],
        recall=[None if np.isnan(value) else float(value) for value in recall.recall_G],
        n_pairs=recall.n_pairs_G.tolist(),
        n_pairs_untrained=int(truth_NL.nnz - recall.n_pairs_G.sum()),
        graphs=[analyse_graph(m, groups, edge_threshold=edge_threshold) for m in members],
    )
