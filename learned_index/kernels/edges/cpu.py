"""Edge weights in Numba: the same as :mod:`.plain`; compared in ``tests/kernels/test_edges.py``."""

from __future__ import annotations

import numba
import numpy as np
import torch

from learned_index.kernels.machine.arrays import as_arrays
from learned_index.kernels.machine.exponential import softmax_of_some
from learned_index.kernels.machine.flags import FAST
from learned_index.kernels.machine.parallel import run_rows


@numba.njit(nogil=True, cache=True)
def _forward_rows(start, stop, logits_CM, labels_CM, scale, strengths_CM, out_CM):
    for c in range(start, stop):
        strengths, out = strengths_CM[c], out_CM[c]
        softmax_of_some(logits_CM[c], labels_CM[c], scale, strengths)
        for m in range(out.shape[0]):
            out[m] = min(strengths[m], np.float32(1.0))


@numba.njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy", forceinline=True)
def _backward_row(strengths, grad, scale, out):
    total = np.float32(0.0)
    for m in range(strengths.shape[0]):
        through = strengths[m] * grad[m] if strengths[m] <= np.float32(1.0) else np.float32(0.0)
        out[m] = through
        total += through
    mean = total / scale
    for m in range(strengths.shape[0]):
        out[m] -= strengths[m] * mean


@numba.njit(nogil=True, cache=True)
def _backward_rows(start, stop, strengths_CM, grad_CM, scale, out_CM):
    for c in range(start, stop):
        _backward_row(strengths_CM[c], grad_CM[c], scale, out_CM[c])


def forward(
    logits_CM: torch.Tensor, labels_CM: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights of the edges, and what :func:`backward` wants: the weights before the cut at 1."""
    strengths, weights = torch.empty(logits_CM.shape), torch.empty(logits_CM.shape)
    arrays, outputs = as_arrays(logits_CM, labels_CM), (strengths.numpy(), weights.numpy())
    run_rows(len(weights), lambda a, b: _forward_rows(a, b, *arrays, np.float32(scale), *outputs))
    return weights, strengths


def backward(grad_CM: torch.Tensor, strengths_CM: torch.Tensor, scale: float) -> torch.Tensor:
    """Gradient of the logits, C x M."""
    strengths, grad = as_arrays(strengths_CM, grad_CM)
    out = np.empty_like(strengths)
    run_rows(len(out), lambda a, b: _backward_rows(a, b, strengths, grad, np.float32(scale), out))
    return torch.from_numpy(out)
