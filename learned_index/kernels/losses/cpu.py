"""Both losses in Numba: the same as :mod:`.plain`; compared in ``tests/kernels/test_losses.py``."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch

from learned_index.kernels.machine.arrays import as_arrays
from learned_index.kernels.machine.exponential import fast_exp, fast_log
from learned_index.kernels.machine.flags import FAST, ROUNDS_WELL
from learned_index.kernels.machine.parallel import run_rows

_BLOCK = 256
"""Terms of a sum that are added in float32 before they go into the float64: few enough that the
rounding does not show, enough that the loop vectorises."""
# The least path score whose logarithm counts: log 0 would be infinite, and its gradient too.
_ONE, _LEAST = np.float32(1.0), np.float32(1e-12)


@numba.njit(nogil=True, cache=True, fastmath=ROUNDS_WELL, error_model="numpy", forceinline=True)
def _parts_of_not_p(z, y):
    """``u = exp(-|z|)``, and a with ``1 - y sigmoid(z) = a / (1 + u)`` without cancellation."""
    u = fast_exp(-abs(z))
    rest = _ONE - y
    a = rest + u if z >= 0 else _ONE + rest * u
    return u, max(a, np.float32(1e-30))


@numba.njit(nogil=True, cache=True, fastmath=ROUNDS_WELL, error_model="numpy", forceinline=True)
def _negative(z, y):
    """``log(1 - y sigmoid(z))``, and the derivatives of its negative in z and in y."""
    u, a = _parts_of_not_p(z, y)
    inverse = _ONE / (_ONE + u)
    ratio = (_ONE if z >= 0 else u) / a
    rest = (u if z >= 0 else _ONE) * inverse
    return fast_log(a * inverse), y * rest * ratio, ratio


# Only sums may be reordered: what is called keeps its own rules.
@numba.njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy", forceinline=True)
def _block_of_negatives(z, y, factor, grad_z, grad_y, logs):
    """Sum of the losses of some negatives; writes their gradients times a factor."""
    for k in range(z.shape[0]):
        log, by_z, by_y = _negative(z[k], y[k])
        logs[k] = log
        grad_z[k] = factor * by_z
        grad_y[k] = factor * by_y
    total = np.float32(0.0)  # by itself: see FAST
    for k in range(z.shape[0]):
        total -= logs[k]
    return total


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _loss_rows(start, stop, z_BK, y_BK, n_pos_B, n_valid_B, factor, loss_B, grad_z, grad_y):
    """Sum of the cross-entropy, and of -log y_hat over positives; gradients of the former.

    Those of positives in y are left to :func:`_gradients_of_positives`.
    """
    logs = np.empty(_BLOCK, np.float32)
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
                    grad_z[b, first:last], grad_y[b, first:last], logs,
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


def forward(*inputs: torch.Tensor) -> tuple[torch.Tensor, Any]:
    """Both losses of the tensors of :func:`learned_index.kernels.losses.both_losses` in one tensor,
    and the gradients of the mean cross-entropy."""
    z, y, n_pos, n_valid = as_arrays(*inputs)
    B = len(z)
    loss, grad_z, grad_y = np.empty((B, 2)), np.empty_like(z), np.empty_like(y)
    factor = np.float32(1.0 / max(B, 1))
    run_rows(B, lambda a, b: _loss_rows(a, b, z, y, n_pos, n_valid, factor, loss, grad_z, grad_y))
    return torch.from_numpy((loss.sum(axis=0) / B).astype(np.float32)), (grad_z, grad_y)


def backward(
    grad: torch.Tensor, saved: tuple[torch.Tensor, ...], gradients: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of the logits and of the path scores, in the memory of those of ``forward``."""
    y, n_pos = as_arrays(*saved[1:3])
    grad_z, grad_y = gradients
    classification, shortlisting = grad.tolist()
    if classification != 1.0:
        grad_z *= np.float32(classification)
        grad_y *= np.float32(classification)
    # Both losses have the same gradient, -1 / y_hat, at a positive.
    factor = np.float32((classification + shortlisting) / len(y))
    _gradients_of_positives(y, n_pos, factor, grad_y)
    return torch.from_numpy(grad_z), torch.from_numpy(grad_y)
