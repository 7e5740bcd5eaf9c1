"""Score shortlisted labels, and the way back.

Equation 6, for the K labels of a query's shortlist only; sigmoid and path score come with the loss
(equation 7) and with the search::

    p_l = y_hat_l sigmoid(z_l),    z_l = w_l . x + b_l

Versions: :mod:`.plain` (torch, any device), :mod:`.cpu` (Numba, with the loops of :mod:`.gathered`)
and :mod:`.cuda` (Triton). An engine scores one query with codes
(:mod:`learned_index.kernels.engine.logits`).
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from learned_index.errors import InputError
from learned_index.kernels.classify import plain
from learned_index.kernels.machine.dispatch import version_of
from learned_index.kernels.update import RowAdamW, RowGradients

__all__ = ["score_labels"]


class _ScoreLabels(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_BD: torch.Tensor,
        weight_LD: torch.Tensor,
        bias_L: torch.Tensor,
        label_ids_BK: torch.Tensor,
        optimiser: RowAdamW | RowGradients | None,
        version: Any,
    ) -> torch.Tensor:
        logits_BK, ctx.pairs = version.forward(x_BD, weight_LD, bias_L, label_ids_BK)
        ctx.version, ctx.optimiser = version, optimiser
        ctx.save_for_backward(x_BD, weight_LD, bias_L, label_ids_BK)
        return logits_BK  # type: ignore[no-any-return]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        gradients = ctx.version.backward(
            grads[0], ctx.saved_tensors, ctx.pairs, ctx.optimiser, ctx.needs_input_grad[:3]
        )
        return *gradients, None, None, None


def score_labels(
    x_BD: torch.Tensor,
    weight_LD: torch.Tensor,
    bias_L: torch.Tensor,
    label_ids_BK: torch.Tensor,
    *,
    optimiser: RowAdamW | RowGradients | None = None,
    implementation: str = "auto",
) -> torch.Tensor:
    """Logits of shortlisted labels, differentiable in x, W_L and b.

    Args:
        x_BD: float32 queries.
        weight_LD: float32 label classifiers.
        bias_L: float32.
        label_ids_BK: int64, -1 at pads, no label twice in a row.
        optimiser: Update W_L and b during the backward pass (:class:`RowAdamW`, not in plain
            torch), or sum their gradients up (:class:`RowGradients`), instead of returning them.
        implementation: A version (:mod:`learned_index.kernels.machine.dispatch`).

    Returns:
        float32 B x K logits, 0 at pads.

    Raises:
        InputError: The torch version cannot update during the backward pass.
    """
    version = version_of(__name__, x_BD.device, implementation)
    if version is plain and isinstance(optimiser, RowAdamW):
        raise InputError(
            f"plain torch cannot update during the backward pass (on {x_BD.device}); pass "
            "RowGradients and call RowAdamW.step with what they collect"
        )
    return _ScoreLabels.apply(x_BD, weight_LD, bias_L, label_ids_BK, optimiser, version)  # type: ignore[no-any-return]
