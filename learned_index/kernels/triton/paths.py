"""Scores of chosen paths, ``s_c * e_cl``, and the way back, on the GPU.

An edge can be chosen by every query of a batch. Its gradient is summed by one program over the
pairs sorted by edge, not by atomics, so it has the same bits in every run.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch.autograd.function import FunctionCtx, once_differentiable

from learned_index.kernels.triton.launch import block_of, blocks, launch
from learned_index.kernels.triton.segments import group_by_key


@triton.jit
def paths_kernel(scores, weights, slots, edges, out, n, W, K, BLOCK: tl.constexpr):
    """Path scores of a block of pairs; ``edges`` are positions in C x M, -1 at pads."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    edge = tl.load(edges + i, mask=i < n, other=-1)
    slot = tl.load(slots + i, mask=i < n, other=0)
    score = tl.load(scores + (i // K) * W + slot, mask=edge >= 0, other=0.0)
    weight = tl.load(weights + edge, mask=edge >= 0, other=0.0)
    tl.store(out + i, score * weight, mask=i < n)


@triton.jit
def grad_scores_kernel(grad, weights, slots, edges, out, W, K, BLOCK_W: tl.constexpr,
                       BLOCK_K: tl.constexpr):  # fmt: skip
    """Gradient of a block of one query's cluster scores: the sum over their paths."""
    n_blocks = tl.cdiv(W, BLOCK_W)
    b = (tl.program_id(0) // n_blocks).to(tl.int64)
    w = (tl.program_id(0) % n_blocks) * BLOCK_W + tl.arange(0, BLOCK_W)
    total = tl.zeros([BLOCK_K, BLOCK_W], tl.float32)
    for start in range(0, K, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        edge = tl.load(edges + b * K + k, mask=k < K, other=-1)
        slot = tl.load(slots + b * K + k, mask=k < K, other=-1)
        value = tl.load(grad + b * K + k, mask=edge >= 0, other=0.0)
        value *= tl.load(weights + edge, mask=edge >= 0, other=0.0)
        total += tl.where(slot[:, None] == w[None, :], value[:, None], 0.0)
    tl.store(out + b * W + w, tl.sum(total, 0), mask=w < W)


@triton.jit
def grad_edges_kernel(grad, scores, slots, edges, order, starts, out, W, K,
                      BLOCK: tl.constexpr):  # fmt: skip
    """Gradient of one edge: the sum over the queries whose path leads over it."""
    group = tl.program_id(0).to(tl.int64)
    first = tl.load(starts + group)
    last = tl.load(starts + group + 1)
    if first < last:
        total = tl.zeros([BLOCK], tl.float32)
        for start in range(first, last, BLOCK):
            j = start + tl.arange(0, BLOCK)
            pair = tl.load(order + j, mask=j < last, other=0)
            slot = tl.load(slots + pair, mask=j < last, other=0)
            value = tl.load(grad + pair, mask=j < last, other=0.0)
            total += value * tl.load(scores + (pair // K) * W + slot, mask=j < last, other=0.0)
        edge = tl.load(edges + tl.load(order + first))
        tl.store(out + edge, tl.sum(total, 0))


class PathScoresTriton(torch.autograd.Function):
    """(scores B x W, weights C x M, slots B x K, positions in C x M) -> path scores B x K."""

    @staticmethod
    def forward(
        ctx: Any,
        scores_BW: torch.Tensor,
        weights_CM: torch.Tensor,
        slots_BK: torch.Tensor,
        edges_BK: torch.Tensor,
    ) -> torch.Tensor:
        """Products."""
        B, K = slots_BK.shape
        scores, weights = scores_BW.detach().contiguous(), weights_CM.detach().contiguous()
        slots, edges = slots_BK.contiguous(), edges_BK.contiguous()
        out = torch.empty((B, K), dtype=torch.float32, device=scores.device)
        launch(
            paths_kernel, blocks(B * K, 1024), scores.device,
            scores, weights, slots, edges, out, B * K, scores.shape[1], K, BLOCK=1024,
        )  # fmt: skip
        ctx.save_for_backward(scores, weights, slots, edges)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, *grads: torch.Tensor) -> Any:
        """Gradients of the cluster scores and the edge weights, where they are wanted."""
        grad = grads[0].contiguous()
        scores, weights, slots, edges = ctx.saved_tensors  # type: ignore[attr-defined]
        needs_scores, needs_weights = ctx.needs_input_grad[:2]  # type: ignore[attr-defined]
        (B, K), W, device = grad.shape, scores.shape[1], grad.device
        grad_scores = grad_weights = None
        if needs_scores:
            grad_scores = torch.empty_like(scores)
            block = block_of(W, 64)
            launch(
                grad_scores_kernel, B * blocks(W, block), device,
                grad, weights, slots, edges, grad_scores, W, K, BLOCK_W=block, BLOCK_K=32,
            )  # fmt: skip
        if needs_weights:
            grad_weights = torch.zeros_like(weights)
            order, starts = group_by_key(edges, weights.numel())
            launch(
                grad_edges_kernel, len(starts) - 1, device,
                grad, scores, slots, edges, order, starts, grad_weights, W, K,
                BLOCK=16, num_warps=1,
            )  # fmt: skip
        return grad_scores, grad_weights, None, None
