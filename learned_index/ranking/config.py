"""Parameters of the sparse ranker."""

from __future__ import annotations

from dataclasses import dataclass

from learned_index.config import Config, parameter, seed_parameter


@dataclass(frozen=True, kw_only=True)
class RankerConfig(Config):
    """How a :class:`~learned_index.ranking.SparseRanker` is trained."""

    cost: float = parameter(
        1.0, "C, cost of margin violations in the ranker (LIBLINEAR's -c)", low=1e-9
    )
    positive_cost: float = parameter(1.0, "factor on the cost for positive points", low=1e-9)
    dense_scale: float = parameter(
        0.5, "length of the dense vectors beside tf-idf of length 1", low=0.0, high=1e6
    )
    max_iterations: int = parameter(50, "passes of dual coordinate descent over a label's points")
    tolerance: float = parameter(
        0.1, "largest violation of optimality at which a label is done", low=1e-9
    )
    weight_threshold: float = parameter(0.05, "sparse weights below this are dropped", low=0.0)
    max_negatives: int = parameter(10_000, "negative points per label at most")
    seed: int = seed_parameter("seed of the order of points and of the choice of negatives")
