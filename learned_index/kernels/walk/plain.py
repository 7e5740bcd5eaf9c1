"""The walk in plain torch, on any device: the oracle of :mod:`.cpu` and :mod:`.cuda`."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch


class Beam(NamedTuple):
    """What :func:`learned_index.kernels.walk.explore` was given, see there; without gradients."""

    clusters_BW: torch.Tensor
    scores_BW: torch.Tensor
    edge_labels_CM: torch.Tensor
    edge_weights_CM: torch.Tensor
    positives_BP: torch.Tensor
    n_labels: int
    shortlist_size: int


def explore(beam: Beam) -> list[torch.Tensor]:
    """See :func:`learned_index.kernels.walk.explore`; the fields of its result. B x L scratch."""
    clusters_BW, scores_BW, edge_labels_CM, edge_weights_CM, positives_BP, n_labels, K = beam
    B, W = clusters_BW.shape
    M = edge_labels_CM.shape[1]
    device = scores_BW.device
    safe_BW = clusters_BW.clamp(min=0)
    labels = edge_labels_CM[safe_BW].long().reshape(B, W * M)
    paths = (scores_BW[:, :, None] * edge_weights_CM[safe_BW]).reshape(B, W * M)
    dead = (labels < 0) | (clusters_BW < 0).repeat_interleave(M, dim=1)
    target = torch.where(dead, n_labels, labels)  # one extra column takes what does not count
    best = torch.full((B, n_labels + 1), -1.0, device=device, dtype=paths.dtype)
    best.scatter_reduce_(1, target, paths.masked_fill(dead, -1.0), "amax")
    position = torch.arange(W * M, device=device).expand(B, -1)
    wins = (paths == best.gather(1, target)) & ~dead
    first = torch.full((B, n_labels + 1), W * M, device=device, dtype=torch.long)
    first.scatter_reduce_(1, target, torch.where(wins, position, W * M), "amin")
    best, first = best[:, :n_labels], first[:, :n_labels]

    n_positives = torch.zeros(B, dtype=torch.long, device=device)
    key = best.clone()
    if positives_BP.shape[1]:
        safe_BP = positives_BP.clamp(min=0)
        reached_BP = (positives_BP >= 0) & (best.gather(1, safe_BP) >= 0)
        n_positives = reached_BP.sum(1).clamp(max=K)
        # rank the reached positives above everything else, in the order given
        order = torch.arange(positives_BP.shape[1], 0, -1, device=device, dtype=key.dtype)
        rank = torch.where(reached_BP, 2.0 + order, torch.full_like(order, -1.0))
        key.scatter_reduce_(1, safe_BP, rank, "amax")
    k = min(K, n_labels)
    top, ids = key.topk(k, dim=1)
    found = top >= 0
    chosen = first.gather(1, ids)
    chosen = torch.where(found, chosen, 0)
    ids = torch.where(found, ids, -1)
    pad = (0, K - k)
    return [
        torch.nn.functional.pad(ids, pad, value=-1),
        torch.nn.functional.pad(chosen // M, pad),
        torch.nn.functional.pad(chosen % M, pad),
        n_positives,
        (ids >= 0).sum(dim=1),
    ]


def edge_places(clusters_BW: torch.Tensor, shortlist: Any, n_edges: int) -> torch.Tensor:
    """Places of the chosen edges in C x M, int64 B x K; anything at pads."""
    chosen_BK = clusters_BW.gather(1, shortlist.slots_BK.long()).clamp(min=0)
    edges_BK: torch.Tensor = shortlist.edges_BK
    return chosen_BK * n_edges + edges_BK


def path_scores(
    scores_BW: torch.Tensor,
    edge_weights_CM: torch.Tensor,
    clusters_BW: torch.Tensor,
    shortlist: Any,
) -> torch.Tensor:
    """See :func:`learned_index.kernels.walk.path_scores`."""
    edges_BK = edge_places(clusters_BW, shortlist, edge_weights_CM.shape[1])
    weights_BK = edge_weights_CM.reshape(-1).index_select(0, edges_BK.reshape(-1))
    path_BK = scores_BW.gather(1, shortlist.slots_BK.long()) * weights_BK.view(edges_BK.shape)
    return path_BK.masked_fill(shortlist.label_ids_BK < 0, 0.0)
