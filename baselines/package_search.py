"""What the adapters to other packages share: the import, the checks, exact scores."""

from __future__ import annotations

import importlib
from abc import abstractmethod
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from learned_index.baselines.base import (
    Baseline,
    Inputs,
    as_float32,
    check_k,
    padded,
    require_built,
)
from learned_index.baselines.reduction import NormCoordinate
from learned_index.errors import InputError, MissingExtraError
from learned_index.inputs.numbers import whole_number
from learned_index.types import DenseMatrix, Float32Array, SearchResult

Metric: TypeAlias = Literal["reduced", "inner-product"]
GATHER_FLOATS = 2**22
"""Floats of items gathered at a time for the exact scores."""


def import_package(
    name: str, *, distribution: str | None = None, install: str | None = None
) -> Any:
    """Import a rival's package.

    Args:
        name: Name of the module.
        distribution: Name under which pip knows it, if another.
        install: How to install it, where that is not as for the others.

    Raises:
        MissingExtraError: It is not installed, or lacks a package of its own.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        known = distribution or name
        how = install or (
            f"install it with: pip install {known}   (or all rivals: pip install "
            "'learned-index[rivals]')"
        )
        raise MissingExtraError(f"{known} cannot be imported ({error}); {how}") from None


class PackageSearch(Baseline):
    """A package's index over the items, for the largest inner products.

    Subclasses build from items in :meth:`_build` and bind the package's call in
    :meth:`~learned_index.baselines.base.Baseline.bind`. :meth:`search`, which is not what is timed,
    checks its input, scores what was found exactly and puts it in order.

    Args:
        metric: ``"reduced"`` searches by distance with a norm coordinate
            (:class:`~learned_index.baselines.reduction.NormCoordinate`), ``"inner-product"`` uses
            the package's own inner product.
        name: The method as the user wrote it.
    """

    inputs: ClassVar[Inputs] = "classifiers"
    arguments: ClassVar[tuple[str, ...]]
    """Names of the query-time knobs."""

    def __init__(self, *, metric: Metric, name: str | None = None) -> None:
        super().__init__(name=name)
        if metric not in ("reduced", "inner-product"):
            raise InputError(f"metric must be 'reduced' or 'inner-product', got {metric!r}")
        self.metric = metric
        self._norms = NormCoordinate()
        self._index: Any = None
        self._items_LE: Float32Array | None = None

    def build(self, items_LE: DenseMatrix) -> None:
        """Build the index over the items, L x E."""
        items_LE = as_float32(items_LE, what="items")
        self._items_LE = items_LE
        lifted_LE = self._norms.lift_items(items_LE) if self.metric == "reduced" else items_LE
        self._index = self._build(lifted_LE)

    @abstractmethod
    def _build(self, items_LE: Float32Array) -> Any:
        """Return the package's index over the items, norm coordinate included."""

    def prepare_queries(self, queries_BE: Float32Array) -> Float32Array:
        """Add the norm coordinate where the metric has one."""
        return self._norms.lift_queries(queries_BE) if self.metric == "reduced" else queries_BE

    def search(self, queries: DenseMatrix, k: int, **query_arguments: Any) -> SearchResult:
        """Return the k best items found, with their exact inner products.

        Args:
            queries: B x E.
            k: Results wanted.
            query_arguments: The knobs of the class.
        """
        require_built(self._index, self.name)
        assert self._items_LE is not None
        k = check_k(k)
        self.check_arguments(query_arguments)
        queries_BE = as_float32(queries, what="queries", dim=self._items_LE.shape[1])
        if len(queries_BE) == 0:
            return padded(np.empty((0, 0), np.int64), np.empty((0, 0), np.float32), k)
        ids_BK = self.bind(k, **query_arguments).batch(self.prepare_queries(queries_BE))
        return exact_order(np.asarray(ids_BK, dtype=np.int64), queries_BE, self._items_LE, k)

    def check_arguments(self, query_arguments: dict[str, Any]) -> None:
        """Refuse unknown query arguments and values that are no positive integers.

        Raises:
            InputError: There is one.
        """
        unknown = set(query_arguments) - set(self.arguments)
        if unknown:
            raise InputError(f"{self.name} does not know the query arguments {sorted(unknown)}")
        for argument, value in query_arguments.items():
            whole_number(value, argument)


def exact_order(
    ids_BK: npt.NDArray[np.int64], queries_BE: Float32Array, items_LE: Float32Array, k: int
) -> SearchResult:
    """Score the items found exactly and order them, best first.

    Args:
        ids_BK: Item numbers, negative where nothing was found.
        queries_BE: The queries.
        items_LE: All items.
        k: Columns of the result.
    """
    scores_BK = np.empty(ids_BK.shape, dtype=np.float32)
    step = max(1, GATHER_FLOATS // max(1, ids_BK.shape[1] * items_LE.shape[1]))
    for start in range(0, len(ids_BK), step):
        rows = slice(start, start + step)
        gathered_BKE = items_LE[np.maximum(ids_BK[rows], 0)]
        scores_BK[rows] = np.matmul(gathered_BKE, queries_BE[rows, :, None])[:, :, 0]
    scores_BK[ids_BK < 0] = -np.inf
    order_BK = np.argsort(-scores_BK, axis=1, kind="stable")
    return padded(
        np.take_along_axis(ids_BK, order_BK, axis=1),
        np.take_along_axis(scores_BK, order_BK, axis=1),
        k,
    )


def batch_threads() -> int:
    """Return the threads that builds and batches may use: as many as torch uses."""
    return torch.get_num_threads()
