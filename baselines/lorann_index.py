"""LoRANN: inverted lists whose scores are predicted by reduced-rank regression."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np

from learned_index.baselines.base import BoundSearch, Inputs, as_float32, require_built
from learned_index.baselines.package_search import (
    Metric,
    PackageSearch,
    batch_threads,
    import_package,
)
from learned_index.errors import InputError
from learned_index.types import DenseMatrix, Float32Array

LEAST_DIM = 64
"""LoRANN refuses fewer dimensions; the items then get columns of zeros."""


class LorannSearch(PackageSearch):
    """LoRANN (Jaasaari et al., NeurIPS 2024, arXiv 2410.18926).

    The knobs are ``clusters`` searched and ``rerank``, the candidates scored in float32.

    Args:
        n_clusters: Clusters; None takes the power of two next to sqrt(L).
        global_dim: Dimension after the global reduction, a multiple of 32; None follows the
            package's advice (128 from 200 dimensions, 256 above 1000).
        bits: Bits of the regression matrices: 4, 8, or 0 for float32.
        rank: Rank of the regression matrices: 16, 32 or 64.
        metric: See :class:`~learned_index.baselines.package_search.PackageSearch`.
        name: The method as the user wrote it.
    """

    method = "lorann"
    arguments = ("clusters", "rerank")
    _training_queries: Float32Array | None = None

    def __init__(
        self,
        *,
        n_clusters: int | None = None,
        global_dim: int | None = None,
        bits: int = 8,
        rank: int = 32,
        metric: Metric = "inner-product",
        name: str | None = None,
    ) -> None:
        super().__init__(metric=metric, name=name)
        if bits not in (0, 4, 8) or rank not in (16, 32, 64):
            raise InputError(f"bits must be 0, 4 or 8 and rank 16, 32 or 64, got {bits} and {rank}")
        self.n_clusters, self.global_dim, self.bits, self.rank = n_clusters, global_dim, bits, rank
        self._clusters = 1

    def _build(self, items_LE: Float32Array) -> Any:
        lorann = import_package("lorann")
        items_LE = _widened(items_LE)
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
        index.build(n_threads=batch_threads(), training_queries=self._training_queries)
        return index

    def prepare_queries(self, queries_BE: Float32Array) -> Float32Array:
        """Add the norm coordinate and the columns of zeros that the items have."""
        return _widened(super().prepare_queries(queries_BE))

    def split_queries(self, prepared_BE: Float32Array) -> list[Any]:
        """Return vectors."""
        return list(prepared_BE)

    def bind(self, k: int, **query_arguments: Any) -> BoundSearch:
        """Fix the knobs."""
        clusters = min(query_arguments.get("clusters", 8), self._clusters)
        assert self._items_LE is not None
        width = min(k, len(self._items_LE))
        # With no more candidates than results the package leaves these without order.
        rerank = max(query_arguments.get("rerank", 2 * k), width + 1)
        # The package's own class only asks whether it was built and passes these on.
        search, threads = self._index.index.search, batch_threads()
        return BoundSearch(
            lambda row: search(row, width, clusters, rerank, False, 1),
            lambda rows: search(rows, width, clusters, rerank, False, threads),
        )

    def query_grid(self) -> Sequence[dict[str, Any]]:
        """Return the sweep of ``clusters``, with several values of ``rerank`` for each."""
        clusters = [2**power for power in range(20) if 2**power <= self._clusters]
        wanted = sorted({*clusters, *(3 * value for value in clusters[2:-1])})
        return [
            {"clusters": value, "rerank": rerank}
            for value in wanted
            if value <= self._clusters
            for rerank in (120, 200, 400, 800, 1600)
            if rerank <= 400 * value
        ]

    def disk_bytes(self) -> int:
        """Return the size of the file that LoRANN writes."""
        require_built(self._index, self.name)
        with TemporaryDirectory() as folder:
            path = Path(folder) / "index.lorann"
            self._index.save(str(path))
            return path.stat().st_size


class QueryTrainedLorannSearch(LorannSearch):
    """LoRANN fitted to training queries: its remedy where queries are not like items.

    Arguments as :class:`LorannSearch`.
    """

    method = "lorann-queries"
    inputs: ClassVar[Inputs] = "classifiers+queries"
    sample: ClassVar[int] = 2**18
    """Training queries used at most."""

    def build(self, items_LE: DenseMatrix, queries_NE: DenseMatrix) -> None:  # type: ignore[override]
        """Build the index over the items from training queries.

        Args:
            items_LE: L x E.
            queries_NE: N x E.
        """
        queries_NE = as_float32(queries_NE[: self.sample], what="training queries")
        self._training_queries = self.prepare_queries(queries_NE)
        super().build(items_LE)


def _reduced_dim(dim: int) -> int:
    if dim < 200:
        return dim // 32 * 32
    return 128 if dim <= 1000 else 256


def _widened(matrix_RE: Float32Array) -> Float32Array:
    missing = max(0, LEAST_DIM - matrix_RE.shape[1])
    return np.pad(matrix_RE, ((0, 0), (0, missing))) if missing else matrix_RE
