"""Parameters of the sparse ranker."""

from __future__ import annotations

from dataclasses import dataclass

from learned_index.parameters import Config, parameter


@dataclass(frozen=True, kw_only=True)
class RankerConfig(Config):
    """How a :class:`~learned_index.ranking.SparseRanker` is trained."""

    cost: float = parameter(1.0, "C, cost of margin violations in the ranker (LIBLINEAR's -c)")
    positive_cost: float = parameter(1.0, "factor on the cost for positive points")
    dense_scale: float = parameter(0.5, "length of the dense vectors beside tf-idf of length 1")
    max_iterations: int = parameter(50, "passes of dual coordinate descent over a label's points")
    tolerance: float = parameter(0.1, "largest violation of optimality at which a label is done")
    weight_threshold: float = parameter(0.05, "sparse weights below this are dropped")
    max_negatives: int = parameter(10_000, "negative points per label at most")
    seed: int = parameter(0, "seed of the order of points and of the choice of negatives")

    def __post_init__(self) -> None:
        for name in ("cost", "positive_cost", "tolerance"):
            self._require(name, low=1e-9)
        for name in ("dense_scale", "weight_threshold"):
            self._require(name, low=0.0)
        for name in ("max_iterations", "max_negatives"):
            self._require(name, low=1)
