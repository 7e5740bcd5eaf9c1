"""HNSW and IVF from FAISS, built from any ``index_factory`` string."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeAlias

import numpy as np

from learned_index.baselines.base import Baseline, as_float32, check_k, padded, require_built
from learned_index.errors import InputError
from learned_index.types import DenseMatrix, Float32Array, SearchResult

Metric: TypeAlias = Literal["reduced", "inner-product"]


class FaissBaseline(Baseline):
    """A FAISS index over the items, for the largest inner products.

    Label classifiers differ in norm, and a graph built on raw inner products then leaves items
    that no search ever reaches. ``metric="reduced"`` uses the usual reduction of inner-product
    search to L2 search: items get the coordinate ``sqrt(m^2 - |item|^2)``, m the largest norm, so
    that all have norm m, and queries a zero; the order by distance is then the order by inner
    product. The scores returned are inner products in either case.

    Args:
        factory: ``faiss.index_factory`` string; None chooses one for the number of items.
        metric: ``"reduced"`` or ``"inner-product"``.
        name: The method as the user wrote it.
    """

    inputs = "classifiers"
    argument: str
    """Name of the query-time knob."""

    def __init__(
        self, factory: str | None = None, *, metric: Metric, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        if metric not in ("reduced", "inner-product"):
            raise InputError(f"metric must be 'reduced' or 'inner-product', got {metric!r}")
        self.factory = factory
        self.metric = metric
        self._index: Any = None
        self._parameters: Any = None
        self._dim = 0
        self._largest_norm = 0.0

    @abstractmethod
    def _default_factory(self, n_items: int) -> str: ...

    @abstractmethod
    def _configure(self, index: Any) -> None:
        """Set build-time values that the factory string cannot express."""

    def build(self, items_LE: DenseMatrix) -> None:
        """Train and fill the index with the items, L x E.

        Raises:
            InputError: FAISS does not accept the factory string for items of this width.
        """
        import faiss

        items_LE = as_float32(items_LE, what="items")
        factory = self.factory or self._default_factory(len(items_LE))
        self._dim = items_LE.shape[1]
        if self.metric == "reduced":
            items_LE = self._with_norm_coordinate(items_LE)
            metric = faiss.METRIC_L2
        else:
            metric = faiss.METRIC_INNER_PRODUCT
        try:
            self._index = faiss.index_factory(items_LE.shape[1], factory, metric)
            self._configure(self._index)
            self._index.train(items_LE)
            self._index.add(items_LE)
        except RuntimeError as error:
            self._index = None
            reason = str(error).strip().splitlines()[-1]
            raise InputError(
                f"FAISS cannot build {factory!r} for {len(items_LE)} items of "
                f"{items_LE.shape[1]} dimensions: {reason}"
            ) from None
        self._parameters = faiss.ParameterSpace()

    def search(self, queries: DenseMatrix, k: int, **query_arguments: Any) -> SearchResult:
        """Return the k best items found with the knob at the given value.

        Args:
            queries: B x E.
            k: Results wanted.
            query_arguments: The knob of the class: ``ef_search`` or ``nprobe``.
        """
        require_built(self._index, self.name)
        k = check_k(k)
        unknown = set(query_arguments) - {self.argument}
        if unknown:
            raise InputError(f"{self.name} does not know the query arguments {sorted(unknown)}")
        queries_BE = as_float32(queries, what="queries", dim=self._dim)
        for value in query_arguments.values():
            self._set(value)
        if self.metric == "inner-product":
            scores_BK, ids_BK = self._index.search(queries_BE, k)
            return padded(ids_BK, scores_BK, k)
        lifted_BE = np.zeros((len(queries_BE), self._dim + 1), dtype=np.float32)
        lifted_BE[:, :-1] = queries_BE
        distances_BK, ids_BK = self._index.search(lifted_BE, k)
        norms_B1 = np.einsum("be,be->b", queries_BE, queries_BE)[:, None]
        return padded(ids_BK, (norms_B1 + self._largest_norm**2 - distances_BK) / 2, k)

    def disk_bytes(self) -> int:
        """Return the size of the file that FAISS writes."""
        import faiss

        require_built(self._index, self.name)
        with TemporaryDirectory() as folder:
            path = Path(folder) / "index.faiss"
            faiss.write_index(self._index, str(path))
            return path.stat().st_size

    def _set(self, value: Any) -> None:
        if not isinstance(value, int | np.integer) or value < 1:
            raise InputError(f"{self.argument} must be a positive integer, got {value!r}")
        name = "efSearch" if self.argument == "ef_search" else self.argument
        self._parameters.set_index_parameter(self._index, name, int(value))

    def _with_norm_coordinate(self, items_LE: Float32Array) -> Float32Array:
        squared_L = np.einsum("le,le->l", items_LE, items_LE, dtype=np.float64)
        largest = float(squared_L.max(initial=0.0))
        self._largest_norm = largest**0.5
        lifted_LE = np.empty((len(items_LE), self._dim + 1), dtype=np.float32)
        lifted_LE[:, :-1] = items_LE
        lifted_LE[:, -1] = np.sqrt(np.maximum(largest - squared_L, 0.0))
        return lifted_LE


class HnswSearch(FaissBaseline):
    """Hierarchical navigable small-world graph; the knob is ``ef_search``.

    FAISS links nodes from several threads at once, so two builds on more than one thread differ.

    Args:
        factory: A factory string that contains ``HNSW``; default ``HNSW32``.
        metric: See :class:`FaissBaseline`.
        ef_construction: Candidates examined for each node while building.
        name: The method as the user wrote it.
    """

    method = "hnsw"
    argument = "ef_search"

    def __init__(
        self,
        factory: str | None = None,
        *,
        metric: Metric = "reduced",
        ef_construction: int = 200,
        name: str | None = None,
    ) -> None:
        if factory is not None and "HNSW" not in factory:
            raise InputError(f"hnsw takes a factory string such as HNSW32, got {factory!r}")
        super().__init__(factory, metric=metric, name=name)
        self.ef_construction = ef_construction

    def _default_factory(self, n_items: int) -> str:
        return "HNSW32"

    def _configure(self, index: Any) -> None:
        import faiss

        faiss.ParameterSpace().set_index_parameter(index, "efConstruction", self.ef_construction)

    def query_grid(self) -> Sequence[dict[str, Any]]:
        """Return the sweep of ``ef_search``."""
        return [{"ef_search": value} for value in (50, 100, 200, 400, 800, 1600, 3200)]


class IvfSearch(FaissBaseline):
    """Inverted lists over k-means cells; the knob is ``nprobe``.

    Every item lies in one list, so none is unreachable, and raw inner products are the default.

    Args:
        factory: A factory string that contains ``IVF``; default ``IVF<n>,SQ8,RFlat`` with n the
            power of two next to 4 sqrt(L).
        metric: See :class:`FaissBaseline`.
        rescore: Candidates that an ``RFlat`` stage scores in float32, for each result.
        name: The method as the user wrote it.
    """

    method = "ivf"
    argument = "nprobe"

    def __init__(
        self,
        factory: str | None = None,
        *,
        metric: Metric = "inner-product",
        rescore: float = 2.0,
        name: str | None = None,
    ) -> None:
        if factory is not None and "IVF" not in factory:
            raise InputError(f"ivf takes a factory string such as IVF512,Flat, got {factory!r}")
        super().__init__(factory, metric=metric, name=name)
        self.rescore = rescore
        self._n_lists = 1

    def _default_factory(self, n_items: int) -> str:
        wanted = 2 ** round(np.log2(max(4 * n_items**0.5, 1)))
        return f"IVF{max(1, min(wanted, n_items // 4))},SQ8,RFlat"

    def _configure(self, index: Any) -> None:
        import faiss

        inverted = faiss.extract_index_ivf(index)
        # Fewer than 39 items a list only draws a warning about the k-means from FAISS.
        inverted.cp.min_points_per_centroid = 1
        self._n_lists = int(inverted.nlist)
        refine = faiss.downcast_index(index)
        if isinstance(refine, faiss.IndexRefine):
            refine.k_factor = self.rescore

    def query_grid(self) -> Sequence[dict[str, Any]]:
        """Return the sweep of ``nprobe``: powers of two up to the number of lists."""
        powers = 2 ** np.arange(0, int(np.log2(self._n_lists)) + 1)
        return [{"nprobe": int(value)} for value in sorted({*powers.tolist(), self._n_lists})]
