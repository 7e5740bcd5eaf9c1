"""Edge weights in plain torch, on any device: the oracle of :mod:`.cpu`."""

from __future__ import annotations

import torch


def edge_strengths(logits_CM: torch.Tensor, labels_CM: torch.Tensor, scale: float) -> torch.Tensor:
    """``scale * softmax`` over the edges of each cluster, before the cut at 1; 0 at pads."""
    logits = logits_CM.masked_fill(labels_CM < 0, float("-inf"))
    weights = torch.softmax(logits.float(), dim=-1).nan_to_num(0.0)  # a row without edges
    return scale * weights


def edge_weights(logits_CM: torch.Tensor, labels_CM: torch.Tensor, scale: float) -> torch.Tensor:
    """See :func:`learned_index.kernels.edges.edge_weights`."""
    return torch.clamp(edge_strengths(logits_CM, labels_CM, scale), max=1.0)


def strongest_clusters(
    edge_labels_CM: torch.Tensor, weights_CM: torch.Tensor, n_labels: int
) -> torch.Tensor:
    """See :func:`learned_index.kernels.edges.strongest_clusters`."""
    C, M = weights_CM.shape
    present = (edge_labels_CM >= 0).reshape(-1)
    labels = edge_labels_CM.reshape(-1)[present].long()
    weights = weights_CM.reshape(-1)[present]
    clusters = torch.arange(C, device=weights.device).repeat_interleave(M)[present]
    best = weights.new_full((n_labels,), -1.0)
    best.scatter_reduce_(0, labels, weights, "amax")
    wins = weights == best[labels]
    first = torch.full((n_labels,), C, device=weights.device)
    first.scatter_reduce_(0, labels[wins], clusters[wins], "amin")
    return torch.where(first == C, -1, first)
