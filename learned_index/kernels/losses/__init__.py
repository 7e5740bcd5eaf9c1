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
from torch.autograd.function import FunctionCtx, once_differentiable

from learned_index.kernels.losses import cpu, plain
from learned_index.kernels.losses.plain import classification_loss, shortlist_loss
from learned_index.kernels.machine.dispatch import choose

__all__ = ["both_losses", "classification_loss", "shortlist_loss"]


class _BothLosses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits_BK: torch.Tensor,
        path_scores_BK: torch.Tensor,
        n_positives_B: torch.Tensor,
        n_valid_B: torch.Tensor,
        version: Any,
    ) -> torch.Tensor:
        inputs = (logits_BK, path_scores_BK, n_positives_B, n_valid_B)
        both, ctx.gradients = version.forward(*inputs)
        ctx.version = version
        ctx.save_for_backward(*inputs)
        return both  # type: ignore[no-any-return]

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, *grads: torch.Tensor) -> Any:
        version, saved = ctx.version, ctx.saved_tensors  # type: ignore[attr-defined]
        gradients = ctx.gradients  # type: ignore[attr-defined]
        # They are given away, and may be added to: a second pass computes them again.
        ctx.gradients = None  # type: ignore[attr-defined]
        if gradients is None:
            _, gradients = version.forward(*saved)
        return *version.backward(grads[0], saved, gradients), None, None, None


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
    version: Any = cpu
    chosen = choose(logits_BK.device, implementation)
    if chosen == "torch":
        return plain.both_losses(logits_BK, path_scores_BK, n_positives_B, n_valid_B)
    if chosen == "triton":
        from learned_index.kernels.losses import cuda

        version = cuda
    both = _BothLosses.apply(logits_BK, path_scores_BK, n_positives_B, n_valid_B, version)
    return both[0], both[1]
