"""Edge weights from their logits, ``e = min(1, beta softmax(a))``, and the way back."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch.autograd.function import FunctionCtx, once_differentiable

from learned_index.kernels.dispatch import choose
from learned_index.kernels.intrinsics import fast_exp
from learned_index.kernels.parallel import run_ranges, split_evenly

_FAST: Any = {"reassoc", "contract", "nsz"}


@numba.njit(nogil=True, cache=True, fastmath=_FAST, error_model="numpy", forceinline=True)
def _softmax_row(logits, labels, scale, out):
    """``scale * softmax`` over the edges that are there; 0 at pads and in a row without edges."""
    largest = np.float32(-np.inf)
    for m in range(logits.shape[0]):
        largest = max(largest, logits[m] if labels[m] >= 0 else np.float32(-np.inf))
    if not largest > np.float32(-np.inf):
        out[:] = 0.0
        return
    total = np.float32(0.0)
    for m in range(logits.shape[0]):
        value = fast_exp(logits[m] - largest) if labels[m] >= 0 else np.float32(0.0)
        out[m] = value
        total += value
    factor = scale / total
    for m in range(logits.shape[0]):
        out[m] *= factor


@numba.njit(nogil=True, cache=True)
def _forward_rows(start, stop, logits_CM, labels_CM, scale, strengths_CM, out_CM):
    for c in range(start, stop):
        strengths, out = strengths_CM[c], out_CM[c]
        _softmax_row(logits_CM[c], labels_CM[c], scale, strengths)
        for m in range(out.shape[0]):
            out[m] = min(strengths[m], np.float32(1.0))


@numba.njit(nogil=True, cache=True, fastmath=_FAST, error_model="numpy", forceinline=True)
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


class _EdgeWeightsCPU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits_CM: torch.Tensor, labels_CM: torch.Tensor, scale: float
    ) -> torch.Tensor:
        strengths, weights = torch.empty(logits_CM.shape), torch.empty(logits_CM.shape)
        arrays = [t.detach().contiguous().numpy() for t in (logits_CM, labels_CM)]
        outputs = [strengths.numpy(), weights.numpy()]
        run_ranges(
            split_evenly(len(strengths), torch.get_num_threads()),
            lambda _, a, b: _forward_rows(a, b, *arrays, np.float32(scale), *outputs),
        )
        ctx.save_for_backward(strengths)
        ctx.scale = np.float32(scale)
        return weights

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, *grads: torch.Tensor) -> Any:
        (strengths_CM,) = ctx.saved_tensors  # type: ignore[attr-defined]
        scale = ctx.scale  # type: ignore[attr-defined]
        strengths, grad = strengths_CM.numpy(), grads[0].contiguous().numpy()
        out = np.empty_like(strengths)
        run_ranges(
            split_evenly(len(out), torch.get_num_threads()),
            lambda _, a, b: _backward_rows(a, b, strengths, grad, scale, out),
        )
        return torch.from_numpy(out), None, None


def edge_weights(
    logits_CM: torch.Tensor,
    labels_CM: torch.Tensor,
    scale: float,
    *,
    implementation: str = "auto",
) -> torch.Tensor:
    """``min(1, scale * softmax)`` over the edges of each cluster (equation 4).

    Args:
        logits_CM: float32.
        labels_CM: int32, -1 where a row has no further edge.
        scale: beta.
        implementation: ``"auto"`` (Numba on the CPU, else torch), ``"numba"``, ``"torch"``.

    Returns:
        float32 C x M in [0, 1], 0 at pads; differentiable in the logits.
    """
    if choose(logits_CM.device, implementation) == "numba" and logits_CM.dtype == torch.float32:
        return _EdgeWeightsCPU.apply(logits_CM, labels_CM, scale)  # type: ignore[no-any-return]
    return torch.clamp(edge_strengths(logits_CM, labels_CM, scale), max=1.0)


def edge_strengths(logits_CM: torch.Tensor, labels_CM: torch.Tensor, scale: float) -> torch.Tensor:
    """The same before the cut at 1, in plain torch."""
    logits = logits_CM.masked_fill(labels_CM < 0, float("-inf"))
    weights = torch.softmax(logits.float(), dim=-1).nan_to_num(0.0)  # a row without edges
    return scale * weights
