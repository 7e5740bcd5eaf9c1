"""What the searches over the label classifiers share: checks, inner products as distances."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np

from learned_index.comparison.method import Ids, Inputs, Method
from learned_index.config import parameter
from learned_index.inputs.vectors import as_float32_rows, as_vectors
from learned_index.metrics import scores_of
from learned_index.types import PAD_ID, DenseMatrix, Float32Array, Int64Array

Metric: TypeAlias = Literal["reduced", "inner-product"]
"""Search by distance with a norm coordinate, or by the package's own inner product."""
METRIC_HELP = "distances with a norm coordinate, or the package's inner product"
GRAPH_SWEEP = (100, 150, 200, 300, 400, 600, 800, 1200, 1600, 2400, 3200)
"""Values of a graph's ef; below k it means k."""


def as_float32(matrix: DenseMatrix, *, what: str, dim: int | None = None) -> Float32Array:
    """Check a dense matrix and return it as C-contiguous float32.

    Raises:
        InputError: As :func:`~learned_index.inputs.vectors.as_vectors`; or it holds NaN or
            infinity, which a similarity search would answer with arbitrary labels.
    """
    rows: Float32Array = as_float32_rows(as_vectors(matrix, dim=dim, name=what), name=what)
    return rows


class DenseMethod(Method):
    """A method whose queries are vectors, as wide as what it was built from."""

    _dim = 0

    def checked_queries(self, queries: Any) -> Float32Array:
        """Return the queries as float32."""
        return as_float32(queries, what="queries", dim=self._dim)


class VectorSearch(DenseMethod):
    """An index over the items, for the largest inner products.

    Subclasses build from items in :meth:`_build` and bind the package's call in ``bind``.
    ``search``, which is not what is timed, scores what was found exactly and puts it in order.
    """

    inputs: ClassVar[Inputs] = "classifiers"

    column_multiple: ClassVar[int] = 1
    """Items and queries get columns of zeros until their number is a multiple of this."""
    least_columns: ClassVar[int] = 0
    """And until there are so many."""

    metric: Metric = parameter("inner-product", METRIC_HELP)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._norms = NormCoordinate()
        self._items_LE: Float32Array = np.empty((0, 0), np.float32)

    def build(self, *data: DenseMatrix) -> None:
        """Build the index over the items, L x E; a C-contiguous float32 array is used in place.

        Raises:
            InputError: The package cannot index such items.
            MissingExtraError: The package is not installed.
        """
        items_LE = self._items_LE = as_float32(data[0], what="items")
        self._dim = items_LE.shape[1]
        if self.metric == "reduced":
            items_LE = self._norms.lift_items(items_LE)
        self._index = self._build(self._widened(items_LE))

    @abstractmethod
    def _build(self, items_LE: Float32Array) -> Any:
        """Return the package's index over the items, norm coordinate and zeros included."""

    def width(self, k: int) -> int:
        """Return how many results there can be."""
        return min(k, len(self._items_LE))

    def _widened(self, matrix_RE: Float32Array) -> Float32Array:
        """Add the columns of zeros, which change no inner product, that the package wants."""
        dim = matrix_RE.shape[1]
        missing = max(self.least_columns - dim, -dim % self.column_multiple)
        return np.pad(matrix_RE, ((0, 0), (0, missing))) if missing > 0 else matrix_RE

    def prepare_queries(self, queries: Float32Array) -> Float32Array:
        """Add the norm coordinate, where the metric has one, and the columns of zeros."""
        reduced = self.metric == "reduced"
        return self._widened(self._norms.lift_queries(queries) if reduced else queries)

    def _answer(self, rows: Any, k: int, arguments: dict[str, Any]) -> tuple[Ids, Any]:
        ids_BK = self.bind(k, **arguments).batch(self.prepare_queries(rows))
        return exact_order(np.asarray(ids_BK, dtype=np.int64), rows, self._items_LE)

    def _save(self, folder: Path) -> None:
        self._index.save(str(folder / "index"))


def exact_order(
    ids_BK: Int64Array, queries_BE: Float32Array, items_LE: Float32Array
) -> tuple[Int64Array, Float32Array]:
    """Score the items found exactly and order them, best first.

    Args:
        ids_BK: Item numbers, negative where nothing was found.
        queries_BE: The queries.
        items_LE: All items.

    Returns:
        Ids and scores, B x K; what was not found is at the end with -inf.
    """
    scores_BK = scores_of(np.maximum(ids_BK, PAD_ID), queries_BE, items_LE)
    order_BK = np.argsort(-scores_BK, axis=1, kind="stable")
    return (
        np.take_along_axis(ids_BK, order_BK, axis=1),
        np.take_along_axis(scores_BK, order_BK, axis=1),
    )


def two_knobs(
    outer: str, values: Iterable[int], inner: str, inner_values: Sequence[int]
) -> list[dict[str, Any]]:
    """Return the settings of parts searched and candidates scored again, the latter the faster.

    More candidates than 400 for each part are left out: so many are not found there.
    """
    return [
        {outer: value, inner: candidates}
        for value in values
        for candidates in inner_values
        if candidates <= 400 * value
    ]


def powers_and_between(most: int) -> set[int]:
    """Return the powers of two up to ``most`` and, from 12 on, what lies halfway between two."""
    powers = [2**power for power in range(20) if 2**power <= most]
    return {value for value in (*powers, *(3 * part for part in powers[2:-1])) if value <= most}


class NormCoordinate:
    """The usual reduction of inner-product search to L2 search.

    Items get the coordinate ``sqrt(m^2 - |item|^2)``, m the largest norm, so that all have norm m,
    and queries a zero; the order by distance is then the order by inner product. Label classifiers
    differ in norm, and a graph built on raw inner products leaves items that no search reaches.

    Attributes:
        largest_norm: m; 0 before :meth:`lift_items`.
    """

    def __init__(self) -> None:
        self.largest_norm = 0.0

    def lift_items(self, items_LE: Float32Array) -> Float32Array:
        """Return the items with their coordinate, float32 L x (E + 1)."""
        squared_L = np.einsum("le,le->l", items_LE, items_LE, dtype=np.float64)
        largest = float(squared_L.max(initial=0.0))
        self.largest_norm = largest**0.5
        lifted_LE = np.empty((len(items_LE), items_LE.shape[1] + 1), dtype=np.float32)
        lifted_LE[:, :-1] = items_LE
        lifted_LE[:, -1] = np.sqrt(np.maximum(largest - squared_L, 0.0))
        return lifted_LE

    def lift_queries(self, queries_BE: Float32Array) -> Float32Array:
        """Return the queries with a zero, float32 B x (E + 1)."""
        return np.pad(queries_BE, ((0, 0), (0, 1)))

    def products(self, queries_BE: Float32Array, distances_BK: Float32Array) -> Float32Array:
        """Return the inner products that belong to squared distances, B x K."""
        norms_B1 = np.einsum("be,be->b", queries_BE, queries_BE)[:, None]
        products_BK: Float32Array = (norms_B1 + self.largest_norm**2 - distances_BK) / 2
        return products_BK
