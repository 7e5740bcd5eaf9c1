"""hnswlib: the reference implementation of hierarchical navigable small-world graphs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from learned_index.baselines.registry import register
from learned_index.baselines.vectors import METRIC_HELP, Metric, VectorSearch
from learned_index.comparison.method import BoundSearch
from learned_index.config import parameter, seed_parameter
from learned_index.system.threads import current_threads
from learned_index.types import Float32Array


@register("hnswlib", summary="a graph (hnswlib)", package="hnswlib")
class HnswlibSearch(VectorSearch):
    """hnswlib (Malkov and Yashunin, TPAMI 2018); the knob is ``ef_search``.

    hnswlib raises where fewer than k items are found; here such rows are padded. Two builds on
    more than one thread differ whatever the seed.
    """

    arguments: ClassVar[dict[str, type]] = {"ef_search": int}

    links: int = parameter(32, "M, links of a node")
    ef_construction: int = parameter(200, "candidates examined for each node while building")
    metric: Metric = parameter("reduced", METRIC_HELP)
    seed: int = seed_parameter("of the nodes' levels")

    def _build(self, items_LE: Float32Array) -> Any:
        space = "l2" if self.metric == "reduced" else "ip"
        index = self.package("hnswlib").Index(space=space, dim=items_LE.shape[1])
        index.init_index(
            max_elements=max(len(items_LE), 1),
            ef_construction=self.ef_construction,
            M=self.links,
            random_seed=self.seed,
        )
        index.add_items(items_LE, num_threads=current_threads())
        return index

    def bind(self, k: int, **query_arguments: Any) -> BoundSearch:
        """Fix the knob."""
        width, search, threads = self.width(k), self._index.knn_query, current_threads()
        self._index.set_ef(query_arguments.get("ef_search", 2 * k))

        def found(rows: Float32Array, n_threads: int) -> Any:
            try:
                return search(rows, width, n_threads)
            except RuntimeError:  # a row with fewer than k: hnswlib gives up the whole batch
                return _fewer(search, rows, width)

        return BoundSearch(lambda row: found(row, 1), lambda rows: found(rows, threads)[0])

    def query_grid(self) -> Sequence[dict[str, Any]]:
        """Return the sweep of ``ef_search`` (below k it means k)."""
        values = (100, 150, 200, 300, 400, 600, 800, 1200, 1600, 2400, 3200)
        return [{"ef_search": value} for value in values]

    def _save(self, folder: Path) -> None:
        self._index.save_index(str(folder / "index.hnsw"))


def _fewer(search: Any, rows: Float32Array, k: int) -> tuple[Any, Any]:
    """Ask row by row for as many as there are, by bisection; pad with -1."""
    ids = np.full((len(rows), k), -1, dtype=np.int64)
    distances = np.full((len(rows), k), np.inf, dtype=np.float32)
    for row in range(len(rows)):
        low, high = 0, k + 1  # low can be had, high cannot
        while high - low > 1:
            wanted = (low + high) // 2
            try:
                found = search(rows[row : row + 1], wanted, 1)
            except RuntimeError:
                high = wanted
            else:
                low = wanted
                ids[row, :wanted], distances[row, :wanted] = found[0][0], found[1][0]
    return ids, distances
