"""usearch: a small-footprint graph index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

from learned_index.baselines.base import BoundSearch, require_built
from learned_index.baselines.package_search import (
    Metric,
    PackageSearch,
    batch_threads,
    import_package,
)
from learned_index.errors import InputError
from learned_index.types import Float32Array

EXPANSIONS = (100, 150, 200, 300, 400, 600, 800, 1200, 1600, 2400, 3200)


class UsearchSearch(PackageSearch):
    """usearch's graph; the knob is ``expansion``, its name for ef.

    Args:
        links: Links of a node ("connectivity").
        expansion_add: Candidates examined for each node while building.
        dtype: How vectors are stored: ``"f32"``, ``"f16"``, ``"bf16"`` or ``"i8"``.
        metric: See :class:`~learned_index.baselines.package_search.PackageSearch`.
        name: The method as the user wrote it.
    """

    method = "usearch"
    arguments = ("expansion",)

    def __init__(
        self,
        *,
        links: int = 32,
        expansion_add: int = 200,
        dtype: Literal["f32", "f16", "bf16", "i8"] = "f32",
        metric: Metric = "reduced",
        name: str | None = None,
    ) -> None:
        super().__init__(metric=metric, name=name)
        if dtype not in ("f32", "f16", "bf16", "i8"):
            raise InputError(f"dtype must be f32, f16, bf16 or i8, got {dtype!r}")
        self.links, self.expansion_add, self.dtype = links, expansion_add, dtype

    def _build(self, items_LE: Float32Array) -> Any:
        usearch = import_package("usearch.index", distribution="usearch")
        index = usearch.Index(
            ndim=items_LE.shape[1],
            metric="l2sq" if self.metric == "reduced" else "ip",
            dtype=self.dtype,
            connectivity=self.links,
            expansion_add=self.expansion_add,
        )
        index.add(np.arange(len(items_LE)), items_LE, threads=batch_threads())
        return index

    def bind(self, k: int, **query_arguments: Any) -> BoundSearch:
        """Fix the knob."""
        assert self._items_LE is not None
        width = min(k, len(self._items_LE))
        self._index.expansion_search = query_arguments.get("expansion", 2 * k)
        search, threads = self._index.search, batch_threads()

        def batch(rows: Float32Array) -> Any:
            found = search(rows, width, threads=threads)
            keys = np.asarray(found.keys, dtype=np.int64).reshape(len(rows), -1)
            if len(rows) == 1:  # the package then returns what it found only
                return keys
            return np.where(np.arange(width) < found.counts[:, None], keys, -1)

        return BoundSearch(lambda row: search(row, width, threads=1), batch)

    def query_grid(self) -> Sequence[dict[str, Any]]:
        """Return the sweep of ``expansion`` (below k it means k)."""
        return [{"expansion": value} for value in EXPANSIONS]

    def disk_bytes(self) -> int:
        """Return the size of the file that usearch writes."""
        require_built(self._index, self.name)
        with TemporaryDirectory() as folder:
            path = Path(folder) / "index.usearch"
            self._index.save(str(path))
            return path.stat().st_size
