"""The spreading term of GLaS (Guo et al., Breaking the Glass Ceiling, NeurIPS 2019, section 4).

With ``A = Y^T Y`` the co-occurrence of the labels and Z its diagonal, label vectors V (unit rows)
shall have the inner products with which the labels occur together::

    R(V) = |V V^T - T|^2 / U^2,    T = (A Z^-1 + Z^-1 A) / 2

so labels that never meet are pushed to right angles: spread over the sphere, where a search for
the nearest of them works. Stochastic: over the U labels of a batch. Classifiers have a bias and a
norm, which says how sure they are; the term is on their directions ``v_l = w_l / |w_l|``.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch

from learned_index.kernels.update import RowGradients
from learned_index.types import Float32Array, Int64Array

_LEAST_NORM = 1e-6


class SpreadingTerm:
    """The term for a training's labels; see :data:`.training.Regulariser`.

    Args:
        labels_NL: Canonical CSR of the training points.
        weight: Factor of the term.
        most_labels: U at most; of more a part is drawn.
        seed: Of the drawing.
    """

    def __init__(
        self, labels_NL: sp.csr_matrix, *, weight: float, most_labels: int, seed: int
    ) -> None:
        self._weight, self._most = weight, most_labels
        together_LL = (labels_NL.T @ labels_NL).tocsr().astype(np.float32)
        self._targets_LL = conditional_means(together_LL)
        self._generator = np.random.default_rng(seed)

    def __call__(
        self, weight_LD: torch.Tensor, labels_U: Int64Array, gradients: RowGradients
    ) -> float:
        """Return the term of some labels and add its gradient to theirs."""
        if len(labels_U) > self._most:
            labels_U = np.sort(self._generator.choice(labels_U, self._most, replace=False))
        target_UU = self.targets(labels_U)
        rows = torch.from_numpy(labels_U)
        value, gradient_UD = spreading_loss(weight_LD[rows], torch.from_numpy(target_UU))
        gradients.weight_LD[rows] += self._weight * gradient_UD
        gradients.touched_L[rows] = True
        return self._weight * value

    def targets(self, labels_U: Int64Array) -> Float32Array:
        """Return T of some labels, float32 U x U."""
        return np.asarray(self._targets_LL[labels_U][:, labels_U].toarray(), dtype=np.float32)


def conditional_means(together_LL: sp.csr_matrix) -> sp.csr_matrix:
    """Return T: the mean of P(i | j) and P(j | i); 0 for labels that no point has.

    Args:
        together_LL: A, how many points have both labels, CSR.
    """
    counts_L = together_LL.diagonal()
    inverse = sp.diags(np.divide(1.0, counts_L, out=np.zeros_like(counts_L), where=counts_L > 0))
    return (0.5 * (together_LL @ inverse + inverse @ together_LL)).tocsr()


def spreading_loss(weight_UD: torch.Tensor, target_UU: torch.Tensor) -> tuple[float, torch.Tensor]:
    """The term R of some labels and its gradient in their classifiers.

    With ``E = V V^T - T``: ``dR/dV = 4 E V / U^2``, and of that the part at right angles to v_l,
    over the norm of w_l. A classifier of norm 0 has no direction and gets no gradient.

    Args:
        weight_UD: Classifiers w_l, float.
        target_UU: T, symmetric.

    Returns:
        R, and its gradient U x D.
    """
    n_labels = len(weight_UD)
    norms_U1 = weight_UD.norm(dim=1, keepdim=True)
    v_UD = weight_UD / norms_U1.clamp(min=_LEAST_NORM)
    error_UU = v_UD @ v_UD.T - target_UU
    slope_UD = (4.0 / n_labels**2) * (error_UU @ v_UD)
    slope_UD = slope_UD - (slope_UD * v_UD).sum(dim=1, keepdim=True) * v_UD
    gradient_UD = torch.where(
        norms_U1 > _LEAST_NORM, slope_UD / norms_U1.clamp(min=_LEAST_NORM), 0.0
    )
    return float(error_UU.square().sum()) / n_labels**2, gradient_UD
