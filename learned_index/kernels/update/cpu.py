"""AdamW on rows in Numba: as :mod:`.plain`; compared in ``tests/kernels/test_update.py``."""

from __future__ import annotations

import numba
import numpy as np
import torch

from learned_index.kernels.machine.flags import FAST
from learned_index.kernels.machine.parallel import run_rows


@numba.njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy", forceinline=True)
def adamw_row(
    w, grad, moment1, moment2,
    learning_rate, beta1, beta2, epsilon, decay, correction1, correction2,
):  # fmt: skip
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


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _step_rows(
    start, stop, rows, weight, grad, moment1, moment2,
    learning_rate, beta1, beta2, epsilon, decay, correction1, correction2,
):  # fmt: skip
    for i in range(start, stop):
        row = rows[i]
        adamw_row(
            weight[row], grad[i], moment1[row], moment2[row],
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
    # Not as_arrays: of a weight that is not in C order that would update a copy.
    arrays = [t.detach().numpy() for t in (rows, weight, grad.contiguous(), moment1, moment2)]
    numbers = [np.float32(c) for c in constants]
    run_rows(len(rows), lambda a, b: _step_rows(a, b, *arrays, *numbers))
