"""What the comparison asks of a method; the methods are in :mod:`learned_index.baselines`.

Arguments that shape the index are fields of the class, arguments that can change per query go to
:meth:`Method.search`, so one build gives a whole recall-latency curve (the layout of
ann-benchmarks). What ``build`` receives is told by ``inputs``:

===================  ===============================================  =========================
inputs               ``build`` gets                                   queries are
===================  ===============================================  =========================
classifiers          items_LE, the label classifiers [A w_l, b_l]     [q, 1], B x E
classifiers+queries  items_LE and training queries [x, 1], N x E      [q, 1], B x E
training             embeddings_ND and labels_NL (CSR)                embeddings, B x D
points               features_NF and labels_NL (both CSR)             features, B x F (CSR)
index                the trained index, a Searcher                    embeddings, B x D
model                the whole model, its ranker with it              :class:`ModelQueries`
===================  ===============================================  =========================

A is the projection of the index, folded into the items, so that nobody pays for it per query.
"points" is for whole systems, which see nothing of the model but, where they ask for them, its
vectors: :mod:`learned_index.comparison.features`.

What is timed is not ``search``, which checks its input, but what :meth:`Method.bind` returns: the
package's own call with as little around it as possible. This module needs numpy and scipy alone:
a method may be measured in another environment, see :mod:`learned_index.comparison.elsewhere`.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import (
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    Protocol,
    Self,
    TypeAlias,
    dataclass_transform,
    runtime_checkable,
)

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.comparison.features import PointFeatures
from learned_index.comparison.settings import INDEX_CLASSIFIERS
from learned_index.config import Config, parameter, seed_parameter
from learned_index.errors import InputError, MissingExtraError, NotFittedError
from learned_index.inputs.numbers import real_number, whole_number
from learned_index.persistence import directory_bytes
from learned_index.system.progress import Progress
from learned_index.types import PAD_ID, PAD_SCORE, DenseMatrix, Int64Array, SearchResult

Inputs: TypeAlias = Literal[
    "classifiers", "classifiers+queries", "training", "points", "index", "model"
]
OVER_CLASSIFIERS: tuple[Inputs, ...] = ("classifiers", "classifiers+queries")
"""Kinds of methods that search the items."""
WITH_TRAINING_VECTORS: tuple[Inputs, ...] = ("training", "classifiers+queries")
"""Kinds of methods that need the training embeddings and labels."""
FROM_THE_MODEL: tuple[Inputs, ...] = ("index", "model")
"""Kinds of methods that are built from what was trained before."""
OWN_RANKING: tuple[Inputs, ...] = ("training", "points", "model")
"""Kinds of methods that order labels otherwise than by the label classifiers alone: the recall of
the exact 100 best does not apply to them, and their recall is no target for the others."""

Ids: TypeAlias = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class ModelQueries:
    """The test points as a whole model takes them; slicing gives some of them.

    Attributes:
        points: N texts, or rows of sparse features.
        vectors: Their vectors, N x D, of each encoder of the model.
        features: Their sparse features for the ranker, CSR; None for a model without one.
    """

    points: Sequence[str] | sp.csr_matrix
    vectors: tuple[Any, ...]
    features: sp.csr_matrix | None = None

    @property
    def shape(self) -> tuple[int]:
        """(N,)."""
        return (len(self.vectors[0]),)

    def __getitem__(self, rows: slice) -> ModelQueries:
        return ModelQueries(
            self.points[rows],
            tuple(x[rows] for x in self.vectors),
            None if self.features is None else self.features[rows],
        )


class BoundSearch(NamedTuple):
    """A method's search with all arguments fixed; nothing is checked.

    Attributes:
        one: Answers one element of what :meth:`Method.split_queries` returned, on one thread.
            What it returns is the package's own answer, unconverted.
        batch: Answers rows of what :meth:`Method.prepare_queries` returned;
            :meth:`Method.ids_of` makes ids of the answer.
    """

    one: Callable[[Any], Any]
    batch: Callable[[Any], Any]

    @classmethod
    def of(cls, search: Callable[..., SearchResult], k: int, arguments: dict[str, Any]) -> Self:
        """Fix the arguments of a ``search`` that answers any number of queries."""
        return cls(
            lambda row: search(row, k, **arguments), lambda rows: search(rows, k, **arguments).ids
        )


class About(NamedTuple):
    """What ``register`` was told of a method.

    Attributes:
        summary: A line for the help.
        package: Distribution that it needs beside this package, whose version is reported.
        install: How to get that, where ``pip install PACKAGE`` is not the answer.
        text_option: The field that a text without ``=`` after the colon is given to.
        default: Whether it is measured unless other methods are named.
    """

    summary: str = ""
    package: str | None = None
    install: str | None = None
    text_option: str | None = None
    default: bool = False


@dataclass_transform(kw_only_default=True, field_specifiers=(parameter, seed_parameter))
@dataclass(kw_only=True, eq=False, repr=False)
class Method(Config, ABC):
    """One search method with its build arguments, which are its fields.

    A subclass is a dataclass by itself, and is made known by
    :func:`learned_index.baselines.register`. It keeps what it built in ``_index``.
    """

    method: ClassVar[str] = ""
    """Name on the command line, e.g. ``"hnsw"``."""
    inputs: ClassVar[Inputs]
    about: ClassVar[About] = About()
    arguments: ClassVar[dict[str, type]] = {}
    """The query-time knobs, each int or float and at least 1."""
    sweep: ClassVar[Sequence[float]] = ()
    """Values of the only knob, from fast to thorough."""
    one_is_a_row: ClassVar[bool] = False
    """Whether :attr:`BoundSearch.one` takes a query by itself, and not a batch of one."""

    name: str = parameter("", "the method as the user wrote it")

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        dataclass(kw_only=True, eq=False, repr=False)(cls)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.name = self.name or self.method
        self.progress: Progress | None = None
        self._index: Any = None

    @property
    def point_features(self) -> PointFeatures | None:
        """The features that a method with ``inputs = "points"`` learns from; None for others."""
        return None

    @abstractmethod
    def build(self, *data: Any) -> None:
        """Build the index from the data that ``inputs`` names."""

    def query_grid(self) -> Sequence[dict[str, Any]]:
        """Return the settings to measure, from fast to thorough; after ``build``.

        With several arguments the last one changes fastest; a sweep over it ends early when the
        answers no longer change. Unless replaced: :attr:`sweep`, or one setting without a knob.
        """
        if not self.arguments:
            return [{}]
        (knob,) = self.arguments
        return [{knob: value} for value in self.sweep]

    def search(self, queries: Any, k: int, **query_arguments: Any) -> SearchResult:
        """Return the best k labels of each query, best first, padded with -1 and -inf.

        Args:
            queries: What ``inputs`` says.
            k: Labels wanted.
            query_arguments: Knobs named in ``arguments``.

        Raises:
            NotFittedError: ``build`` was not called.
            InputError: Queries of another width or with NaN, an unknown knob, k below 1.
        """
        self.require_built()
        k = whole_number(k, "k")
        self.check_arguments(query_arguments)
        rows = self.checked_queries(queries)
        if rows.shape[0] == 0:
            return padded(np.empty((0, 0), np.int64), np.empty((0, 0), np.float32), k)
        return padded(*self._answer(rows, k, query_arguments), k)

    def check_arguments(self, query_arguments: Mapping[str, Any]) -> None:
        """Refuse unknown knobs and values below 1."""
        unknown = sorted(set(query_arguments) - set(self.arguments))
        if unknown:
            raise InputError(f"{self.name} does not know the query arguments {unknown}")
        for argument, value in query_arguments.items():
            check = whole_number if self.arguments[argument] is int else real_number
            check(value, argument, low=1)

    def checked_queries(self, queries: Any) -> Any:
        """Return the queries checked, rows first."""
        return queries

    def _answer(self, rows: Any, k: int, arguments: dict[str, Any]) -> tuple[Ids, Any]:
        """Return ids and scores of checked queries, best first, k columns or fewer."""
        raise NotImplementedError

    def prepare_queries(self, queries: Any) -> Any:
        """Return the queries in the form that the bound search takes; this is not timed.

        Returns:
            Anything that slices into batches.
        """
        return queries

    def split_queries(self, prepared: Any) -> list[Any]:
        """Return prepared queries one by one, as ``BoundSearch.one`` takes them; not timed."""
        if self.one_is_a_row:
            return list(prepared)
        # Sparse matrices have no len().
        count = prepared.shape[0] if hasattr(prepared, "shape") else len(prepared)
        return [prepared[row : row + 1] for row in range(count)]

    def ids_of(self, answer: Any) -> Ids:
        """Return the ids in an answer of ``BoundSearch.batch``; this is not timed.

        Returns:
            B x k or fewer columns, best first, negative where nothing was found.
        """
        return np.asarray(answer)

    def bind(self, k: int, **query_arguments: Any) -> BoundSearch:
        """Fix the arguments and return the search that is timed; valid until the next ``bind``.

        Batches use as many threads as :func:`~learned_index.system.threads.current_threads` says
        when ``bind`` is called.
        """
        return BoundSearch.of(self.search, k, query_arguments)

    def disk_bytes(self) -> int | None:
        """Return the bytes that the built index takes on disk; None when it is not known."""
        self.require_built()
        with TemporaryDirectory() as folder:
            self._save(Path(folder))
            return directory_bytes(Path(folder))

    def _save(self, folder: Path) -> None:
        """Write the built index into a folder, as the package does."""
        raise NotImplementedError

    def require_built(self) -> None:
        """Raise :class:`NotFittedError` unless there is an index."""
        if self._index is None:
            raise NotFittedError(f"{self.name} has no index yet; call build first")

    @classmethod
    def package(cls, module: str) -> Any:
        """Import a module of the method's package.

        Raises:
            MissingExtraError: It is not installed, or lacks a package of its own.
        """
        try:
            return importlib.import_module(module)
        except ImportError as error:
            name = cls.about.package or module
            how = cls.about.install or (
                f"install it with: pip install {name}   (or all rivals: pip install "
                "'learned-index[rivals]')"
            )
            raise MissingExtraError(f"{name} cannot be imported ({error}); {how}") from None


@dataclass(frozen=True, kw_only=True)
class MethodSpec:
    """A method asked for, not yet made: small enough to hand to another process.

    Attributes:
        name: As the user wrote it; names the rows of the report.
        adapter: Class of the method.
        options: Build arguments, keyword arguments of the class.
        python: Interpreter of another environment that measures it; None: this one's.
        classifiers: Name of the label classifiers that it searches, where it searches any.
    """

    name: str
    adapter: type[Method]
    options: Mapping[str, Any] = field(default_factory=dict)
    python: str | None = None
    classifiers: str = INDEX_CLASSIFIERS

    @property
    def method(self) -> str:
        """Name of the method without its build arguments."""
        return self.adapter.method

    @property
    def inputs(self) -> Inputs:
        """What the method's ``build`` receives."""
        return self.adapter.inputs

    @property
    def point_features(self) -> PointFeatures | None:
        """The features that it learns from, if ``inputs`` is ``"points"``; else None."""
        return self.create().point_features

    def create(self, **overrides: Any) -> Method:
        """Make the method, not yet built; ``overrides`` win over the options."""
        return self.adapter(name=self.name, **{**self.options, **overrides})

    def with_options(self, **options: Any) -> MethodSpec:
        """Return a copy with more build arguments."""
        return replace(self, options={**self.options, **options})

    def over(self, classifiers: str) -> MethodSpec:
        """Return a copy that searches other label classifiers, ``@`` and their name in its own.

        Raises:
            InputError: The method searches no label classifiers.
        """
        if self.inputs not in OVER_CLASSIFIERS:
            raise InputError(
                f"{self.name} is built from {self.inputs} data and searches no label classifiers; "
                f"it cannot search those of {classifiers}"
            )
        return replace(self, name=f"{self.name}@{classifiers}", classifiers=classifiers)


