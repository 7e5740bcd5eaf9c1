"""What every adapter shares: the interface, input checks, padding.

An adapter wraps one search method. Arguments that shape the index go into the constructor,
arguments that can change per query go to :meth:`Baseline.search`, so one build gives a whole
recall-latency curve (the layout of ann-benchmarks). What ``build`` receives is told by
``inputs``:

===================  ===============================================  =====================
inputs               ``build`` gets                                   queries are
===================  ===============================================  =====================
classifiers          items_LE, the label classifiers [A w_l, b_l]     [q, 1], B x E
classifiers+queries  items_LE and training queries [x, 1], N x E      [q, 1], B x E
training             embeddings_ND and labels_NL (CSR)                embeddings, B x D
points               features_NF and labels_NL (both CSR)             features, B x F (CSR)
model                a Searcher                                       embeddings, B x D
===================  ===============================================  =====================

A is the projection of the model, folded into the items, so that nobody pays for it per query.
"points" is for whole systems, which see nothing of the model: the features are those of
:func:`learned_index.encoders.lexical.point_features.point_features`.

What is timed is not ``search``, which checks its input, but what :meth:`Baseline.bind` returns:
the package's own call with as little around it as possible.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from learned_index.errors import NotFittedError
from learned_index.inputs.numbers import whole_number
from learned_index.inputs.vectors import as_float32_rows, as_vectors
from learned_index.types import PAD_ID, PAD_SCORE, DenseMatrix, Float32Array, SearchResult

Inputs: TypeAlias = Literal["classifiers", "classifiers+queries", "training", "points", "model"]


class BoundSearch(NamedTuple):
    """A method's search with all arguments fixed; nothing is checked.

    Attributes:
        one: Answers one element of what :meth:`Baseline.split_queries` returned, on one thread.
            What it returns is the package's own answer, unconverted.
        batch: Answers rows of what :meth:`Baseline.prepare_queries` returned;
            :meth:`Baseline.ids_of` makes ids of the answer.
    """

    one: Callable[[Any], Any]
    batch: Callable[[Any], Any]


class Baseline(ABC):
    """One search method with its build arguments.

    Attributes:
        method: Name of the method on the command line, e.g. ``"hnsw"``.
        inputs: What :meth:`build` receives, see the table of this module.
        name: The method as the user wrote it, e.g. ``"hnsw:HNSW16"``.
        progress: Called during a long ``build`` with the share done (0 to 1) and a few words.
    """

    method: ClassVar[str]
    inputs: ClassVar[Inputs]

    def __init__(self, *, name: str | None = None) -> None:
        self.name = name or self.method
        self.progress: Callable[[float, str], None] | None = None

    @abstractmethod
    def build(self, *data: Any) -> None:
        """Build the index from the data that ``inputs`` names."""

    @abstractmethod
    def search(self, queries: DenseMatrix, k: int, **query_arguments: Any) -> SearchResult:
        """Return the best k labels of each query, best first, padded with -1 and -inf."""

    def prepare_queries(self, queries_BE: Float32Array) -> Any:
        """Return the queries in the form that the bound search takes; this is not timed.

        Returns:
            Anything that slices into batches.
        """
        return queries_BE

    def split_queries(self, prepared_BE: Any) -> list[Any]:
        """Return prepared queries one by one, as ``BoundSearch.one`` takes them; not timed."""
        return [prepared_BE[row : row + 1] for row in range(len(prepared_BE))]

    def ids_of(self, answer: Any) -> npt.NDArray[np.integer[Any]]:
        """Return the ids in an answer of ``BoundSearch.batch``; this is not timed.

        Returns:
            B x k or fewer columns, best first, negative where nothing was found.
        """
        return np.asarray(answer)

    def bind(self, k: int, **query_arguments: Any) -> BoundSearch:
        """Fix the arguments and return the search that is timed; valid until the next ``bind``.

        Batches use as many threads as torch does when ``bind`` is called.

        Args:
            k: Results wanted.
            query_arguments: As for :meth:`search`.
        """

        def one(row: Any) -> SearchResult:
            return self.search(row, k, **query_arguments)

        def batch(rows: Any) -> npt.NDArray[np.integer[Any]]:
            return self.search(rows, k, **query_arguments).ids

        return BoundSearch(one, batch)

    @abstractmethod
    def query_grid(self) -> Sequence[dict[str, Any]]:
        """Return the sweep of the query arguments, from fast to thorough; after ``build``.

        With several arguments the last one changes fastest; a sweep over it ends early when the
        answers no longer change.
        """

    @abstractmethod
    def disk_bytes(self) -> int | None:
        """Return the bytes that the built index takes on disk; None when it is not known."""


def as_float32(matrix: DenseMatrix, *, what: str, dim: int | None = None) -> Float32Array:
    """Check a dense matrix and return it as C-contiguous float32.

    Args:
        matrix: Two-dimensional float array (also memory-mapped) or tensor, any order.
        what: Its name in error messages.
        dim: Number of columns expected.

    Raises:
        InputError: It is not a two-dimensional float matrix, has another width, or holds NaN or
            infinity (which a similarity search would answer with arbitrary labels).
    """
    rows: Float32Array = as_float32_rows(as_vectors(matrix, dim=dim, name=what), name=what)
    return rows


def check_k(k: int) -> int:
    """Return ``k`` if it is a positive integer.

    Raises:
        InputError: It is not.
    """
    return whole_number(k, "k")


def require_built(index: Any, name: str) -> None:
    """Raise if ``index`` is None.

    Raises:
        NotFittedError: ``build`` was not called.
    """
    if index is None:
        raise NotFittedError(f"{name} has no index yet; call build first")


def padded(
    ids_BK: npt.NDArray[np.integer[Any]], scores_BK: npt.NDArray[np.floating[Any]], k: int
) -> SearchResult:
    """Make a :class:`SearchResult` of exactly k columns.

    Args:
        ids_BK: Ids, best first; negative where nothing was found (at the end of a row).
        scores_BK: Their scores.
        k: Columns wanted; missing ones are padded.
    """
    n_rows, n_columns = ids_BK.shape
    ids = np.full((n_rows, k), PAD_ID, dtype=np.int64)
    scores = np.full((n_rows, k), PAD_SCORE, dtype=np.float32)
    width = min(k, n_columns)
    ids[:, :width] = ids_BK[:, :width]
    scores[:, :width] = scores_BK[:, :width]
    missing = ids < 0
    ids[missing] = PAD_ID
    scores[missing] = PAD_SCORE
    return SearchResult(ids, scores)


def shared_tensor(array: npt.NDArray[Any]) -> torch.Tensor:
    """Return a tensor over the array's memory, also for a file mapped read-only.

    torch warns about such arrays; the callers only read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(array)


def topk_rows(scores_BL: Float32Array, k: int) -> SearchResult:
    """Return the best k columns of each row, best first, padded when L < k.

    ``torch.topk`` selects about three times as fast as ``numpy.argpartition``.
    """
    width = min(k, scores_BL.shape[1])
    values, places = torch.topk(torch.from_numpy(scores_BL), width, dim=1, sorted=True)
    return padded(places.numpy(), values.numpy(), k)
