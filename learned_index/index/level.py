"""One step down a level in training: from a beam along weighted edges, differentiable.

Used from clusters to labels and, in a deep index, from regions to clusters.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from learned_index.index.graph import ClusterLabelGraph
from learned_index.kernels.walk import explore, path_scores


class Walk(NamedTuple):
    """Targets that the explored rows reach, the positives first, pads last.

    Attributes:
        ids_BK: int64 targets, -1 at pads.
        path_BK: Their scores in [0, 1], 0 at pads; differentiable in the rows' scores and edges.
        n_positives_B: int64, how many of the leading columns are positives.
        n_valid_B: int64, how many of the leading columns are targets.
    """

    ids_BK: torch.Tensor
    path_BK: torch.Tensor
    n_positives_B: torch.Tensor
    n_valid_B: torch.Tensor

    @property
    def valid_BK(self) -> torch.Tensor:  # noqa: N802
        """bool, not a pad."""
        return self.ids_BK >= 0

    @property
    def positive_BK(self) -> torch.Tensor:  # noqa: N802
        """bool, the target is one of the query's."""
        columns = torch.arange(self.ids_BK.shape[1], device=self.ids_BK.device)
        return columns[None, :] < self.n_positives_B[:, None]


def teacher_rows(strongest: torch.Tensor, positives_BP: torch.Tensor) -> torch.Tensor:
    """The row with the strongest edge to each positive, int64 B x P, -1 where there is none."""
    return torch.where(positives_BP >= 0, strongest[positives_BP.clamp(min=0)], -1)


def walk_edges(
    rows_BW: torch.Tensor,
    scores_BW: torch.Tensor,
    graph: ClusterLabelGraph,
    edges_CM: torch.Tensor,
    *,
    positives_BP: torch.Tensor,
    size: int,
) -> Walk:
    """The best targets of a beam, and every positive that it reaches.

    Args:
        rows_BW: int64 explored rows, -1 where unused, no row twice.
        scores_BW: float32 in [0, 1], 0 where unused.
        graph: Edges from rows to targets.
        edges_CM: ``graph.weights()``.
        positives_BP: int64 targets, -1 where unused, none twice in a row.
        size: K, targets to return.
    """
    shortlist = explore(
        rows_BW,
        scores_BW,
        graph.edge_labels_CM,
        edges_CM,
        n_labels=graph.n_labels,
        shortlist_size=size,
        positives_BP=positives_BP,
    )
    # The kernel's choice is discrete: the chosen path's score is made differentiable here.
    path_BK = path_scores(scores_BW, edges_CM, rows_BW, shortlist, found_BK=shortlist.path_BK)
    return Walk(
        ids_BK=shortlist.label_ids_BK,
        path_BK=path_BK,
        n_positives_B=shortlist.n_positives_B,
        n_valid_B=shortlist.n_valid_B,
    )
