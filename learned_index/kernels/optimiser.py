"""AdamW on the rows of a matrix that a step touches, fused into the backward pass."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch


@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def adamw_row(
    w,
    grad,
    moment1,
    moment2,
    learning_rate,
    beta1,
    beta2,
    epsilon,
    decay,
    correction1,
    correction2,
):
    """One AdamW step on one row, in place (Loshchilov & Hutter 2019, algorithm 2)."""
    one = np.float32(1.0)
    for d in range(w.shape[0]):
        g = grad[d]
        m = beta1 * moment1[d] + (one - beta1) * g
        v = beta2 * moment2[d] + (one - beta2) * g * g
        moment1[d] = m
        moment2[d] = v
        step = (m * correction1) / (np.sqrt(v * correction2) + epsilon)
        w[d] -= learning_rate * (step + decay * w[d])


class RowAdamW:
    """State of a fused AdamW over label classifiers.

    Rows that a step does not touch keep their moments and are not decayed ("lazy" AdamW), so a
    step costs the touched rows only; the bias correction counts all steps.

    Args:
        n_rows: L.
        dim: D.
        learning_rate: Changed between steps by a schedule through the attribute.
        weight_decay: Decoupled decay of the weights; biases are not decayed.
        betas: Decay rates of the two moments.
        epsilon: Added to the root of the second moment.
    """

    def __init__(
        self,
        n_rows: int,
        dim: int,
        *,
        learning_rate: float,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
    ) -> None:
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.betas = betas
        self.epsilon = epsilon
        self.steps = 0
        self.moments = [
            np.zeros((n_rows, dim), np.float32),
            np.zeros((n_rows, dim), np.float32),
            np.zeros(n_rows, np.float32),
            np.zeros(n_rows, np.float32),
        ]

    def next_step(self) -> tuple[Any, ...]:
        """Count one step and return what the kernel takes: the moments, then the constants."""
        self.steps += 1
        beta1, beta2 = self.betas
        constants = (
            self.learning_rate,
            beta1,
            beta2,
            self.epsilon,
            self.weight_decay,
            1.0 / (1.0 - beta1**self.steps),
            1.0 / (1.0 - beta2**self.steps),
        )
        return (*self.moments, *(np.float32(c) for c in constants))

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Tensors from which :meth:`load_state_dict` continues bit-equal."""
        names = ("moment1_LD", "moment2_LD", "moment1_L", "moment2_L")
        state = {n: torch.from_numpy(m) for n, m in zip(names, self.moments, strict=True)}
        return {**state, "steps": torch.tensor(self.steps)}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Continue from what :meth:`state_dict` gave."""
        names = ("moment1_LD", "moment2_LD", "moment1_L", "moment2_L")
        self.moments = [state[n].numpy().copy() for n in names]
        self.steps = int(state["steps"])
