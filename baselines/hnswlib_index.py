"""hnswlib: the reference implementation of hierarchical navigable small-world graphs."""

from __future__ import annotations

from bisect import bisect
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from learned_index.baselines.registry import register
from learned_index.baselines.vectors import GRAPH_SWEEP, METRIC_HELP, Metric, VectorSearch
from learned_index.comparison.method import BoundSearch, Ids
from learned_index.config import parameter, seed_parameter
from learned_index.system.threads import current_threads
from learned_index.types import PAD_ID, Float32Array


@register("hnswlib", summary="a graph (hnswlib)", package="hnswlib")
class HnswlibSearch(VectorSearch):
    """hnswlib (Malkov and Yashunin, TPAMI 2018); the knob is ``ef_search``.

    hnswlib raises where fewer than k items are found; here such rows are padded. Two builds on
    more than one thread differ whatever the seed.
    """

    arguments: ClassVar[dict[str, type]] = {"ef_search": int}
    sweep = GRAPH_SWEEP

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
                return (_fewer(search, rows, width),)

        return BoundSearch(lambda row: found(row, 1), lambda rows: found(rows, threads)[0])

    def _save(self, folder: Path) -> None:
        self._index.save_index(str(folder / "index"))


def _fewer(search: Any, rows: Float32Array, k: int) -> Ids:
    """Ask row by row for as many as there are, by bisection; pad with -1."""
    ids = np.full((len(rows), k), PAD_ID, dtype=np.int64)

    def lacks(row: int, wanted: int) -> bool:
        try:
            ids[row, :wanted] = search(rows[row : row + 1], wanted, 1)[0][0]
        except RuntimeError:
            return True
        return False

    for row in range(len(rows)):
        # What can be had only grows meanwhile, so the last answer kept is the longest.
        bisect(range(1, k + 1), False, key=partial(lacks, row))
    return ids
