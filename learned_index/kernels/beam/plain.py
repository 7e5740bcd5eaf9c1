"""The beam in plain torch, on any device: the oracle of :mod:`.cpu`."""

from __future__ import annotations

import torch


def best_clusters(
    logits_BC: torch.Tensor, width: int, teacher_BP: torch.Tensor | None
) -> torch.Tensor:
    """See :func:`learned_index.kernels.beam.best_clusters`."""
    beam = logits_BC.topk(width, dim=1).indices
    if teacher_BP is None or teacher_BP.shape[1] == 0:
        return beam
    in_beam = torch.zeros_like(logits_BC, dtype=torch.bool).scatter_(1, beam, True)
    known = in_beam.gather(1, teacher_BP.clamp(min=0))
    return torch.cat([beam, distinct(teacher_BP.masked_fill(known, -1))], dim=1)


def cluster_scores(
    logits_BC: torch.Tensor, clusters_BW: torch.Tensor, scale: float
) -> torch.Tensor:
    """See :func:`learned_index.kernels.beam.cluster_scores`."""
    scores_BC = torch.clamp(scale * torch.softmax(logits_BC.float(), dim=-1), max=1.0)
    scores_BW = scores_BC.gather(1, clusters_BW.clamp(min=0))
    return scores_BW.masked_fill(clusters_BW < 0, 0.0)


def distinct(ids_BP: torch.Tensor) -> torch.Tensor:
    """Each row's different ids, int64 B x P' with P' <= P, descending, -1 where unused."""
    ids = ids_BP.sort(dim=1, descending=True).values
    repeated = torch.zeros_like(ids, dtype=torch.bool)
    repeated[:, 1:] = ids[:, 1:] == ids[:, :-1]
    ids = ids.masked_fill(repeated, -1).sort(dim=1, descending=True).values
    width = int((ids >= 0).sum(1).max()) if ids.numel() else 0
    return ids[:, :width]
