"""What the comparison asks of a method; the adapters are in :mod:`learned_index.baselines`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from learned_index.types import DenseMatrix, Float32Array, SearchResult

MethodInputs: TypeAlias = Literal[
    "classifiers", "classifiers+queries", "training", "points", "model"
]
"""What a method is built from: the label classifiers as items with the projection folded in (it
gets the queries [x, 1]), these and training queries, the training embeddings and labels, the sparse
features of the training points and their labels (it gets those of the queries), or the trained
index."""
OVER_CLASSIFIERS: tuple[MethodInputs, ...] = ("classifiers", "classifiers+queries")
"""Kinds of methods that search the items."""
WITH_TRAINING_VECTORS: tuple[MethodInputs, ...] = ("training", "classifiers+queries")
"""Kinds of methods that need the training embeddings and labels."""
OWN_RANKING: tuple[MethodInputs, ...] = ("training", "points")
"""Kinds of methods that learn from the points and search no label classifiers of the model."""


class BoundMethod(Protocol):
    """A search with all its arguments fixed: what is timed."""

    @property
    def one(self) -> Callable[[Any], Any]:
        """Answers one element of :meth:`Method.split_queries`."""
        ...

    @property
    def batch(self) -> Callable[[Any], Any]:
        """Answers rows of :meth:`Method.prepare_queries`; :meth:`Method.ids_of` reads it."""
        ...


class Method(Protocol):
    """One search method: built once, searched at many settings."""

    progress: Callable[[float, str], None] | None
    """Called during a long ``build`` with the share done (0 to 1) and a few words."""

    def build(self, *data: Any) -> None:
        """Build from the data that the specification's ``inputs`` names."""

    def search(self, queries: DenseMatrix, k: int, **query_arguments: Any) -> SearchResult:
        """Return the best k labels of each query."""
        ...

    def prepare_queries(self, queries_BE: Float32Array) -> Any:
        """Return the queries as the bound search takes them, sliceable; not timed."""
        ...

    def split_queries(self, prepared_BE: Any) -> list[Any]:
        """Return prepared queries one by one; not timed."""
        ...

    def ids_of(self, answer: Any) -> npt.NDArray[np.integer[Any]]:
        """Return the ids in a batch's answer, negative where none; not timed."""
        ...

    def bind(self, k: int, **query_arguments: Any) -> BoundMethod:
        """Return the search that is timed; valid until the next call."""
        ...

    def query_grid(self) -> Sequence[dict[str, Any]]:
        """Return the settings of the query-time knob to measure."""
        ...

    def disk_bytes(self) -> int | None:
        """Return the bytes of the built index on disk."""
        ...


class MethodSpec(Protocol):
    """A method to be made, small enough to be handed to another process."""

    @property
    def name(self) -> str:
        """Name of the method in the report."""
        ...

    @property
    def inputs(self) -> MethodInputs:
        """What the method is built from."""
        ...

    def create(self) -> Method:
        """Make the method, not yet built."""
        ...


class ClassifierModel(Protocol):
    """What the comparison asks of the learned index, beside its search."""

    @property
    def search(self) -> Callable[..., SearchResult]:
        """``search(queries, k, **query_arguments)`` returns the best k labels of each query."""
        ...

    def label_classifiers(self) -> tuple[Any, Any]:
        """Return the weights L x D and the biases L of all labels."""
        ...

    def project(self, queries: DenseMatrix) -> Any:
        """Return the vectors, B x D, that the label classifiers are applied to."""
        ...


ModelLoader: TypeAlias = Callable[[], ClassifierModel]
"""Loads the trained index. It is handed to other processes, so it must be importable by name and
small: a dataclass that holds a path and has ``__call__``."""
