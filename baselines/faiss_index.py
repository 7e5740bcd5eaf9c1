"""HNSW and IVF from FAISS, built from any ``index_factory`` string."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np

from learned_index.baselines.base import (
    Baseline,
    BoundSearch,
    as_float32,
    check_k,
    padded,
    require_built,
)
from learned_index.baselines.package_search import Metric
from learned_index.baselines.reduction import NormCoordinate
from learned_index.errors import InputError
from learned_index.inputs.numbers import whole_number
from learned_index.types import DenseMatrix, Float32Array, SearchResult


class FaissBaseline(Baseline):
    """A FAISS index over the items, for the largest inner products.

    The scores returned are inner products whatever the metric.

    Args:
        factory: ``faiss.index_factory`` string; None chooses one for the number of items.
        metric: ``"reduced"`` searches by distance with a norm coordinate
            (:class:`~learned_index.baselines.reduction.NormCoordinate`), ``"inner-product"`` uses
            FAISS's inner product.
        name: The method as the user wrote it.
    """

    inputs = "classifiers"
    arguments: ClassVar[dict[str, str]]
    """The query-time knobs: our name and FAISS's."""
    column_multiple: ClassVar[int] = 1
    """Items get columns of zeros until their number is a multiple of this."""

    def __init__(
        self, factory: str | None = None, *, metric: Metric, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        if metric not in ("reduced", "inner-product"):
            raise InputError(f"metric must be 'reduced' or 'inner-product', got {metric!r}")
        self.factory = factory
        self.metric = metric
        self._norms = NormCoordinate()
        self._index: Any = None
        self._parameters: Any = None
        self._dim = 0

    @abstractmethod
    def _default_factory(self, n_items: int, width: int) -> str:
        """Return the factory string for so many items of so many columns."""

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
        self._dim = items_LE.shape[1]
        reduced = self.metric == "reduced"
        items_LE = self._widen(self._norms.lift_items(items_LE) if reduced else items_LE)
        factory = self.factory or self._default_factory(*items_LE.shape)
        metric = faiss.METRIC_L2 if reduced else faiss.METRIC_INNER_PRODUCT
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

    def prepare_queries(self, queries_BE: Float32Array) -> Float32Array:
        """Add the norm coordinate and the columns of zeros that the items have."""
        reduced = self.metric == "reduced"
        return self._widen(self._norms.lift_queries(queries_BE) if reduced else queries_BE)

    def bind(self, k: int, **query_arguments: Any) -> BoundSearch:
        """Fix the knobs: what is left is the ``search`` of FAISS's own Python class."""
        for argument, value in query_arguments.items():
            self._parameters.set_index_parameter(
                self._index, self.arguments[argument], float(value)
            )
        search = self._index.search
        return BoundSearch(lambda row: search(row, k), lambda rows: search(rows, k)[1])

    def search(self, queries: DenseMatrix, k: int, **query_arguments: Any) -> SearchResult:
        """Return the k best items found with the knobs at the given values.

        Args:
            queries: B x E.
            k: Results wanted.
            query_arguments: The knobs of the class: ``ef_search``, or ``nprobe`` and ``rescore``.
        """
        require_built(self._index, self.name)
        k = check_k(k)
        unknown = set(query_arguments) - set(self.arguments)
        if unknown:
            raise InputError(f"{self.name} does not know the query arguments {sorted(unknown)}")
        for argument, value in query_arguments.items():
            whole_number(value, argument)
        queries_BE = as_float32(queries, what="queries", dim=self._dim)
        found = self.bind(k, **query_arguments).one(self.prepare_queries(queries_BE))
        scores_BK, ids_BK = found
        if self.metric == "reduced":
            scores_BK = self._norms.products(queries_BE, scores_BK)
        return padded(ids_BK, scores_BK, k)

    def disk_bytes(self) -> int:
        """Return the size of the file that FAISS writes."""
        import faiss

        require_built(self._index, self.name)
        with TemporaryDirectory() as folder:
            path = Path(folder) / "index.faiss"
            faiss.write_index(self._index, str(path))
            return path.stat().st_size

    def _widen(self, matrix_RE: Float32Array) -> Float32Array:
        missing = -matrix_RE.shape[1] % self.column_multiple
        return np.pad(matrix_RE, ((0, 0), (0, missing))) if missing else matrix_RE


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
    arguments: ClassVar[dict[str, str]] = {"ef_search": "efSearch"}

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

    def _default_factory(self, n_items: int, width: int) -> str:
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
    arguments: ClassVar[dict[str, str]] = {"nprobe": "nprobe"}

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

    def _default_factory(self, n_items: int, width: int) -> str:
        return f"IVF{default_lists(n_items)},SQ8,RFlat"

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


class IvfScalarSearch(IvfSearch):
    """Inverted lists of 8-bit codes, without a second pass in float32; the knob is ``nprobe``."""

    method = "ivf-sq8"

    def _default_factory(self, n_items: int, width: int) -> str:
        return f"IVF{default_lists(n_items)},SQ8"


class IvfProductSearch(IvfSearch):
    """Inverted lists of 4-bit product codes (fast scan), the best scored again in float32.

    The knobs are ``nprobe`` and ``rescore``, the candidates of the scan for each result. A code of
    4 bits stands for two coordinates: FAISS's usual choice where recall counts.

    Args:
        factory: A factory string that contains ``IVF``; default ``IVF<n>,PQ<E/2>x4fs,RFlat``.
        metric: See :class:`FaissBaseline`.
        name: The method as the user wrote it.
    """

    method = "ivf-pq"
    arguments: ClassVar[dict[str, str]] = {"nprobe": "nprobe", "rescore": "k_factor_rf"}
    column_multiple = 4

    def __init__(
        self,
        factory: str | None = None,
        *,
        metric: Metric = "inner-product",
        name: str | None = None,
    ) -> None:
        super().__init__(factory, metric=metric, name=name)

    def _default_factory(self, n_items: int, width: int) -> str:
        return f"IVF{default_lists(n_items)},PQ{width // 2}x4fs,RFlat"

    def query_grid(self) -> Sequence[dict[str, Any]]:
        """Return the sweep of ``nprobe``, with several values of ``rescore`` for each."""
        return [
            {**point, "rescore": rescore} for point in super().query_grid() for rescore in (1, 3, 8)
        ]


def default_lists(n_items: int) -> int:
    """Return the power of two next to 4 sqrt(L), and no more than a quarter of the items."""
    wanted = 2 ** round(np.log2(max(4 * n_items**0.5, 1)))
    return int(max(1, min(wanted, n_items // 4)))
