"""hnswlib: the reference implementation of hierarchical navigable small-world graphs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from learned_index.baselines.base import BoundSearch, require_built
from learned_index.baselines.package_search import (
    Metric,
    PackageSearch,
    batch_threads,
    import_package,
)
from learned_index.types import Float32Array

EF_SEARCH = (100, 150, 200, 300, 400, 600, 800, 1200, 1600, 2400, 3200)


class HnswlibSearch(PackageSearch):
    """hnswlib (Malkov and Yashunin, TPAMI 2018); the knob is ``ef_search``.

    hnswlib raises where fewer than k items are found; here such rows are padded.

    Args:
        links: M, links of a node.
        ef_construction: Candidates examined for each node while building.
        metric: See :class:`~learned_index.baselines.package_search.PackageSearch`.
        seed: Of the levels. Two builds on more than one thread differ all the same.
        name: The method as the user wrote it.
    """

    method = "hnswlib"
    arguments = ("ef_search",)

    def __init__(
        self,
        *,
        links: int = 32,
        ef_construction: int = 200,
        metric: Metric = "reduced",
        seed: int = 0,
        name: str | None = None,
    ) -> None:
        super().__init__(metric=metric, name=name)
        self.links, self.ef_construction, self.seed = links, ef_construction, seed

    def _build(self, items_LE: Float32Array) -> Any:
        hnswlib = import_package("hnswlib")
        space = "l2" if self.metric == "reduced" else "ip"
        index = hnswlib.Index(space=space, dim=items_LE.shape[1])
        index.init_index(
            max_elements=max(len(items_LE), 1),
            ef_construction=self.ef_construction,
            M=self.links,
            random_seed=self.seed,
        )
        index.add_items(items_LE, num_threads=batch_threads())
        return index

    def bind(self, k: int, **query_arguments: Any) -> BoundSearch:
        """Fix the knob."""
        assert self._items_LE is not None
        width = min(k, len(self._items_LE))
        self._index.set_ef(max(query_arguments.get("ef_search", 2 * k), 1))
        search, threads = self._index.knn_query, batch_threads()

        def found(rows: Float32Array, n_threads: int) -> Any:
            try:
                return search(rows, width, n_threads)
            except RuntimeError:  # a row with fewer than k: hnswlib gives up the whole batch
                return _fewer(search, rows, width)

        return BoundSearch(lambda row: found(row, 1), lambda rows: found(rows, threads)[0])

    def query_grid(self) -> Sequence[dict[str, Any]]:
        """Return the sweep of ``ef_search`` (below k it means k)."""
        return [{"ef_search": value} for value in EF_SEARCH]

    def disk_bytes(self) -> int:
        """Return the size of the file that hnswlib writes."""
        require_built(self._index, self.name)
        with TemporaryDirectory() as folder:
            path = Path(folder) / "index.hnsw"
            self._index.save_index(str(path))
            return path.stat().st_size


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
