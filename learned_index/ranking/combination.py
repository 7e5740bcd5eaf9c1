"""One ranking score from the index's probability p and the ranker's margin q."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from learned_index.config import Config, parameter
from learned_index.types import Float32Array

SLOPE = 2.0
"""The margin q counts as the probability sigmoid(SLOPE q) (Platt's form with a fixed slope)."""
_TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class Combination(Config):
    """Ranking score ``p^index_weight * sigmoid(2 q)^ranker_weight``.

    The ranking score where no final ranker was learned. The paper adds p·q.
    """

    index_weight: float = parameter(0.5, "exponent of the index's probability p", low=0.0)
    ranker_weight: float = parameter(
        1.0, "exponent of the ranker's probability sigmoid(2 q)", low=0.0
    )

    def __call__(self, p_BK: Float32Array, q_BK: Float32Array) -> Float32Array:
        """Scores float32 B x K in 0 to 1; 0 where p is not positive."""
        score = np.exp(self.index_weight * _log(p_BK) + self.ranker_weight * _log_sigmoid(q_BK))
        return np.where(p_BK > 0, score, 0.0).astype(np.float32)

    def logarithms(self, p: float, q: float) -> tuple[float, float]:
        """log p and log sigmoid(2 q), which the weights multiply."""
        return float(_log(p)), float(_log_sigmoid(q))


def _log(p: Any) -> Any:
    return np.log(np.maximum(np.asarray(p, dtype=np.float64), _TINY))


def _log_sigmoid(q: Any) -> Any:
    return -np.logaddexp(0.0, -SLOPE * np.asarray(q, dtype=np.float64))
