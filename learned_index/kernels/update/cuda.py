"""AdamW on rows in Triton: the same as :mod:`.plain`; compared in ``tests/triton_cases.py``."""

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


@triton.jit
def adamw(w, g, m, v, learning_rate, beta1, beta2, epsilon, decay, correction1, correction2):
    """One AdamW step; returns the new weight and moments."""
    m = beta1 * m + (1.0 - beta1) * g
    v = beta2 * v + (1.0 - beta2) * g * g
    step = (m * correction1) / (tl.sqrt(v * correction2) + epsilon)
    return w - learning_rate * (step + decay * w), m, v


@triton.jit
def update_block(weight, moment1, moment2, g, mask, learning_rate, beta1, beta2, epsilon, decay,
                 correction1, correction2):  # fmt: skip
    """The step on some entries, given as pointers, in place."""
    w, m, v = adamw(
        tl.load(weight, mask=mask, other=0.0), g,
        tl.load(moment1, mask=mask, other=0.0), tl.load(moment2, mask=mask, other=0.0),
        learning_rate, beta1, beta2, epsilon, decay, correction1, correction2,
    )  # fmt: skip
    tl.store(weight, w, mask=mask)
    tl.store(moment1, m, mask=mask)
    tl.store(moment2, v, mask=mask)


@triton.jit
def step_rows_kernel(rows, weight, grad, moment1, moment2, D, learning_rate, beta1, beta2, epsilon,
                     decay, correction1, correction2, BLOCK_D: tl.constexpr):  # fmt: skip
    """One block of one row: weight[row] from grad[i]."""
    n_blocks = tl.cdiv(D, BLOCK_D)
    i = (tl.program_id(0) // n_blocks).to(tl.int64)
    d = (tl.program_id(0) % n_blocks) * BLOCK_D + tl.arange(0, BLOCK_D)
    inside = d < D
    g = tl.load(grad + i * D + d, mask=inside, other=0.0)
    at = tl.load(rows + i) * D + d
    update_block(
        weight + at, moment1 + at, moment2 + at, g, inside,
        learning_rate, beta1, beta2, epsilon, decay, correction1, correction2,
    )  # fmt: skip


def step_rows(
    weight: torch.Tensor,
    grad: torch.Tensor,
    moment1: torch.Tensor,
    moment2: torch.Tensor,
    rows: torch.Tensor,
    constants: tuple[float, ...],
) -> None:
    """See :func:`.plain.step_rows`."""
    require_contiguous(weight, moment1, moment2)
    D = weight.shape[1]
    block = block_of(D, 256)
    launch(
        step_rows_kernel, len(rows) * blocks(D, block), weight.device,
        rows.contiguous(), weight, grad.contiguous(), moment1, moment2, D, *constants,
        BLOCK_D=block, num_warps=warps_of(block, 2),
    )  # fmt: skip
