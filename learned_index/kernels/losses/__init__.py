"""Both losses of a shortlist and their gradients in one pass.

Equation 7, the classification loss: binary cross-entropy of ``p = y_hat sigmoid(z)`` over the
shortlist, summed over labels, mean over queries (the paper misprints the negative term)::

    L_c = -sum_l [y_l log p_l + (1 - y_l) log(1 - p_l)]

Equation 8, the shortlist loss, over all positives that the explored paths reach; those that the
choice of the K best would drop count too, or the clusters never learn::

    L_s = -sum_{l positive} log y_hat_l

The gradients of both are linear in what comes back for them, so that they can be had on the way
forward, from the exponentials that the losses need anyway.

Versions: :mod:`.plain` (torch, any device), :mod:`.cpu` (Numba) and :mod:`.cuda` (Triton).
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from learned_index.kernels.losses import plain
from learned_index.kernels.losses.plain import classification_loss, shortlist_loss
from learned_index.kernels.machine.dispatch import version_of

__all__ = ["both_losses", "classification_loss", "shortlist_loss"]


class _BothLosses(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, version: Any, *inputs: torch.Tensor) -> torch.Tensor:
        both, ctx.gradients = version.forward(*inputs)
        ctx.version = version
        ctx.save_for_backward(*inputs)
        return both  # type: ignore[no-any-return]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        version, saved, gradients = ctx.version, ctx.saved_tensors, ctx.gradients
        # They are given away, and may be added to: a second pass computes them again.
        ctx.gradients = None
        if gradients is None:
            _, gradients = version.forward(*saved)
        return None, *version.backward(grads[0], saved, gradients), None, None


def both_losses(
    logits_BK: torch.Tensor,
    path_scores_BK: torch.Tensor,
    n_positives_B: torch.Tensor,
    n_valid_B: torch.Tensor,
    *,
    implementation: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Classification and shortlist loss, means over queries (equations 7 and 8).

    Args:
        logits_BK: float32.
        path_scores_BK: float32 in [0, 1].
        n_positives_B: int64; the first columns of each row are its positives.
        n_valid_B: int64; columns from here on are pads.
        implementation: A version (:mod:`learned_index.kernels.machine.dispatch`).

    Returns:
        Two scalars, differentiable in the logits and the path scores.
    """
    version = version_of(__name__, logits_BK.device, implementation)
    inputs = (logits_BK, path_scores_BK, n_positives_B, n_valid_B)
    if version is plain:
        return plain.both_losses(*inputs)
    both = _BothLosses.apply(version, *inputs)
    return both[0], both[1]
