"""ScaNN: partitions, anisotropic product codes, and a second pass in float32."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from learned_index.baselines.registry import register
from learned_index.baselines.vectors import VectorSearch, powers_and_between, two_knobs
from learned_index.comparison.method import BoundSearch
from learned_index.config import parameter
from learned_index.system.threads import current_threads
from learned_index.types import Float32Array

SMALLEST = 16
"""A product code has 16 centres; fewer items than that cannot train one."""


@register("scann", summary="partitions and product codes (ScaNN)", package="scann")
class ScannSearch(VectorSearch):
    """ScaNN (Guo et al., ICML 2020, arXiv 1908.10396; SOAR: Sun et al., NeurIPS 2023).

    The knobs are ``leaves`` searched and ``reorder``, the candidates scored in float32. The Python
    interface of the package needs no TensorFlow.
    """

    arguments: ClassVar[dict[str, type]] = {"leaves": int, "reorder": int}
    one_is_a_row = True

    n_leaves: int | None = parameter(None, "partitions; the power of two next to 2 sqrt(L)")
    block: int = parameter(2, "dimensions that one 4-bit code stands for")
    # 0.2 stands in the package's own examples.
    threshold: float = parameter(0.2, "anisotropic quantisation threshold")
    soar: float = parameter(1.5, "weight of each item's second assignment; 0: one each", low=0.0)
    metric: Literal["inner-product"] = parameter("inner-product", "the package's own")

    def _build(self, items_LE: Float32Array) -> Any:
        scann = self.package("scann.scann_ops.py.scann_ops_pybind")
        n_items = len(items_LE)
        wanted = self.n_leaves or 2 ** round(np.log2(max(2 * n_items**0.5, 1)))
        self._leaves = max(1, min(wanted, n_items // 4))
        builder = scann.builder(items_LE, min(100, n_items), "dot_product")
        if n_items < SMALLEST:
            return builder.score_brute_force().build()
        options = {} if self.soar == 0 else {"soar_lambda": self.soar, "overretrieve_factor": 1.8}
        if self._leaves > 1:
            builder = builder.tree(
                num_leaves=self._leaves,
                num_leaves_to_search=min(8, self._leaves),
                training_sample_size=n_items,
                **(options if self._leaves > 2 else {}),
            )
        return (
            builder.score_ah(self.block, anisotropic_quantization_threshold=self.threshold)
            .reorder(min(200, n_items))
            .set_n_training_threads(current_threads())
            .build()
        )

    def bind(self, k: int, **query_arguments: Any) -> BoundSearch:
        """Fix the knobs."""
        width, n_items = self.width(k), len(self._items_LE)
        leaves = min(query_arguments.get("leaves", 8), self._leaves)
        reorder = min(max(query_arguments.get("reorder", 2 * k), width), n_items)
        if n_items < SMALLEST:
            leaves = reorder = -1  # brute force has neither
        # The package's own class only passes these on, and renumbers where there are names.
        native, threads = self._index.searcher, current_threads()
        if threads > 1:
            self._index.set_num_threads(threads)

        def batch(rows: Float32Array) -> Any:
            ids, scores = native.search_batched(
                rows, width, reorder, leaves, threads > 1, max(1, -(-len(rows) // threads))
            )
            # Places that could not be filled hold NaN.
            return np.where(np.isnan(scores), -1, ids.astype(np.int64))

        return BoundSearch(lambda row: native.search(row, width, reorder, leaves), batch)

    def query_grid(self) -> Sequence[dict[str, Any]]:
        """Return the sweep of ``leaves``, with several values of ``reorder`` for each."""
        leaves = sorted({*powers_and_between(self._leaves), self._leaves})
        return two_knobs("leaves", leaves, "reorder", (100, 200, 400, 800, 1600))

    def _save(self, folder: Path) -> None:
        self._index.serialize(str(folder))
