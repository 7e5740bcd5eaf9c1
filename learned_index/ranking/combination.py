"""One ranking score from the index's probability p and the ranker's margin q."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from learned_index.config import Config, parameter
from learned_index.errors import InputError
from learned_index.types import Float32Array

SLOPE = 2.0
"""The margin q counts as the probability sigmoid(SLOPE q) (Platt's form with a fixed slope)."""
_TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class Combination(Config):
    """Ranking score ``p^index_weight * sigmoid(2 q)^ranker_weight``.

    The paper adds p·q; the product of powers is a log-linear model, whose two weights
    :meth:`fit` finds on held-out points.
    """

    index_weight: float = parameter(0.5, "exponent of the index's probability p", low=0.0)
    ranker_weight: float = parameter(
        1.0, "exponent of the ranker's probability sigmoid(2 q)", low=0.0
    )

    @classmethod
    def fit(cls, p_BK: Float32Array, q_BK: Float32Array, relevant_BK: Any) -> Self:
        """Find the weights under which the relevant labels of held-out points rank highest.

        Maximises the sum over points of the mean log-probability of the relevant labels in a
        softmax over the shortlist (ListNet's top-one likelihood, Cao et al. 2007): convex, so the
        answer does not depend on a start.

        Args:
            p_BK: Probabilities from the index, at most 0 (or -inf) at pads.
            q_BK: Margins from the ranker.
            relevant_BK: bool, the label is one of the point's.

        Raises:
            InputError: No relevant label in any shortlist.
        """
        from scipy.optimize import minimize
        from scipy.special import log_softmax, softmax

        relevant = np.asarray(relevant_BK, dtype=bool)
        if not np.shape(p_BK) == np.shape(q_BK) == relevant.shape or relevant.ndim != 2:
            raise InputError(
                f"p, q and relevant have shapes {np.shape(p_BK)}, {np.shape(q_BK)} and "
                f"{relevant.shape}; expected the same, B x K"
            )
        if np.isnan(p_BK).any() or not np.isfinite(q_BK).all():
            raise InputError("p or q hold NaN or infinity; expected finite numbers")
        used = relevant.any(axis=1)
        if not used.any():
            raise InputError("no shortlist holds a relevant label; use more held-out points")
        p, q, relevant = p_BK[used], q_BK[used], relevant[used]
        pads = ~(p > 0)
        # Finite at pads: -inf times a weight or a residual of 0 would be NaN.
        features = np.stack([np.where(pads, -1e3, _log(p)), _log_sigmoid(q)])
        target = relevant / relevant.sum(axis=1, keepdims=True)

        def loss(weights: Any) -> tuple[float, Any]:
            score = np.where(pads, -1e6, np.tensordot(weights, features, 1))
            value = -float((target * log_softmax(score, axis=1)).sum()) / len(score)
            residual = (softmax(score, axis=1) - target) / len(score)
            return value, np.array([float((residual * f).sum()) for f in features])

        found = minimize(
            loss, np.array([0.5, 1.0]), jac=True, bounds=[(0.0, 10.0)] * 2, method="L-BFGS-B"
        )
        index_weight, ranker_weight = (float(weight) for weight in found.x)
        if index_weight + ranker_weight == 0.0:
            return cls()  # all scores would be equal
        return cls(index_weight=index_weight, ranker_weight=ranker_weight)

    def __call__(self, p_BK: Float32Array, q_BK: Float32Array) -> Float32Array:
        """Scores float32 B x K in 0 to 1; 0 where p is not positive."""
        score = np.exp(self.index_weight * _log(p_BK) + self.ranker_weight * _log_sigmoid(q_BK))
        return np.where(p_BK > 0, score, 0.0).astype(np.float32)


def _log(p: Any) -> Any:
    return np.log(np.maximum(np.asarray(p, dtype=np.float64), _TINY))


def _log_sigmoid(q: Any) -> Any:
    return -np.logaddexp(0.0, -SLOPE * np.asarray(q, dtype=np.float64))
