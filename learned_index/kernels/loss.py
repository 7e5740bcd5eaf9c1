"""Both losses of a shortlist in one pass, their gradients in another (equation 7).

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
from learned_index.kernels.intrinsics import fast_exp, fast_log
from learned_index.kernels.parallel import run_ranges, split_evenly

_BLOCK = 256
"""Terms of a sum that are added in float32 before they go into the float64."""
_ONE = np.float32(1.0)
_ROUNDS_WELL: Any = {"contract", "nsz"}


@numba.njit(nogil=True, cache=True, fastmath=_ROUNDS_WELL, error_model="numpy")
def _parts_of_not_p(z, y):
    """``u = exp(-|z|)``, and a with ``1 - y sigmoid(z) = a / (1 + u)`` without cancellation."""
    u = fast_exp(-abs(z))
    rest = _ONE - y
    a = rest + u if z >= 0 else _ONE + rest * u
    return u, max(a, np.float32(1e-30))


@numba.njit(nogil=True, cache=True, fastmath=_ROUNDS_WELL, error_model="numpy")
def _log_not_p(z, y):
    u, a = _parts_of_not_p(z, y)
    return fast_log(a / (_ONE + u))


@numba.njit(nogil=True, cache=True, fastmath=_ROUNDS_WELL, error_model="numpy")
def _gradients_of_negative(z, y):
    """Derivatives of ``-log(1 - y sigmoid(z))`` in z and in y."""
    u, a = _parts_of_not_p(z, y)
    ratio = (_ONE if z >= 0 else u) / a
    rest = (u if z >= 0 else _ONE) / (_ONE + u)
    return y * rest * ratio, ratio


# Only sums may be reordered: fast_exp, fast_log and the sums above keep their own rules.
@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def _sum_of_negatives(z, y, first, last):
    total = 0.0
    for begin in range(first, last, _BLOCK):
        block = np.float32(0.0)
        for k in range(begin, min(begin + _BLOCK, last)):
            block -= _log_not_p(z[k], y[k])
        total += np.float64(block)
    return total


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _gradients_of_negatives(z, y, factor, grad_z, grad_y):
    for k in range(z.shape[0]):
        by_z, by_y = _gradients_of_negative(z[k], y[k])
        grad_z[k] = factor * by_z
        grad_y[k] = factor * by_y


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _loss_rows(start, stop, z_BK, path_BK, n_pos_B, n_valid_B, loss_B):
    """Sum of the cross-entropy, and of -log y_hat over positives."""
    for b in range(start, stop):
        cross_entropy = shortlisting = 0.0
        for k in range(n_pos_B[b]):
            z = z_BK[b, k]
            log_y = np.log(max(path_BK[b, k], np.float32(1e-12)))
            shortlisting -= log_y
            cross_entropy -= log_y + min(z, np.float32(0.0)) - np.log1p(np.exp(-abs(z)))
        cross_entropy += _sum_of_negatives(z_BK[b], path_BK[b], n_pos_B[b], n_valid_B[b])
        loss_B[b, 0] = cross_entropy
        loss_B[b, 1] = shortlisting


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _gradient_rows(
    start, stop, z_BK, path_BK, n_pos_B, n_valid_B, classification, shortlisting, grad_z, grad_path
):
    """Gradients of ``classification * cross-entropy + shortlisting * (-log y_hat)``."""
    for b in range(start, stop):
        n_pos, n_valid = n_pos_B[b], n_valid_B[b]
        for k in range(n_pos):
            z = z_BK[b, k]
            u = np.exp(-abs(z))
            grad_z[b, k] = -classification * (u if z >= 0 else _ONE) / (_ONE + u)
            safe = max(path_BK[b, k], np.float32(1e-12))
            grad_path[b, k] = -(classification + shortlisting) / safe
        _gradients_of_negatives(
            z_BK[b, n_pos:n_valid], path_BK[b, n_pos:n_valid], classification,
            grad_z[b, n_pos:n_valid], grad_path[b, n_pos:n_valid],
        )  # fmt: skip
        grad_z[b, n_valid:] = 0.0
        grad_path[b, n_valid:] = 0.0


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
        loss = np.empty((B, 2), np.float64)
        run_ranges(
            split_evenly(B, torch.get_num_threads()),
            lambda _, a, b: _loss_rows(a, b, *arrays, loss),
        )
        ctx.save_for_backward(logits_BK, path_scores_BK, n_positives_B, n_valid_B)
        return torch.from_numpy((loss.sum(axis=0) / B).astype(np.float32))

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, *grads: torch.Tensor) -> Any:
        z, path, n_pos, n_valid = _as_arrays(*ctx.saved_tensors)  # type: ignore[attr-defined]
        factors = (np.float32(factor) for factor in (grads[0] / len(z)).tolist())
        classification, shortlisting = factors
        grad_z, grad_path = np.empty_like(z), np.empty_like(path)
        run_ranges(
            split_evenly(len(z), torch.get_num_threads()),
            lambda _, a, b: _gradient_rows(
                a, b, z, path, n_pos, n_valid, classification, shortlisting, grad_z, grad_path
            ),
        )
        return torch.from_numpy(grad_z), torch.from_numpy(grad_path), None, None


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
