"""Both losses of a shortlist and their gradients in one pass (equation 7).

The plain version is :mod:`learned_index.training.losses`: a dozen element-wise passes over B x K,
which cost more than the arithmetic. Numba serves the CPU, Triton CUDA.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch.autograd.function import FunctionCtx, once_differentiable

from learned_index.errors import InputError
from learned_index.kernels.dispatch import choose
from learned_index.kernels.parallel import run_ranges, split_evenly


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _loss_rows(start, stop, z_BK, path_BK, n_pos_B, n_valid_B, loss_B, grad_z, grad_path):
    """Sum of the cross-entropy and of -log y_hat over positives; gradients of the former."""
    one = np.float32(1.0)
    tiny = np.float32(1e-30)
    for b in range(start, stop):
        cross_entropy = 0.0
        shortlisting = 0.0
        for k in range(n_valid_B[b]):
            z = z_BK[b, k]
            y = path_BK[b, k]
            u = np.exp(-abs(z))
            over = one / (one + u)
            # 1 - y * sigmoid(z) = a / (1 + u) without cancellation
            if z >= 0:
                a = max((one - y) + u, tiny)
                sigmoid = over
                rest = u * over
            else:
                a = one + (one - y) * u
                sigmoid = u * over
                rest = over
            if k < n_pos_B[b]:
                safe = max(y, np.float32(1e-12))
                log_y = np.log(safe)
                shortlisting -= log_y
                cross_entropy -= log_y + min(z, np.float32(0.0)) - np.log1p(u)
                grad_z[b, k] = -rest
                grad_path[b, k] = -one / safe
            else:
                cross_entropy -= np.log(a * over)
                ratio = sigmoid / (a * over)
                grad_z[b, k] = y * rest * ratio
                grad_path[b, k] = ratio
        for k in range(n_valid_B[b], z_BK.shape[1]):
            grad_z[b, k] = 0.0
            grad_path[b, k] = 0.0
        loss_B[b, 0] = cross_entropy
        loss_B[b, 1] = shortlisting


class _FusedLosses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits_BK: torch.Tensor,
        path_scores_BK: torch.Tensor,
        n_positives_B: torch.Tensor,
        n_valid_B: torch.Tensor,
    ) -> torch.Tensor:
        B = logits_BK.shape[0]
        z = logits_BK.detach().contiguous().numpy()
        path = path_scores_BK.detach().contiguous().numpy()
        n_pos, n_valid = n_positives_B.numpy(), n_valid_B.numpy()
        grad_z, grad_path = np.empty_like(z), np.empty_like(path)
        loss = np.empty((B, 2), np.float64)
        run_ranges(
            split_evenly(B, torch.get_num_threads()),
            lambda _, a, b: _loss_rows(a, b, z, path, n_pos, n_valid, loss, grad_z, grad_path),
        )
        ctx.save_for_backward(path_scores_BK, n_positives_B)
        ctx.gradients = (grad_z, grad_path)
        return torch.from_numpy((loss.sum(axis=0) / B).astype(np.float32))

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, *grads: torch.Tensor) -> Any:
        path_scores_BK, n_positives_B = ctx.saved_tensors  # type: ignore[attr-defined]
        grad_z, grad_path = (torch.from_numpy(g) for g in ctx.gradients)  # type: ignore[attr-defined]
        classification, shortlisting = (grads[0] / len(grad_z)).tolist()
        grad_path = grad_path * classification
        # The positives stand in the first columns: the shortlist loss touches those alone.
        width = int(n_positives_B.max()) if len(n_positives_B) else 0
        head = torch.arange(width)[None, :] < n_positives_B[:, None]
        grad_path[:, :width] -= shortlisting * head / path_scores_BK[:, :width].clamp(min=1e-12)
        return grad_z * classification, grad_path, None, None


def fused_losses(
    logits_BK: torch.Tensor,
    path_scores_BK: torch.Tensor,
    n_positives_B: torch.Tensor,
    n_valid_B: torch.Tensor,
    *,
    implementation: str = "auto",
) -> tuple[torch.Tensor, torch.Tensor]:
    """Classification and shortlist loss, means over queries.

    Args:
        logits_BK: float32.
        path_scores_BK: float32 in [0, 1].
        n_positives_B: int64; the first columns of each row are its positives.
        n_valid_B: int64; columns from here on are pads.
        implementation: ``"auto"``, ``"numba"``, ``"triton"``.

    Returns:
        Two scalars, differentiable in the logits and the path scores.

    Raises:
        InputError: Plain torch was asked for; it is in :mod:`learned_index.training.losses`.
    """
    chosen = choose(logits_BK.device, implementation)
    if chosen == "torch":
        raise InputError(
            "the fused losses have no plain torch version; use classification_loss and "
            "shortlist_loss of learned_index.training.losses"
        )
    run: Any = _FusedLosses
    if chosen == "triton":
        from learned_index.kernels.triton.loss import FusedLossesTriton

        run = FusedLossesTriton
    both = run.apply(logits_BK, path_scores_BK, n_positives_B, n_valid_B)
    return both[0], both[1]
