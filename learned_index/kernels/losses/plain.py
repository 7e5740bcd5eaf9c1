"""Both losses in plain torch, on any device: the oracle of :mod:`.cpu` and :mod:`.cuda`.

A dozen passes over B x K, one operation each: they cost more than the arithmetic in them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import FunctionCtx, once_differentiable


class _ShortlistCrossEntropy(torch.autograd.Function):
    # By hand: the gradient that torch would derive is 0/0 and inf-inf where p is within rounding
    # of 0 or 1.
    @staticmethod
    def forward(
        ctx: Any,
        logits_BK: torch.Tensor,
        path_scores_BK: torch.Tensor,
        positive_BK: torch.Tensor,
        valid_BK: torch.Tensor,
    ) -> torch.Tensor:
        z, y_hat = logits_BK, path_scores_BK
        # With u = exp(-|z|): 1 - y_hat * sigmoid(z) = a / (1 + u), where a is the sum below. It
        # has no cancellation, so the loss and its gradients hold at p -> 1.
        u = torch.exp(-z.abs())
        up = z >= 0
        one_plus_u = 1.0 + u
        a = torch.where(up, (1.0 - y_hat) + u, 1.0 + (1.0 - y_hat) * u)
        sigmoid = torch.where(up, 1.0, u) / one_plus_u
        one_minus_sigmoid = torch.where(up, u, 1.0) / one_plus_u
        a = a.clamp(min=torch.finfo(z.dtype).tiny)
        log_not_p = torch.log(a) - torch.log1p(u)
        safe = y_hat.clamp(min=1e-12)
        log_p = torch.log(safe) + torch.clamp(z, max=0.0) - torch.log1p(u)
        loss = -(torch.where(positive_BK, log_p, log_not_p) * valid_BK).sum()
        not_p = a / one_plus_u
        sigmoid_over = sigmoid / not_p
        grad_z = torch.where(
            positive_BK, -one_minus_sigmoid, y_hat * one_minus_sigmoid * sigmoid_over
        )
        grad_y = torch.where(positive_BK, -1.0 / safe, sigmoid_over)
        ctx.save_for_backward(grad_z * valid_BK, grad_y * valid_BK)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, *grads: torch.Tensor) -> Any:
        (grad,) = grads
        grad_z, grad_y = ctx.saved_tensors  # type: ignore[attr-defined]
        return grad * grad_z, grad * grad_y, None, None


def classification_loss(
    logits_BK: torch.Tensor,
    path_scores_BK: torch.Tensor,
    positive_BK: torch.Tensor,
    valid_BK: torch.Tensor,
) -> torch.Tensor:
    """Equation 7; exact also where p is within rounding of 0 or 1.

    Args:
        logits_BK: z, any float dtype.
        path_scores_BK: y_hat in [0, 1].
        positive_BK: bool, the label is one of the query's.
        valid_BK: bool, not a pad.

    Returns:
        Scalar, differentiable in the logits and the path scores.
    """
    total = _ShortlistCrossEntropy.apply(logits_BK, path_scores_BK, positive_BK, valid_BK)
    return total / logits_BK.shape[0]  # type: ignore[no-any-return]


def shortlist_loss(path_scores_BK: torch.Tensor, positive_BK: torch.Tensor) -> torch.Tensor:
    """Equation 8, mean over queries; arguments as in :func:`classification_loss`."""
    log = torch.log(path_scores_BK.clamp(min=1e-12))
    return -(log * positive_BK).sum() / path_scores_BK.shape[0]


def both_losses(
    logits_BK: torch.Tensor,
    path_scores_BK: torch.Tensor,
    n_positives_B: torch.Tensor,
    n_valid_B: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See :func:`learned_index.kernels.losses.both_losses`."""
    column = torch.arange(logits_BK.shape[1], device=logits_BK.device)[None, :]
    positive_BK, valid_BK = column < n_positives_B[:, None], column < n_valid_B[:, None]
    return (
        classification_loss(logits_BK, path_scores_BK, positive_BK, valid_BK),
        shortlist_loss(path_scores_BK, positive_BK),
    )
