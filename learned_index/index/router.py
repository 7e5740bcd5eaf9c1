"""Scores of clusters and the beam (paper, section 3.1; equations 2 and 3 of the docs)."""

from __future__ import annotations

import torch
from torch import nn

from learned_index.types import Float32Array


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

    def vectors(self) -> Float32Array:
        """The cluster vectors, float32 C x D on the CPU."""
        vectors: Float32Array = self.weight_CD.detach().cpu().numpy()
        return vectors

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
