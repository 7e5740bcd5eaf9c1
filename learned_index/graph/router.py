"""Scores of clusters and the beam (paper, section 3.1; equations 2 and 3 of the docs)."""

from __future__ import annotations

import torch
from torch import nn

from learned_index.kernels.beam import best_clusters
from learned_index.kernels.beam import distinct as distinct


class ClusterRouter(nn.Module):
    """Linear scorer of clusters, ``s = min(1, alpha * softmax(x W^T))``.

    Args:
        n_clusters: C.
        dim: D.
        scale: alpha. With alpha > 1 several clusters of one query can have score 1.
    """

    def __init__(self, n_clusters: int, dim: int, *, scale: float) -> None:
        super().__init__()
        self.weight_CD = nn.Parameter(torch.zeros(n_clusters, dim))
        self.scale = scale

    def logits(self, x_BD: torch.Tensor) -> torch.Tensor:
        """Inner products with all clusters, B x C; they order the clusters of a beam."""
        return x_BD @ self.weight_CD.T

    def scores(self, logits_BC: torch.Tensor, *, share: float = 1.0) -> torch.Tensor:
        """``min(1, share * alpha * softmax)``, float32 B x C in [0, 1].

        Args:
            logits_BC: Logits of all clusters, or of some, -inf at pads.
            share: Part of the softmax over all clusters that these hold.
        """
        softmax = torch.softmax(logits_BC.float(), dim=-1)
        return torch.clamp(share * self.scale * softmax, max=1.0)

    def forward(self, x_BD: torch.Tensor) -> torch.Tensor:
        """Scores of all clusters, float32 B x C in [0, 1]."""
        return self.scores(self.logits(x_BD))

    def beam(self, x_BD: torch.Tensor, beam_width: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores (float32 B x W) and numbers (int64 B x W) of the best clusters, best first.

        Clusters are ranked by their logits: several scores may be cut off at 1.
        """
        logits_BC = self.logits(x_BD)
        clusters_BW = logits_BC.topk(min(beam_width, logits_BC.shape[1]), dim=1).indices
        return self.scores(logits_BC).gather(1, clusters_BW), clusters_BW


def beam_with_teacher_forcing(
    logits_BC: torch.Tensor, beam_width: int, teacher_clusters_BP: torch.Tensor | None
) -> torch.Tensor:
    """The best clusters of each query; in training also those that hold its labels.

    Args:
        logits_BC: Cluster logits; they order the clusters, also those whose scores are cut at 1.
        beam_width: W.
        teacher_clusters_BP: int64, for each positive label the cluster with its strongest edge, -1
            where unused; duplicates and clusters of the beam are dropped.

    Returns:
        int64 B x (W + P), -1 where unused, no cluster twice in a row.
    """
    return best_clusters(logits_BC, beam_width, teacher_clusters_BP)
