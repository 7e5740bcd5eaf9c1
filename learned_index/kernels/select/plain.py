"""Selection in plain torch, on any device: the oracle of :func:`.cpu.rank_best`."""

from __future__ import annotations

import torch

from learned_index.types import PAD_ID, PAD_SCORE


def best_in_order(
    scores_BK: torch.Tensor, ids_BK: torch.Tensor, k: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The k best, best first, and of equal scores the smaller ids first.

    One selection over 64-bit keys that are all different: the bits of the score (floats that are
    not negative are ordered as their bits) above the id counted from the end.
    """
    bits = scores_BK.float().view(torch.int32).long()
    last = (1 << 32) - 1
    key = torch.where(ids_BK < 0, -1, (bits << 32) | (last - ids_BK))
    top = key.topk(k, dim=1).values
    missing = top < 0
    scores = (top >> 32).int().view(torch.float32).masked_fill(missing, PAD_SCORE)
    return (last - (top & last)).masked_fill(missing, PAD_ID), scores
