"""Both losses of a shortlist and their gradients in one pass (equation 7).

The gradients of the cross-entropy are linear in what comes back for it, so that they can be had on
the way, from the exponentials that the loss needs anyway. The plain version is
:mod:`learned_index.training.losses`: a dozen element-wise passes over B x K, which cost more than
the arithmetic. Numba serves the CPU, Triton CUDA.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch.autograd.function import FunctionCtx, once_differentiable

from learned_index.errors import InputError
from learned_index.kernels.dispatch import choose
from learned_index.kernels.intrinsics import fast_exp, fast_log
from learned_index.kernels.parallel import run_ranges, split_evenly

_BLOCK = 256
"""Terms of a sum that are added in float32 before they go into the float64."""
_ONE, _LEAST = np.float32(1.0), np.float32(1e-12)
_ROUNDS_WELL: Any = {"contract", "nsz"}


@numba.njit(nogil=True, cache=True, fastmath=_ROUNDS_WELL, error_model="numpy", forceinline=True)
def _parts_of_not_p(z, y):
    """``u = exp(-|z|)``, and a with ``1 - y sigmoid(z) = a / (1 + u)`` without cancellation."""
    u = fast_exp(-abs(z))
    rest = _ONE - y
    a = rest + u if z >= 0 else _ONE + rest * u
    return u, max(a, np.float32(1e-30))


@numba.njit(nogil=True, cache=True, fastmath=_ROUNDS_WELL, error_model="numpy", forceinline=True)
def _negative(z, y):
    """``log(1 - y sigmoid(z))``, and the derivatives of its negative in z and in y."""
    u, a = _parts_of_not_p(z, y)
    inverse = _ONE / (_ONE + u)
    ratio = (_ONE if z >= 0 else u) / a
    rest = (u if z >= 0 else _ONE) * inverse
    return fast_log(a * inverse), y * rest * ratio, ratio


# Only sums may be reordered: what is called keeps its own rules.
@numba.njit(
    nogil=True,
    cache=True,
    fastmath={"reassoc", "contract", "nsz"},
    error_model="numpy",
    forceinline=True,
)
def _block_of_negatives(z, y, factor, grad_z, grad_y):
    """Sum of the losses of some negatives; writes their gradients times a factor."""
    total = np.float32(0.0)
    for k in range(z.shape[0]):
        log, by_z, by_y = _negative(z[k], y[k])
        total -= log
        grad_z[k] = factor * by_z
        grad_y[k] = factor * by_y
    return total


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _loss_rows(start, stop, z_BK, y_BK, n_pos_B, n_valid_B, factor, loss_B, grad_z, grad_y):
    """Sum of the cross-entropy, and of -log y_hat over positives; gradients of the former.

    Those of positives in y are left to :func:`_gradients_of_positives`.
    """
    for b in range(start, stop):
        n_pos, n_valid = n_pos_B[b], n_valid_B[b]
        cross_entropy = shortlisting = 0.0
        for k in range(n_pos):
            z = z_BK[b, k]
            u = np.exp(-abs(z))
            log_y = np.log(max(y_BK[b, k], _LEAST))
            shortlisting -= log_y
            cross_entropy -= log_y + min(z, np.float32(0.0)) - np.log1p(u)
            grad_z[b, k] = -factor * (u if z >= 0 else _ONE) / (_ONE + u)
        for first in range(n_pos, n_valid, _BLOCK):
            last = min(first + _BLOCK, n_valid)
            cross_entropy += np.float64(
                _block_of_negatives(
                    z_BK[b, first:last], y_BK[b, first:last], factor,
                    grad_z[b, first:last], grad_y[b, first:last],
                )
            )  # fmt: skip
        grad_z[b, n_valid:] = 0.0
        grad_y[b, n_valid:] = 0.0
        loss_B[b, 0] = cross_entropy
        loss_B[b, 1] = shortlisting


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _gradients_of_positives(y_BK, n_pos_B, factor, grad_y):
    for b in range(y_BK.shape[0]):
        for k in range(n_pos_B[b]):
            grad_y[b, k] = -factor / max(y_BK[b, k], _LEAST)


def _losses(z: Any, y: Any, n_pos: Any, n_valid: Any) -> tuple[Any, Any, Any]:
    """Both losses of each query, and the gradients of the mean cross-entropy."""
    loss, grad_z, grad_y = np.empty((len(z), 2)), np.empty_like(z), np.empty_like(y)
    factor = np.float32(1.0 / max(len(z), 1))
    run_ranges(
        split_evenly(len(z), torch.get_num_threads()),
        lambda _, a, b: _loss_rows(a, b, z, y, n_pos, n_valid, factor, loss, grad_z, grad_y),
    )
    return loss, grad_z, grad_y


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
        arrays = _as_arrays(logits_BK, path_scores_BK, n_positives_B, n_valid_B)
        loss, *ctx.gradients = _losses(*arrays)
        ctx.save_for_backward(logits_BK, path_scores_BK, n_positives_B, n_valid_B)
        return torch.from_numpy((loss.sum(axis=0) / B).astype(np.float32))

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, *grads: torch.Tensor) -> Any:
        z, y, n_pos, n_valid = _as_arrays(*ctx.saved_tensors)  # type: ignore[attr-defined]
        gradients = ctx.gradients  # type: ignore[attr-defined]
        # They are given away, and may be added to: a second pass computes them again.
        ctx.gradients = None  # type: ignore[attr-defined]
        grad_z, grad_y = gradients or _losses(z, y, n_pos, n_valid)[1:]
        classification, shortlisting = grads[0].tolist()
        if classification != 1.0:
            grad_z *= np.float32(classification)
            grad_y *= np.float32(classification)
        factor = np.float32((classification + shortlisting) / len(z))
        _gradients_of_positives(y, n_pos, factor, grad_y)
        return torch.from_numpy(grad_z), torch.from_numpy(grad_y), None, None


def _as_arrays(*tensors: torch.Tensor) -> list[np.ndarray[Any, Any]]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


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