@runtime_checkable
class LabelClassifiers(Protocol):
    """A linear classifier for each label, over projected vectors."""

    def label_classifiers(self) -> tuple[Any, Any]:
        """Return the weights L x D and the biases L of all labels."""
        ...

    def project(self, queries: DenseMatrix) -> Any:
        """Return the vectors, B x D, that the label classifiers are applied to."""
        ...


class ClassifierModel(LabelClassifiers, Protocol):
    """What the comparison asks of the learned index."""

    @property
    def search(self) -> Callable[..., SearchResult]:
        """``search(queries, k, **query_arguments)`` returns the best k labels of each query."""
        ...


ModelLoader: TypeAlias = Callable[[], ClassifierModel]
"""Loads the trained index. It is handed to other processes, so it must be importable by name and
small: a dataclass that holds a path and has ``__call__``. It may have ``digest()``, a text that
changes with the model, and ``whole()``, which loads the whole model for ``inputs = "model"``."""


def padded(ids_BK: Ids, scores_BK: npt.NDArray[np.floating[Any]], k: int) -> SearchResult:
    """Make a :class:`SearchResult` of exactly k columns.

    Args:
        ids_BK: Ids, best first; negative where nothing was found (at the end of a row).
        scores_BK: Their scores.
        k: Columns wanted; missing ones are padded.
    """
    ids = padded_ids(ids_BK, k)
    scores = np.full(ids.shape, PAD_SCORE, dtype=np.float32)
    scores[:, : scores_BK.shape[1]] = scores_BK[:, :k]
    scores[ids == PAD_ID] = PAD_SCORE
    return SearchResult(ids, scores)


def padded_ids(ids_BK: Ids, k: int) -> Int64Array:
    """Return ids as int64, B x k, -1 where nothing was found."""
    ids = np.maximum(np.asarray(ids_BK[:, :k], dtype=np.int64), PAD_ID)
    return np.pad(ids, ((0, 0), (0, k - ids.shape[1])), constant_values=PAD_ID)
