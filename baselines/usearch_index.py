"""usearch: a small-footprint graph index."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from learned_index.baselines.registry import register
from learned_index.baselines.vectors import GRAPH_SWEEP, METRIC_HELP, Metric, VectorSearch
from learned_index.comparison.method import BoundSearch
from learned_index.config import parameter
from learned_index.system.threads import current_threads
from learned_index.types import Float32Array


@register("usearch", summary="a graph (usearch)", package="usearch")
class UsearchSearch(VectorSearch):
    """usearch's graph; the knob is ``expansion``, its name for ef."""

    arguments: ClassVar[dict[str, type]] = {"expansion": int}
    sweep = GRAPH_SWEEP

    links: int = parameter(32, "links of a node (connectivity)")
    expansion_add: int = parameter(200, "candidates examined for each node while building")
    dtype: Literal["f32", "f16", "bf16", "i8"] = parameter("f32", "how vectors are stored")
    metric: Metric = parameter("reduced", METRIC_HELP)

    def _build(self, items_LE: Float32Array) -> Any:
        index = self.package("usearch.index").Index(
            ndim=items_LE.shape[1],
            metric="l2sq" if self.metric == "reduced" else "ip",
            dtype=self.dtype,
            connectivity=self.links,
            expansion_add=self.expansion_add,
        )
        index.add(np.arange(len(items_LE)), items_LE, threads=current_threads())
        return index

    def bind(self, k: int, **query_arguments: Any) -> BoundSearch:
        """Fix the knob."""
        width, search, threads = self.width(k), self._index.search, current_threads()
        self._index.expansion_search = query_arguments.get("expansion", 2 * k)

        def batch(rows: Float32Array) -> Any:
            found = search(rows, width, threads=threads)
            keys = np.asarray(found.keys, dtype=np.int64).reshape(len(rows), -1)
            if len(rows) == 1:  # the package then returns what it found only
                return keys
            return np.where(np.arange(width) < found.counts[:, None], keys, -1)

        return BoundSearch(lambda row: search(row, width, threads=1), batch)
