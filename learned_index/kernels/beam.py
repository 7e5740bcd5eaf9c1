"""The best clusters of each query, best first."""

from __future__ import annotations

import numba
import numpy as np
import torch

from learned_index.kernels.dispatch import choose
from learned_index.kernels.engine_steps import best_rows
from learned_index.kernels.parallel import run_ranges, split_evenly

_WIDEST = 64
"""A wider beam is cheaper from torch's selection than from one insertion after the other."""


@numba.njit(nogil=True, cache=True)
def _best_rows(start, stop, logits_BC, out_BW):
    width = out_BW.shape[1]
    scores = np.empty(width, np.float32)
    for b in range(start, stop):
        best_rows(logits_BC[b], logits_BC.shape[1], width, out_BW[b], scores)


def best_clusters(
    logits_BC: torch.Tensor, width: int, *, implementation: str = "auto"
) -> torch.Tensor:
    """Numbers of the best clusters, int64 B x min(W, C), best first.

    Args:
        logits_BC: Logits, -inf at pads; which of equal ones enter is unspecified but repeatable.
        width: W.
        implementation: ``"auto"`` (Numba on the CPU, else torch), ``"numba"``, ``"torch"``.
    """
    width = min(width, logits_BC.shape[1])
    logits_BC = logits_BC.detach()
    by_insertion = width <= _WIDEST and logits_BC.dtype == torch.float32
    if choose(logits_BC.device, implementation) != "numba" or not by_insertion:
        return logits_BC.topk(width, dim=1).indices
    logits, out = logits_BC.contiguous().numpy(), np.empty((len(logits_BC), width), np.int64)
    run_ranges(
        split_evenly(len(out), torch.get_num_threads()),
        lambda _, a, b: _best_rows(a, b, logits, out),
    )
    return torch.from_numpy(out)
