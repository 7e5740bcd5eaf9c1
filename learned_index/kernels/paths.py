"""Scores of the paths that :func:`~learned_index.kernels.explore` chose, differentiable."""

from __future__ import annotations

import torch

from learned_index.kernels.dispatch import choose
from learned_index.kernels.explore import Shortlist


def path_scores(
    scores_BW: torch.Tensor,
    edge_weights_CM: torch.Tensor,
    clusters_BW: torch.Tensor,
    shortlist: Shortlist,
    *,
    implementation: str = "auto",
) -> torch.Tensor:
    """``y_hat = s_c * e_cl`` of each shortlisted label's best path (equation 5).

    Args:
        scores_BW: float32 in [0, 1], scores of the explored clusters.
        edge_weights_CM: float32 in [0, 1].
        clusters_BW: int64, the explored clusters, -1 where unused.
        shortlist: What ``explore`` found in them.
        implementation: ``"auto"`` (Triton on CUDA, torch elsewhere), ``"torch"``, ``"triton"``.

    Returns:
        float32 B x K, 0 at pads; gradients flow to the scores and the weights.
    """
    valid_BK = shortlist.label_ids_BK >= 0
    chosen_BK = clusters_BW.gather(1, shortlist.slots_BK).clamp(min=0)
    edges_BK = chosen_BK * edge_weights_CM.shape[1] + shortlist.edges_BK
    if choose(scores_BW.device, implementation) == "triton":
        from learned_index.kernels.triton.paths import PathScoresTriton

        edges_BK = torch.where(valid_BK, edges_BK, -1)
        return PathScoresTriton.apply(scores_BW, edge_weights_CM, shortlist.slots_BK, edges_BK)  # type: ignore[no-any-return]
    weights_BK = edge_weights_CM.reshape(-1).index_select(0, edges_BK.reshape(-1))
    path_BK = scores_BW.gather(1, shortlist.slots_BK) * weights_BK.view(edges_BK.shape)
    return path_BK.masked_fill(~valid_BK, 0.0)
