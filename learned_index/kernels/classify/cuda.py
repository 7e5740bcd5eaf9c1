"""Label scores in Triton: the same as :mod:`.plain`; compared in ``tests/triton_cases.py``.

No B x K x D tensor is made. Forward and the gradient of x are query-major: a program reads the
rows of its labels, and all queries' first labels come before all their second ones. The gradient of
the rows is label-major: pairs are sorted by label, a program adds up all pairs of one label and one
block of dimensions and then either updates the row on the spot (AdamW) or adds the sum to a
gradient. Each result has one writer and one order of addition. Rows may be float32, float16 or
bfloat16; products and sums are float32.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from learned_index.kernels.machine.launch import (
    block_of,
    blocks,
    launch,
    require_contiguous,
    warps_of,
)
from learned_index.kernels.machine.segments import group_by_key
from learned_index.kernels.update import RowAdamW, RowGradients
from learned_index.kernels.update.cuda import update_block

# Labels that a program scores at a time, and pairs whose gradients it adds up at a time: times 256
# dimensions these are the floats that a program's registers have room for.
_BLOCK_K = 16
_BLOCK_PAIRS = 8


@triton.jit
def score_kernel(
    x, weight, bias, label_ids, out, B, K, D, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr
):
    """Logits of a block of one query's labels."""
    b = (tl.program_id(0) % B).to(tl.int64)
    k = (tl.program_id(0) // B) * BLOCK_K + tl.arange(0, BLOCK_K)
    label = tl.load(label_ids + b * K + k, mask=k < K, other=-1)
    valid = label >= 0
    row = tl.where(valid, label, 0).to(tl.int64)
    total = tl.zeros([BLOCK_K, BLOCK_D], tl.float32)
    for start in range(0, D, BLOCK_D):
        d = start + tl.arange(0, BLOCK_D)
        inside = d < D
        x_d = tl.load(x + b * D + d, mask=inside, other=0.0).to(tl.float32)
        w_kd = tl.load(
            weight + row[:, None] * D + d[None, :],
            mask=valid[:, None] & inside[None, :],
            other=0.0,
        ).to(tl.float32)
        total += w_kd * x_d[None, :]
    z = tl.sum(total, 1) + tl.load(bias + row, mask=valid, other=0.0).to(tl.float32)
    tl.store(out + b * K + k, tl.where(valid, z, 0.0), mask=k < K)


@triton.jit
def grad_x_kernel(
    grad_z, weight, label_ids, out, B, K, D, BLOCK_K: tl.constexpr, BLOCK_D: tl.constexpr
):
    """``sum_k g_bk w_l``, a block of dimensions of one query."""
    b = (tl.program_id(0) % B).to(tl.int64)
    d = (tl.program_id(0) // B) * BLOCK_D + tl.arange(0, BLOCK_D)
    inside = d < D
    total = tl.zeros([BLOCK_K, BLOCK_D], tl.float32)
    for start in range(0, K, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        label = tl.load(label_ids + b * K + k, mask=k < K, other=-1)
        valid = label >= 0
        g = tl.load(grad_z + b * K + k, mask=valid, other=0.0).to(tl.float32)
        row = tl.where(valid, label, 0).to(tl.int64)
        w_kd = tl.load(
            weight + row[:, None] * D + d[None, :],
            mask=valid[:, None] & inside[None, :],
            other=0.0,
        ).to(tl.float32)
        total += g[:, None] * w_kd
    tl.store(out + b * D + d, tl.sum(total, 0), mask=inside)


@triton.jit
def _row_gradient(x, grad_z, order, first, last, K, D, d, BLOCK_PAIRS: tl.constexpr,
                  BLOCK_D: tl.constexpr):  # fmt: skip
    """Gradient of one row's dimensions ``d``, and of its bias."""
    total = tl.zeros([BLOCK_PAIRS, BLOCK_D], tl.float32)
    total_bias = tl.zeros([BLOCK_PAIRS], tl.float32)
    for start in range(first, last, BLOCK_PAIRS):
        j = start + tl.arange(0, BLOCK_PAIRS)
        pair = tl.load(order + j, mask=j < last, other=0)
        g = tl.load(grad_z + pair, mask=j < last, other=0.0).to(tl.float32)
        x_pd = tl.load(
            x + (pair // K)[:, None] * D + d[None, :],
            mask=(j < last)[:, None] & (d < D)[None, :],
            other=0.0,
        ).to(tl.float32)
        total += g[:, None] * x_pd
        total_bias += g
    return tl.sum(total, 0), tl.sum(total_bias, 0)


@triton.jit
def grad_rows_kernel(x, grad_z, label_ids, order, starts, grad_weight, grad_bias, touched, K, D,
                     BLOCK_PAIRS: tl.constexpr, BLOCK_D: tl.constexpr):  # fmt: skip
    """Add the gradient of one row (a block of dimensions) to a matrix of gradients."""
    n_blocks = tl.cdiv(D, BLOCK_D)
    group = (tl.program_id(0) // n_blocks).to(tl.int64)
    first = tl.load(starts + group)
    last = tl.load(starts + group + 1)
    if first < last:
        block = tl.program_id(0) % n_blocks
        d = block * BLOCK_D + tl.arange(0, BLOCK_D)
        label = tl.load(label_ids + tl.load(order + first)).to(tl.int64)
        g, g_bias = _row_gradient(x, grad_z, order, first, last, K, D, d, BLOCK_PAIRS, BLOCK_D)
        at = grad_weight + label * D + d
        tl.store(at, tl.load(at, mask=d < D, other=0.0) + g, mask=d < D)
        if block == 0:
            tl.store(grad_bias + label, tl.load(grad_bias + label) + g_bias)
            tl.store(touched + label, 1)


@triton.jit
def update_rows_kernel(x, grad_z, label_ids, order, starts, weight, bias, moment1, moment2,
                       moment1_bias, moment2_bias, K, D, learning_rate, beta1, beta2, epsilon,
                       decay, correction1, correction2, BLOCK_PAIRS: tl.constexpr,
                       BLOCK_D: tl.constexpr):  # fmt: skip
    """The gradient of one row (a block of dimensions), and the AdamW step with it."""
    n_blocks = tl.cdiv(D, BLOCK_D)
    group = (tl.program_id(0) // n_blocks).to(tl.int64)
    first = tl.load(starts + group)
    last = tl.load(starts + group + 1)
    if first < last:
        block = tl.program_id(0) % n_blocks
        d = block * BLOCK_D + tl.arange(0, BLOCK_D)
        label = tl.load(label_ids + tl.load(order + first)).to(tl.int64)
        g, g_bias = _row_gradient(x, grad_z, order, first, last, K, D, d, BLOCK_PAIRS, BLOCK_D)
        at = label * D + d
        update_block(
            weight + at, moment1 + at, moment2 + at, g, d < D,
            learning_rate, beta1, beta2, epsilon, decay, correction1, correction2,
        )  # fmt: skip
        if block == 0:
            update_block(
                bias + label, moment1_bias + label, moment2_bias + label, g_bias, True,
                learning_rate, beta1, beta2, epsilon, 0.0, correction1, correction2,
            )  # fmt: skip


def forward(
    x_BD: torch.Tensor, weight_LD: torch.Tensor, bias_L: torch.Tensor, label_ids_BK: torch.Tensor
) -> tuple[torch.Tensor, None]:
    """Logits, float32 B x K."""
    B, K = label_ids_BK.shape
    D = weight_LD.shape[1]
    x = x_BD.detach().contiguous()
    out = torch.empty((B, K), dtype=torch.float32, device=x.device)
    launch(
        score_kernel, B * blocks(K, _BLOCK_K), x.device,
        x, weight_LD.detach().contiguous(), bias_L.detach().contiguous(),
        label_ids_BK.contiguous(), out, B, K, D, BLOCK_K=_BLOCK_K, BLOCK_D=block_of(D, 256),
    )  # fmt: skip
    return out, None


def backward(
    grad_z: torch.Tensor,
    saved: tuple[torch.Tensor, ...],
    _pairs: None,
    optimiser: RowAdamW | RowGradients | None,
    needs: tuple[bool, ...],
) -> tuple[torch.Tensor | None, ...]:
    """Gradients of x, W_L and b; the latter two go to the optimiser where there is one."""
    x_BD, weight_LD, bias_L, label_ids = saved
    grad_z, label_ids = grad_z.contiguous(), label_ids.contiguous()
    needs_x, *needs_rows = needs
    x, weight = x_BD.detach().contiguous(), weight_LD.detach().contiguous()
    (L, D), K = weight.shape, label_ids.shape[1]
    block = block_of(D, 256)
    grad_x = None
    if needs_x:  # before the rows change
        grad_x = torch.empty_like(x)
        launch(
            grad_x_kernel, len(x) * blocks(D, block), x.device,
            grad_z, weight, label_ids, grad_x, len(x), K, D, BLOCK_K=_BLOCK_K, BLOCK_D=block,
        )  # fmt: skip
    if optimiser is None and not any(needs_rows):
        return grad_x, None, None
    order, starts = group_by_key(label_ids, L)
    n_programs = (len(starts) - 1) * blocks(D, block)
    pairs = (x, grad_z, label_ids, order, starts)
    shape = {"BLOCK_PAIRS": _BLOCK_PAIRS, "BLOCK_D": block, "num_warps": warps_of(block, 2)}
    if isinstance(optimiser, RowAdamW):
        require_contiguous(weight_LD, bias_L)
        launch(
            update_rows_kernel, n_programs, x.device, *pairs,
            weight_LD.detach(), bias_L.detach(), *optimiser.moments, K, D,
            *optimiser.next_constants(), **shape,
        )  # fmt: skip
        return grad_x, None, None
    collected = optimiser or RowGradients(L, D, device=x.device)
    launch(
        grad_rows_kernel, n_programs, x.device, *pairs,
        collected.weight_LD, collected.bias_L, collected.touched_L.view(torch.uint8), K, D,
        **shape,
    )  # fmt: skip
    if optimiser is not None:
        return grad_x, None, None
    weight_grad, bias_grad = collected.weight_LD, collected.bias_L
    return grad_x, weight_grad.to(weight_LD.dtype), bias_grad.to(bias_L.dtype)
