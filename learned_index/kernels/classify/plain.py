"""Label scores in plain torch, on any device: the oracle of :mod:`.cpu` and :mod:`.cuda`.

Dense products over blocks of labels, gathered: B x block scratch.
"""

from __future__ import annotations

import torch

from learned_index.kernels.update import RowAdamW, RowGradients

BLOCK = 65536
"""Labels of a dense product: with a batch of 512 it takes 128 MB."""


def forward(
    x_BD: torch.Tensor, weight_LD: torch.Tensor, bias_L: torch.Tensor, label_ids_BK: torch.Tensor
) -> tuple[torch.Tensor, None]:
    """Logits, B x K."""
    out = torch.zeros(label_ids_BK.shape, dtype=x_BD.dtype, device=x_BD.device)
    for start in range(0, weight_LD.shape[0], BLOCK):
        rows = slice(start, start + BLOCK)
        dense = torch.addmm(bias_L[rows], x_BD, weight_LD[rows].T)
        inside = (label_ids_BK >= start) & (label_ids_BK < start + BLOCK)
        column = (label_ids_BK - start).clamp(0, dense.shape[1] - 1)
        out = torch.where(inside, dense.gather(1, column), out)
    return out, None


def backward(
    grad_z: torch.Tensor,
    saved: tuple[torch.Tensor, ...],
    _pairs: None,
    optimiser: RowAdamW | RowGradients | None,
    _needs: tuple[bool, ...],
) -> tuple[torch.Tensor | None, ...]:
    """Gradients of x, W_L and b; the latter two are added to an optimiser's where there is one."""
    x_BD, weight_LD, bias_L, label_ids_BK = saved
    L = weight_LD.shape[0]
    grad_x = torch.zeros_like(x_BD)
    if isinstance(optimiser, RowGradients):
        grad_weight, grad_bias = optimiser.weight_LD, optimiser.bias_L
        optimiser.touched_L[label_ids_BK[label_ids_BK >= 0]] = True
    else:
        grad_weight, grad_bias = torch.zeros_like(weight_LD), torch.zeros_like(bias_L)
    for start in range(0, L, BLOCK):
        stop = min(start + BLOCK, L)
        inside = (label_ids_BK >= start) & (label_ids_BK < stop)
        column = (label_ids_BK - start).clamp(0, stop - start - 1)
        dense = torch.zeros((x_BD.shape[0], stop - start), dtype=grad_z.dtype, device=grad_z.device)
        dense.scatter_add_(1, column, grad_z * inside)
        grad_x += dense @ weight_LD[start:stop]
        grad_weight[start:stop].addmm_(dense.T, x_BD)
        grad_bias[start:stop] += dense.sum(0)
    if optimiser is not None:
        return grad_x, None, None
    return grad_x, grad_weight, grad_bias
