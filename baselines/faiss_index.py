"""HNSW and IVF from FAISS, built from any ``index_factory`` string."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from learned_index.baselines.registry import register
from learned_index.baselines.vectors import METRIC_HELP, Metric, VectorSearch
from learned_index.comparison.method import BoundSearch, Ids
from learned_index.config import parameter
from learned_index.errors import InputError
from learned_index.system.extras import Deferred
from learned_index.types import Float32Array

faiss: Any = Deferred("faiss", extra="compare")

FACTORY_HELP = "faiss.index_factory string; by the number of items"


class FaissSearch(VectorSearch):
    """A FAISS index over the items. The scores are inner products whatever the metric."""

    kind: ClassVar[str]
    """Word that a factory string of this class holds."""
    example: ClassVar[str]
    native: ClassVar[dict[str, str]]
    """FAISS's names of the query-time knobs."""

    factory: str | None = parameter(None, FACTORY_HELP)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.factory is not None and self.kind not in self.factory:
            raise InputError(
                f"{self.method} takes a factory string such as {self.example}, got {self.factory!r}"
            )

    @abstractmethod
    def _default_factory(self, n_items: int, width: int) -> str:
        """Return the factory string for so many items of so many columns."""

    @abstractmethod
    def _configure(self, index: Any) -> None:
        """Set build-time values that the factory string cannot express."""

    def _build(self, items_LE: Float32Array) -> Any:
        factory = self.factory or self._default_factory(*items_LE.shape)
        metric = faiss.METRIC_L2 if self.metric == "reduced" else faiss.METRIC_INNER_PRODUCT
        try:
            index = faiss.index_factory(items_LE.shape[1], factory, metric)
            self._configure(index)
            index.train(items_LE)
            index.add(items_LE)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise InputError(
                f"FAISS cannot build {factory!r} for {len(items_LE)} items of "
                f"{items_LE.shape[1]} dimensions: {reason}"
            ) from None
        self._parameters = faiss.ParameterSpace()
        return index

    def bind(self, k: int, **query_arguments: Any) -> BoundSearch:
        """Fix the knobs: what is left is the ``search`` of FAISS's own Python class."""
        for argument, value in query_arguments.items():
            self._parameters.set_index_parameter(self._index, self.native[argument], float(value))
        search = self._index.search
        return BoundSearch(lambda row: search(row, k), lambda rows: search(rows, k)[1])

    def _answer(self, rows: Any, k: int, arguments: dict[str, Any]) -> tuple[Ids, Any]:
        scores_BK, ids_BK = self.bind(k, **arguments).one(self.prepare_queries(rows))
        if self.metric == "reduced":
            scores_BK = self._norms.products(rows, scores_BK)
        return ids_BK, scores_BK

    def _save(self, folder: Path) -> None:
        faiss.write_index(self._index, str(folder / "index.faiss"))


@register("hnsw", summary="a graph (FAISS)", text_option="factory", default=True)
class HnswSearch(FaissSearch):
    """Hierarchical navigable small-world graph; the knob is ``ef_search``.

    FAISS links nodes from several threads at once, so two builds on more than one thread differ.
    """

    kind, example = "HNSW", "HNSW32"
    arguments, native = {"ef_search": int}, {"ef_search": "efSearch"}
    sweep = (50, 100, 200, 400, 800, 1600, 3200)

    metric: Metric = parameter("reduced", METRIC_HELP)
    ef_construction: int = parameter(200, "candidates examined for each node while building")

    def _default_factory(self, n_items: int, width: int) -> str:
        return "HNSW32"

    def _configure(self, index: Any) -> None:
        faiss.ParameterSpace().set_index_parameter(index, "efConstruction", self.ef_construction)


@register(
    "ivf",
    summary="inverted lists of 8-bit codes, a second pass in float32 (FAISS)",
    text_option="factory",
    default=True,
)
class IvfSearch(FaissSearch):
    """Inverted lists over k-means cells; the knob is ``nprobe``.

    Every item lies in one list, so none is unreachable, and raw inner products are the default.
    The default factory string is ``IVF<n>,SQ8,RFlat``, n the power of two next to 4 sqrt(L).
    """

    kind, example = "IVF", "IVF512,Flat"
    arguments, native = {"nprobe": int}, {"nprobe": "nprobe"}

    rescore: float = parameter(2.0, "candidates that RFlat scores in float32, for each result")

    def _default_factory(self, n_items: int, width: int) -> str:
        return f"IVF{default_lists(n_items)},SQ8,RFlat"

    def _configure(self, index: Any) -> None:
        inverted = faiss.extract_index_ivf(index)
        # Fewer than 39 items a list only draws a warning about the k-means from FAISS.
        inverted.cp.min_points_per_centroid = 1
        self._n_lists = int(inverted.nlist)
        refine = faiss.downcast_index(index)
        if isinstance(refine, faiss.IndexRefine):
            refine.k_factor = self.rescore

    def query_grid(self) -> Sequence[dict[str, Any]]:
        """Return the sweep of ``nprobe``: powers of two up to the number of lists."""
        powers = [2**power for power in range(self._n_lists.bit_length())]
        return [{"nprobe": value} for value in sorted({*powers, self._n_lists})]


@register("ivf-sq8", summary="the same without the second pass", text_option="factory")
class IvfScalarSearch(IvfSearch):
    """Inverted lists of 8-bit codes, without a second pass in float32; the knob is ``nprobe``."""

    def _default_factory(self, n_items: int, width: int) -> str:
        return f"IVF{default_lists(n_items)},SQ8"


@register("ivf-pq", summary="inverted lists of product codes (FAISS)", text_option="factory")
class IvfProductSearch(IvfSearch):
    """Inverted lists of 4-bit product codes (fast scan), the best scored again in float32.

    The knobs are ``nprobe`` and ``rescore``, the candidates of the scan for each result. A code of
    4 bits stands for two coordinates: FAISS's usual choice where recall counts.
    """

    arguments: ClassVar[dict[str, type]] = {"nprobe": int, "rescore": int}
    native: ClassVar[dict[str, str]] = {"nprobe": "nprobe", "rescore": "k_factor_rf"}
    column_multiple = 4

    def _default_factory(self, n_items: int, width: int) -> str:
        return f"IVF{default_lists(n_items)},PQ{width // 2}x4fs,RFlat"

    def query_grid(self) -> Sequence[dict[str, Any]]:
        """Return the sweep of ``nprobe``, with several values of ``rescore`` for each."""
        return [
            {**point, "rescore": rescore} for point in super().query_grid() for rescore in (1, 3, 8)
        ]


def default_lists(n_items: int) -> int:
    """Return the power of two next to 4 sqrt(L), and no more than a quarter of the items."""
    # FAISS's guide advises 4 to 16 sqrt(L); k-means wants several items for each centre.
    wanted = 2 ** round(np.log2(max(4 * n_items**0.5, 1)))
    return int(max(1, min(wanted, n_items // 4)))
