"""AdamW on rows in plain torch, on any device: the oracle of :mod:`.cpu` and :mod:`.cuda`."""

from __future__ import annotations

import torch


def step_rows(
    weight: torch.Tensor,
    grad: torch.Tensor,
    moment1: torch.Tensor,
    moment2: torch.Tensor,
    rows: torch.Tensor,
    constants: tuple[float, ...],
) -> None:
    """AdamW on ``weight[rows]``, in place.

    Args:
        weight: float32 L x D.
        grad: float32 U x D.
        moment1: float32 L x D.
        moment2: float32 L x D.
        rows: int64 U, no row twice.
        constants: Rate, both betas, epsilon, decay, both bias corrections.
    """
    learning_rate, beta1, beta2, epsilon, decay, correction1, correction2 = constants
    m = moment1[rows].lerp_(grad, 1.0 - beta1)
    v = moment2[rows].mul_(beta2).addcmul_(grad, grad, value=1.0 - beta2)
    moment1[rows], moment2[rows] = m, v
    w = weight[rows]
    step = (m * correction1) / ((v * correction2).sqrt_() + epsilon)
    weight[rows] = w - learning_rate * (step + decay * w)
