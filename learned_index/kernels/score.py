"""Score shortlisted labels, ``z_bk = w_l . x_b + b_l``, and the way back (equation 6).

No B x K x D tensor is made. The pairs (query, label) are sorted by label (a counting sort), each
``w_l`` is read once, and the batch's ``x`` stays in the cache. The backward pass walks the same
order; when an optimiser is attached it updates ``w_l`` on the spot, so that no gradient of W_L is
ever stored. The split into ranges does not depend on the number of threads: results are equal bit
for bit at any thread count.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch.autograd.function import FunctionCtx, once_differentiable

from learned_index.errors import InputError
from learned_index.kernels.dispatch import choose
from learned_index.kernels.optimiser import RowAdamW, RowGradients, adamw_row
from learned_index.kernels.parallel import run_ranges, split_by_weight

# Ranges of labels in the backward pass, each with its own B x D accumulator. More than this many
# threads find no work there; fewer share the ranges without changing the sums.
_BACKWARD_PARTS = 8


@numba.njit(nogil=True, cache=True)
def _invert(label_ids, n_labels, offsets, order):
    """Counting sort of the pairs by label; ``order[offsets[l]:offsets[l+1]]`` are those of l."""
    for i in range(label_ids.shape[0]):
        label = label_ids[i]
        if label >= 0:
            offsets[label + 1] += 1
    for label in range(n_labels):
        offsets[label + 1] += offsets[label]
    for i in range(label_ids.shape[0]):
        label = label_ids[i]
        if label >= 0:
            order[offsets[label]] = i
            offsets[label] += 1
    for label in range(n_labels, 0, -1):
        offsets[label] = offsets[label - 1]
    offsets[0] = 0


@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def _score_labels(start, stop, offsets, order, K, x_BD, weight_LD, bias_L, out):
    D = x_BD.shape[1]
    for label in range(start, stop):
        w = weight_LD[label]
        bias = bias_L[label]
        for j in range(offsets[label], offsets[label + 1]):
            i = order[j]
            x = x_BD[i // K]
            total = np.float32(0.0)
            for d in range(D):
                total += w[d] * x[d]
            out[i] = total + bias


@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def _accumulate(first, last, order, K, grad_z, x_BD, w, grad_w, grad_x_BD):
    """Add one label's part to the gradients of its weights and of the queries; return the bias's.

    Four pairs at a time for the weights: their gradient is then loaded and stored once for four.
    """
    D = x_BD.shape[1]
    grad_b = np.float32(0.0)
    j = first
    while j + 4 <= last:
        i0, i1, i2, i3 = order[j], order[j + 1], order[j + 2], order[j + 3]
        g0, g1, g2, g3 = grad_z[i0], grad_z[i1], grad_z[i2], grad_z[i3]
        x0, x1, x2, x3 = x_BD[i0 // K], x_BD[i1 // K], x_BD[i2 // K], x_BD[i3 // K]
        for d in range(D):
            grad_w[d] += g0 * x0[d] + g1 * x1[d] + g2 * x2[d] + g3 * x3[d]
        grad_b += g0 + g1 + g2 + g3
        j += 4
    while j < last:
        i = order[j]
        g = grad_z[i]
        x = x_BD[i // K]
        for d in range(D):
            grad_w[d] += g * x[d]
        grad_b += g
        j += 1
    for j in range(first, last):
        i = order[j]
        g = grad_z[i]
        grad_x = grad_x_BD[i // K]
        for d in range(D):
            grad_x[d] += g * w[d]
    return grad_b


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _backward_labels(
    start,
    stop,
    offsets,
    order,
    K,
    grad_z,
    x_BD,
    weight_LD,
    grad_x_BD,
    grad_weight_LD,
    grad_bias_L,
):
    for label in range(start, stop):
        grad_bias_L[label] += _accumulate(
            offsets[label], offsets[label + 1], order, K, grad_z, x_BD,
            weight_LD[label], grad_weight_LD[label], grad_x_BD,
        )  # fmt: skip


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _backward_update_labels(
    start,
    stop,
    offsets,
    order,
    K,
    grad_z,
    x_BD,
    weight_LD,
    bias_L,
    grad_x_BD,
    moment1_LD,
    moment2_LD,
    moment1_L,
    moment2_L,
    learning_rate,
    beta1,
    beta2,
    epsilon,
    decay,
    correction1,
    correction2,
):
    grad_w = np.empty(x_BD.shape[1], np.float32)
    grad_b = np.empty(1, np.float32)
    for label in range(start, stop):
        if offsets[label] == offsets[label + 1]:
            continue
        grad_w[:] = 0.0
        grad_b[0] = _accumulate(
            offsets[label], offsets[label + 1], order, K, grad_z, x_BD,
            weight_LD[label], grad_w, grad_x_BD,
        )  # fmt: skip
        adamw_row(
            weight_LD[label], grad_w, moment1_LD[label], moment2_LD[label],
            learning_rate, beta1, beta2, epsilon, decay, correction1, correction2,
        )  # fmt: skip
        adamw_row(
            bias_L[label : label + 1], grad_b, moment1_L[label : label + 1],
            moment2_L[label : label + 1],
            learning_rate, beta1, beta2, epsilon, np.float32(0.0), correction1, correction2,
        )  # fmt: skip


class _ScoreCPU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_BD: torch.Tensor,
        weight_LD: torch.Tensor,
        bias_L: torch.Tensor,
        label_ids_BK: torch.Tensor,
        optimiser: RowAdamW | RowGradients | None,
    ) -> torch.Tensor:
        B, K = label_ids_BK.shape
        L = weight_LD.shape[0]
        x = x_BD.detach().contiguous().numpy()
        weight, bias = weight_LD.detach().numpy(), bias_L.detach().numpy()
        flat = label_ids_BK.numpy().reshape(-1)
        offsets = np.zeros(L + 1, np.int64)
        order = np.empty(flat.shape[0], np.int64)
        _invert(flat, L, offsets, order)
        out = np.zeros(B * K, np.float32)
        ranges = split_by_weight(offsets, _BACKWARD_PARTS)
        run_ranges(
            ranges,
            lambda _, a, b: _score_labels(a, b, offsets, order, K, x, weight, bias, out),
        )
        ctx.save_for_backward(x_BD, weight_LD, bias_L)
        ctx.pairs = (offsets, order, ranges)
        ctx.optimiser = optimiser
        return torch.from_numpy(out).view(B, K)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, *grads: torch.Tensor) -> Any:
        (grad_z,) = grads
        x_BD, weight_LD, bias_L = ctx.saved_tensors  # type: ignore[attr-defined]
        offsets, order, ranges = ctx.pairs  # type: ignore[attr-defined]
        optimiser: RowAdamW | RowGradients | None = ctx.optimiser  # type: ignore[attr-defined]
        K = grad_z.shape[1]
        g = grad_z.contiguous().numpy().reshape(-1)
        x = x_BD.detach().contiguous().numpy()
        weight, bias = weight_LD.detach().numpy(), bias_L.detach().numpy()
        parts = np.zeros((len(ranges), *x.shape), np.float32)
        grads_out: tuple[torch.Tensor | None, torch.Tensor | None] = (None, None)
        if not isinstance(optimiser, RowAdamW):
            if optimiser is None:
                grad_weight, grad_bias = np.zeros_like(weight), np.zeros_like(bias)
                grads_out = (torch.from_numpy(grad_weight), torch.from_numpy(grad_bias))
            else:
                grad_weight, grad_bias = optimiser.weight_LD.numpy(), optimiser.bias_L.numpy()
                optimiser.touched_L.numpy()[np.diff(offsets) > 0] = True
            run_ranges(
                ranges,
                lambda part, a, b: _backward_labels(
                    a, b, offsets, order, K, g, x, weight, parts[part], grad_weight, grad_bias
                ),
            )
        else:
            state = optimiser.next_step()
            run_ranges(
                ranges,
                lambda part, a, b: _backward_update_labels(
                    a, b, offsets, order, K, g, x, weight, bias, parts[part], *state
                ),
            )
        grad_x = torch.from_numpy(parts.sum(axis=0))
        return grad_x, *grads_out, None, None


class _ScoreTorch(torch.autograd.Function):
    """Dense product over blocks of labels, gathered: B x block scratch, any device."""

    @staticmethod
    def forward(
        ctx: Any,
        x_BD: torch.Tensor,
        weight_LD: torch.Tensor,
        bias_L: torch.Tensor,
        label_ids_BK: torch.Tensor,
        gradients: RowGradients | None,
        block: int,
    ) -> torch.Tensor:
        ctx.save_for_backward(x_BD, weight_LD, label_ids_BK)
        ctx.block, ctx.gradients = block, gradients
        out = torch.zeros(label_ids_BK.shape, dtype=x_BD.dtype, device=x_BD.device)
        for start in range(0, weight_LD.shape[0], block):
            dense = torch.addmm(
                bias_L[start : start + block], x_BD, weight_LD[start : start + block].T
            )
            inside = (label_ids_BK >= start) & (label_ids_BK < start + block)
            column = (label_ids_BK - start).clamp(0, dense.shape[1] - 1)
            out = torch.where(inside, dense.gather(1, column), out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, *grads: torch.Tensor) -> Any:
        (grad_z,) = grads
        x_BD, weight_LD, label_ids_BK = ctx.saved_tensors  # type: ignore[attr-defined]
        block: int = ctx.block  # type: ignore[attr-defined]
        gradients: RowGradients | None = ctx.gradients  # type: ignore[attr-defined]
        L = weight_LD.shape[0]
        grad_x = torch.zeros_like(x_BD)
        if gradients is None:
            grad_weight = torch.zeros_like(weight_LD)
            grad_bias = torch.zeros(L, dtype=weight_LD.dtype, device=weight_LD.device)
        else:
            grad_weight, grad_bias = gradients.weight_LD, gradients.bias_L
            gradients.touched_L[label_ids_BK[label_ids_BK >= 0]] = True
        for start in range(0, L, block):
            stop = min(start + block, L)
            inside = (label_ids_BK >= start) & (label_ids_BK < stop)
            column = (label_ids_BK - start).clamp(0, stop - start - 1)
            dense = torch.zeros(
                (x_BD.shape[0], stop - start), dtype=grad_z.dtype, device=grad_z.device
            )
            dense.scatter_add_(1, column, grad_z * inside)
            grad_x += dense @ weight_LD[start:stop]
            grad_weight[start:stop].addmm_(dense.T, x_BD)
            grad_bias[start:stop] += dense.sum(0)
        if gradients is not None:
            return grad_x, None, None, None, None, None
        return grad_x, grad_weight, grad_bias, None, None, None


def score_labels(
    x_BD: torch.Tensor,
    weight_LD: torch.Tensor,
    bias_L: torch.Tensor,
    label_ids_BK: torch.Tensor,
    *,
    optimiser: RowAdamW | RowGradients | None = None,
    implementation: str = "auto",
    block: int = 65536,
) -> torch.Tensor:
    """Logits of shortlisted labels, differentiable in x, W_L and b.

    Args:
        x_BD: float32 queries.
        weight_LD: float32 label classifiers.
        bias_L: float32.
        label_ids_BK: int64, -1 at pads, no label twice in a row.
        optimiser: Update W_L and b during the backward pass (:class:`RowAdamW`, not in plain
            torch), or sum their gradients up (:class:`RowGradients`), instead of returning them.
        implementation: ``"auto"`` (Numba on the CPU, Triton on CUDA, else torch), ``"numba"``,
            ``"triton"``, ``"torch"``.
        block: Labels per dense block of the torch version.

    Returns:
        float32 B x K logits, 0 at pads.

    Raises:
        InputError: The torch version cannot update during the backward pass.
    """
    chosen = choose(x_BD.device, implementation)
    if chosen == "triton":
        from learned_index.kernels.triton.score import score_labels_triton

        return score_labels_triton(x_BD, weight_LD, bias_L, label_ids_BK, optimiser)
    if chosen == "numba":
        return _ScoreCPU.apply(x_BD, weight_LD, bias_L, label_ids_BK, optimiser)  # type: ignore[no-any-return]
    if isinstance(optimiser, RowAdamW):
        raise InputError(
            f"plain torch cannot update during the backward pass (on {x_BD.device}); pass "
            "RowGradients and call RowAdamW.step with what they collect"
        )
    return _ScoreTorch.apply(x_BD, weight_LD, bias_L, label_ids_BK, optimiser, block)  # type: ignore[no-any-return]
