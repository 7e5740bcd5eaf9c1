"""One step down a level in training: from a beam along weighted edges, differentiable.

Used from clusters to labels and, in a deep index, from regions to clusters.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from learned_index.graph.adjacency import ClusterLabelGraph
from learned_index.kernels import explore, path_scores


class Walk(NamedTuple):
    """Targets that the explored rows reach, the positives first.

    Attributes:
        ids_BK: int64 targets, -1 at pads.
        path_BK: Their scores in [0, 1], 0 at pads; differentiable in the rows' scores and edges.
        valid_BK: bool, not a pad.
        positive_BK: bool, the target is one of the query's.
        n_positives_B: int64, how many of the leading columns are positives.
    """

    ids_BK: torch.Tensor
    path_BK: torch.Tensor
    valid_BK: torch.Tensor
    positive_BK: torch.Tensor
    n_positives_B: torch.Tensor


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
        force_positives=True,
    )
    ids_BK = shortlist.label_ids_BK
    valid_BK = ids_BK >= 0
    # The kernel's choice is discrete: the chosen path is computed again for its gradient.
    path_BK = path_scores(scores_BW, edges_CM, rows_BW, shortlist)
    columns = torch.arange(size, device=ids_BK.device)[None, :]
    return Walk(
        ids_BK=ids_BK,
        path_BK=path_BK,
        valid_BK=valid_BK,
        positive_BK=columns < shortlist.n_positives_B[:, None],
        n_positives_B=shortlist.n_positives_B,
    )
