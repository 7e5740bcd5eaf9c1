"""AdamW on the rows of a matrix that a step touches (Loshchilov & Hutter 2019, algorithm 2).

With the gradient g of a row, its moments m and v, the rate r and the decay d::

    m = beta1 m + (1 - beta1) g
    v = beta2 v + (1 - beta2) g^2
    w = w - r (m' / (sqrt(v') + epsilon) + d w),    m' = m / (1 - beta1^t), v' = v / (1 - beta2^t)

Two ways: fused into the backward pass of :func:`~learned_index.kernels.classify.score_labels`
(Numba and Triton, one process, a step of the rows at every step of training), or on gradients that
:class:`RowGradients` has collected (any device, several steps, several processes).

Versions: :mod:`.plain` (torch, any device), :mod:`.cpu` (Numba) and :mod:`.cuda` (Triton).
"""

from __future__ import annotations

import torch

from learned_index.kernels.machine.dispatch import version_of

__all__ = ["RowAdamW", "RowGradients"]

_MOMENTS = ("moment1_LD", "moment2_LD", "moment1_L", "moment2_L")


class RowGradients:
    """Gradients of label classifiers, summed over steps, and which rows they touch.

    Give it to :func:`~learned_index.kernels.classify.score_labels` in the place of an optimiser.

    Args:
        n_rows: L.
        dim: D.
        device: Where the classifiers are.

    Attributes:
        weight_LD: float32 sum of the gradients of the weights; zero in rows not touched.
        bias_L: float32 sum of the gradients of the biases.
        touched_L: bool, rows that some step has touched.
    """

    def __init__(self, n_rows: int, dim: int, *, device: torch.device | str = "cpu") -> None:
        self.weight_LD = torch.zeros(n_rows, dim, device=device)
        self.bias_L = torch.zeros(n_rows, device=device)
        self.touched_L = torch.zeros(n_rows, dtype=torch.bool, device=device)

    def take(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return touched rows (int64 U) and their gradients (U x D, U); start again from zero."""
        rows = self.touched_L.nonzero().reshape(-1)
        weight_UD, bias_U = self.weight_LD[rows], self.bias_L[rows]
        self.weight_LD[rows] = 0.0
        self.bias_L[rows] = 0.0
        self.touched_L.zero_()
        return rows, weight_UD, bias_U


class RowAdamW:
    """State of an AdamW over the rows of label classifiers, or of another table.

    Rows that a step does not touch keep their moments and are not decayed ("lazy" AdamW), so a
    step costs the touched rows only; the bias correction counts all steps.

    Args:
        n_rows: L.
        dim: D.
        learning_rate: Changed between steps by a schedule through the attribute.
        weight_decay: Decoupled decay of the weights; biases are not decayed.
        betas: Decay rates of the two moments.
        epsilon: Added to the root of the second moment.
        device: Where the rows are; the moments lie there too.
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
        device: torch.device | str = "cpu",
    ) -> None:
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.betas = betas
        self.epsilon = epsilon
        self.steps = 0
        shapes = ((n_rows, dim), (n_rows, dim), (n_rows,), (n_rows,))
        self.moments = [torch.zeros(shape, device=device) for shape in shapes]

    def next_constants(self) -> tuple[float, ...]:
        """Count one step; rate, betas, epsilon, decay and both bias corrections."""
        self.steps += 1
        beta1, beta2 = self.betas
        return (
            self.learning_rate,
            beta1,
            beta2,
            self.epsilon,
            self.weight_decay,
            1.0 / (1.0 - beta1**self.steps),
            1.0 / (1.0 - beta2**self.steps),
        )

    @torch.no_grad()
    def step(
        self,
        weight_LD: torch.Tensor,
        bias_L: torch.Tensor | None,
        grad_weight_UD: torch.Tensor,
        grad_bias_U: torch.Tensor | None,
        rows_U: torch.Tensor,
        *,
        implementation: str = "auto",
    ) -> None:
        """One step on some rows, in place; equal to the fused update of these rows.

        Args:
            weight_LD: float32 weights.
            bias_L: float32 biases, which are not decayed; None for a table without them.
            grad_weight_UD: float32 gradients of the rows' weights.
            grad_bias_U: float32 gradients of the rows' biases, None where ``bias_L`` is.
            rows_U: int64, no row twice.
            implementation: A version (:mod:`learned_index.kernels.machine.dispatch`).
        """
        learning_rate, beta1, beta2, epsilon, decay, *corrections = self.next_constants()
        version = version_of(__name__, weight_LD.device, implementation)
        fixed = (learning_rate, beta1, beta2, epsilon)
        m1_LD, m2_LD, m1_L, m2_L = self.moments
        version.step_rows(
            weight_LD, grad_weight_UD, m1_LD, m2_LD, rows_U, (*fixed, decay, *corrections)
        )
        if bias_L is not None and grad_bias_U is not None:
            bias, grad, m1, m2 = (t.unsqueeze(1) for t in (bias_L, grad_bias_U, m1_L, m2_L))
            version.step_rows(bias, grad, m1, m2, rows_U, (*fixed, 0.0, *corrections))

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Tensors from which :meth:`load_state_dict` continues bit-equal."""
        return {**dict(zip(_MOMENTS, self.moments, strict=True)), "steps": torch.tensor(self.steps)}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Continue from what :meth:`state_dict` gave."""
        for moment, name in zip(self.moments, _MOMENTS, strict=True):
            moment.copy_(state[name])
        self.steps = int(state["steps"])
