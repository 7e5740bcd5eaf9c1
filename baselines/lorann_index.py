"""LoRANN: inverted lists whose scores are predicted by reduced-rank regression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from learned_index.baselines.registry import register
from learned_index.baselines.vectors import (
    METRIC_HELP,
    Metric,
    VectorSearch,
    as_float32,
    powers_and_between,
    two_knobs,
)
from learned_index.comparison.method import BoundSearch, Inputs
from learned_index.config import parameter
from learned_index.errors import InputError
from learned_index.system.threads import current_threads
from learned_index.types import DenseMatrix, Float32Array

MOST_QUERIES = 2**18
"""Training queries that the regression is fitted to at most."""


@register("lorann", summary="clusters and reduced-rank regression (LoRANN)", package="lorann")
class LorannSearch(VectorSearch):
    """LoRANN (Jaasaari et al., NeurIPS 2024, arXiv 2410.18926).

    The knobs are ``clusters`` searched and ``rerank``, the candidates scored in float32.
    """

    arguments: ClassVar[dict[str, type]] = {"clusters": int, "rerank": int}
    least_columns = 64  # LoRANN refuses fewer dimensions
    one_is_a_row = True

    n_clusters: int | None = parameter(None, "clusters; the power of two next to sqrt(L)")
    # The package's advice: 128 from 200 dimensions, 256 above 1000.
    global_dim: int | None = parameter(None, "dimension after the global reduction")
    bits: int = parameter(8, "bits of the regression matrices: 4, 8, or 0 for float32", low=0)
    rank: int = parameter(32, "rank of the regression matrices: 16, 32 or 64")
    metric: Metric = parameter("inner-product", METRIC_HELP)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._training_queries: Float32Array | None = None
        if self.bits not in (0, 4, 8) or self.rank not in (16, 32, 64):
            raise InputError(
                f"bits must be 0, 4 or 8 and rank 16, 32 or 64, got {self.bits} and {self.rank}"
            )

    def _build(self, items_LE: Float32Array) -> Any:
        lorann = self.package("lorann")
        n_items, dim = items_LE.shape
        self._clusters = self.n_clusters or 2 ** round(np.log2(max(n_items, 1) ** 0.5))
        index = lorann.LorannIndex(
            data=items_LE,
            n_clusters=self._clusters,
            global_dim=self.global_dim or _reduced_dim(dim),
            quantization_bits=self.bits or None,
            rank=self.rank,
            train_size=min(5, self._clusters),
            distance=lorann.L2 if self.metric == "reduced" else lorann.IP,
            copy=True,  # not the mapped file: the candidates are read from it
        )
        index.build(n_threads=current_threads(), training_queries=self._training_queries)
        return index

    def bind(self, k: int, **query_arguments: Any) -> BoundSearch:
        """Fix the knobs."""
        clusters = min(query_arguments.get("clusters", 8), self._clusters)
        width = self.width(k)
        # With no more candidates than results the package leaves these without order.
        rerank = max(query_arguments.get("rerank", 2 * k), width + 1)
        # The package's own class only asks whether it was built and passes these on.
        search, threads = self._index.index.search, current_threads()
        return BoundSearch(
            lambda row: search(row, width, clusters, rerank, False, 1),
            lambda rows: search(rows, width, clusters, rerank, False, threads),
        )

    def query_grid(self) -> Sequence[dict[str, Any]]:
        """Return the sweep of ``clusters``, with several values of ``rerank`` for each."""
        clusters = sorted(powers_and_between(self._clusters))
        return two_knobs("clusters", clusters, "rerank", (120, 200, 400, 800, 1600))


@register("lorann-queries", summary="LoRANN fitted to training queries", package="lorann")
class QueryTrainedLorannSearch(LorannSearch):
    """LoRANN fitted to training queries: its remedy where queries are not like items."""

    inputs: ClassVar[Inputs] = "classifiers+queries"

    def build(self, *data: DenseMatrix) -> None:
        """Build the index over the items, L x E, from training queries, N x E."""
        items_LE, queries_NE = data
        queries_NE = as_float32(queries_NE[:MOST_QUERIES], what="training queries")
        self._training_queries = self.prepare_queries(queries_NE)
        super().build(items_LE)


def _reduced_dim(dim: int) -> int:
    return dim // 32 * 32 if dim < 200 else 128 if dim <= 1000 else 256
