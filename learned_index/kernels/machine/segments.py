"""Group pairs by a key, so that one program owns everything that belongs to one key."""

from __future__ import annotations

import torch


def group_by_key(keys_N: torch.Tensor, n_keys: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Sort pairs by key; nothing is read back from the device.

    Args:
        keys_N: Integers below ``n_keys``; negative ones are left out.
        n_keys: Number of possible keys.

    Returns:
        order_N: int64, pairs in ascending order of key, those of one key in ascending order.
        starts_S1: int64, ``order_N[starts_S1[s]:starts_S1[s + 1]]`` are the pairs of the s-th key
            that occurs; S is min(N, n_keys), and groups beyond the last key are empty.
    """
    N = keys_N.numel()
    S = min(N, n_keys)
    flat = keys_N.reshape(-1)
    last = torch.full_like(flat, n_keys)
    flat = torch.where(flat < 0, last, flat)
    if n_keys < 1 << 31:
        flat = flat.to(torch.int32)  # half the passes of a radix sort
    ordered, order_N = flat.sort(stable=True)
    is_first = ordered < n_keys
    n_live = is_first.sum()
    is_first[1:] &= ordered[1:] != ordered[:-1]
    group = is_first.cumsum(0) - 1
    place = torch.where(is_first, group, S + 1)  # all others go to a cell that is cut off
    starts = n_live.expand(S + 2).clone()
    starts.scatter_(0, place, torch.arange(N, device=flat.device))
    return order_N, starts[: S + 1]
