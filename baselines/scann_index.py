"""ScaNN: partitions, anisotropic product codes, and a second pass in float32."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from learned_index.baselines.base import BoundSearch, require_built
from learned_index.baselines.package_search import PackageSearch, batch_threads, import_package
from learned_index.errors import InputError
from learned_index.persistence import directory_bytes
from learned_index.types import Float32Array

SMALLEST = 16
"""A product code has 16 centres; fewer items than that cannot train one."""


class ScannSearch(PackageSearch):
    """ScaNN (Guo et al., ICML 2020, arXiv 1908.10396; SOAR: Sun et al., NeurIPS 2023).

    The knobs are ``leaves`` searched and ``reorder``, the candidates scored in float32. The Python
    interface of the package needs no TensorFlow.

    Args:
        n_leaves: Partitions; None takes the power of two next to 2 sqrt(L).
        block: Dimensions that one 4-bit code stands for.
        threshold: Anisotropic quantisation threshold, 0.2 in the package's examples.
        soar: Weight of the second, orthogonal assignment of each item; 0 assigns each once.
        name: The method as the user wrote it.
    """

    method = "scann"
    arguments = ("leaves", "reorder")

    def __init__(
        self,
        *,
        n_leaves: int | None = None,
        block: int = 2,
        threshold: float = 0.2,
        soar: float = 1.5,
        name: str | None = None,
    ) -> None:
        super().__init__(metric="inner-product", name=name)
        if block < 1 or soar < 0:
            raise InputError(f"block must be positive and soar not negative, got {block}, {soar}")
        self.n_leaves, self.block, self.threshold, self.soar = n_leaves, block, threshold, soar
        self._leaves = 1

    def _build(self, items_LE: Float32Array) -> Any:
        scann = import_package("scann.scann_ops.py.scann_ops_pybind", distribution="scann")
        n_items = len(items_LE)
        self._leaves = self.n_leaves or 2 ** round(np.log2(max(2 * n_items**0.5, 1)))
        self._leaves = max(1, min(self._leaves, n_items // 4))
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
            .set_n_training_threads(batch_threads())
            .build()
        )

    def split_queries(self, prepared_BE: Float32Array) -> list[Any]:
        """Return vectors."""
        return list(prepared_BE)

    def bind(self, k: int, **query_arguments: Any) -> BoundSearch:
        """Fix the knobs."""
        assert self._items_LE is not None
        width = min(k, len(self._items_LE))
        leaves = min(query_arguments.get("leaves", 8), self._leaves)
        reorder = min(max(query_arguments.get("reorder", 2 * k), width), len(self._items_LE))
        if len(self._items_LE) < SMALLEST:
            leaves = reorder = -1  # brute force has neither
        # The package's own class only passes these on, and renumbers where there are names.
        native, threads = self._index.searcher, batch_threads()
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
        powers = [2**power for power in range(20) if 2**power <= self._leaves]
        wanted = sorted({*powers, *(3 * value for value in powers[2:-1]), self._leaves})
        return [
            {"leaves": value, "reorder": reorder}
            for value in wanted
            if value <= self._leaves
            for reorder in (100, 200, 400, 800, 1600)
            if reorder <= 400 * value
        ]

    def disk_bytes(self) -> int:
        """Return the size of the files that ScaNN writes."""
        require_built(self._index, self.name)
        with TemporaryDirectory() as folder:
            self._index.serialize(folder)
            return directory_bytes(Path(folder))
