"""Find the cheapest query-time knobs that reach a recall."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.errors import InputError
from learned_index.inputs.labels import as_label_matrix
from learned_index.inputs.numbers import real_number, whole_number
from learned_index.inputs.vectors import as_float32_rows, as_vectors
from learned_index.system.timing import single_latencies
from learned_index.types import DenseMatrix, SearchResult

_TIMED_QUERIES = 200
_ROUNDS = 3
_GIVE_UP = 2.0
"""A wider beam is not tried once its narrowest setting costs so many times the best one."""


class Searcher(Protocol):
    """What can be tuned: an index or an engine."""

    @property
    def n_labels(self) -> int:
        """L."""
        ...

    @property
    def n_clusters(self) -> int:
        """C."""
        ...

    def search(
        self, queries: DenseMatrix, k: int, *, beam_width: int, shortlist_size: int
    ) -> SearchResult:
        """Find the best k labels."""
        ...


@dataclass(frozen=True)
class Tuning:
    """The knobs found, and what was measured.

    Attributes:
        beam_width: W.
        shortlist_size: K.
        recall: Reached with them, 0 to 1: the share of what an exhaustive search finds.
        latency_us: Median of single queries, microseconds.
        exhaustive_recall: Mean recall@k of the true labels by the exhaustive search (all
            clusters, all labels); None where no truth was given.
        points: Every pair measured: beam_width, shortlist_size, recall, latency_us.
    """

    beam_width: int
    shortlist_size: int
    recall: float
    latency_us: float
    exhaustive_recall: float | None
    points: list[dict[str, Any]] = field(default_factory=list)

    @property
    def knobs(self) -> dict[str, int]:
        """Keyword arguments for ``search`` and :meth:`SearchEngine.with_knobs`."""
        return {"beam_width": self.beam_width, "shortlist_size": self.shortlist_size}


def tune(
    searcher: Searcher,
    queries: DenseMatrix,
    truth: sp.csr_matrix | None = None,
    *,
    recall: float = 0.95,
    k: int = 100,
) -> Tuning:
    """Find the cheapest knobs that reach a recall on held-out queries.

    Recall is relative to the exhaustive search of the same index (all clusters, all labels): with
    ``truth``, the mean share of a query's true labels among the first k, divided by that of the
    exhaustive search; without, the share of the exhaustive search's first k that is found.

    Args:
        searcher: Index or engine.
        queries: N x D held-out vectors, a few hundred or more; not the training points.
        truth: CSR N x L, their labels; also as lists of ids or a dense indicator.
        recall: To be reached, above 0 and at most 1.
        k: Depth.

    Raises:
        InputError: No queries, a recall out of range, or a truth that does not fit.
    """
    queries = as_float32_rows(as_vectors(queries, name="queries"), name="queries")
    n_queries = len(queries)
    recall, k = real_number(recall, "recall"), whole_number(k, "k")
    if not 0 < recall <= 1:
        raise InputError(f"recall is {recall}, expected above 0 and at most 1")
    if n_queries == 0:
        raise InputError("got no queries, expected at least 1")
    if truth is not None:
        truth = as_label_matrix(
            truth,
            n_points=n_queries,
            n_labels=searcher.n_labels,
            need_labels=False,
            name="the labels of the truth",
        )
    n_labels, n_clusters = searcher.n_labels, searcher.n_clusters
    measure = _Measure(searcher, queries, truth, k)
    points: list[dict[str, Any]] = []
    best: dict[str, Any] | None = None
    for width in _steps(1, n_clusters, 1.4):
        sizes = _steps(min(k, n_labels), n_labels, 1.25)
        enough = bisect_left(sizes, recall, key=partial(measure.recall_at, width))
        size = sizes[min(enough, len(sizes) - 1)]
        point = {
            "beam_width": width,
            "shortlist_size": size,
            "recall": measure.recall_at(width, size),
            "latency_us": measure.latency_us(width, size),
        }
        points.append(point)
        reached = enough < len(sizes)
        if reached and (best is None or point["latency_us"] < best["latency_us"]):
            best = point
        if best is not None and point["latency_us"] > _GIVE_UP * best["latency_us"]:
            break
    best = best or points[-1]  # all clusters and all labels
    exhaustive = None if truth is None else measure.exhaustive
    return Tuning(**best, exhaustive_recall=exhaustive, points=points)


class _Measure:
    """What a pair of knobs finds and costs; queries without wanted labels do not count.

    Attributes:
        exhaustive: Mean share of the wanted labels that the exhaustive search finds.
    """

    def __init__(
        self, searcher: Searcher, queries: Any, truth: sp.csr_matrix | None, k: int
    ) -> None:
        self._searcher, self._queries, self._k = searcher, queries, k
        everything = self._found(searcher.n_clusters, searcher.n_labels)
        if truth is None:
            rows, columns = np.nonzero(everything >= 0)
            n_columns = int(everything.max(initial=0)) + 1
            truth = sp.csr_matrix(
                (np.ones(len(rows)), (rows, everything[rows, columns])),
                shape=(len(everything), n_columns),
            )
        self.wanted = sp.csr_matrix((np.ones(truth.nnz), truth.indices, truth.indptr), truth.shape)
        self.counts = np.diff(truth.indptr)
        self.exhaustive = self._absolute(everything)

    def _found(self, width: int, size: int) -> npt.NDArray[np.int64]:
        answer = self._searcher.search(
            self._queries, self._k, beam_width=width, shortlist_size=size
        )
        return answer.ids

    def recall_at(self, width: int, size: int) -> float:
        """Recall as a share of the exhaustive search's."""
        if not self.exhaustive:
            return 1.0
        return self._absolute(self._found(width, size)) / self.exhaustive

    def _absolute(self, ids: npt.NDArray[np.int64]) -> float:
        rows, columns = np.nonzero((ids >= 0) & (ids < self.wanted.shape[1]))
        found = sp.csr_matrix(
            (np.ones(len(rows)), (rows, ids[rows, columns])), shape=self.wanted.shape
        )
        hits = np.asarray(found.multiply(self.wanted).sum(axis=1)).ravel()
        some = self.counts > 0
        return float(np.mean(hits[some] / self.counts[some])) if some.any() else 0.0

    def latency_us(self, width: int, size: int) -> float:
        """Median of single queries, microseconds."""
        rows = [self._queries[i : i + 1] for i in range(min(_TIMED_QUERIES, len(self._queries)))]

        def answer(row: Any) -> SearchResult:
            return self._searcher.search(row, self._k, beam_width=width, shortlist_size=size)

        # The best of some rounds: others at work on the machine only ever add to a time.
        rounds = [
            single_latencies(answer, rows, warmup=0, at_least=len(rows), at_most=len(rows))
            for _ in range(_ROUNDS)
        ]
        return 1e3 * min(float(np.median(times_ms)) for times_ms in rounds)


def _steps(low: int, high: int, factor: float) -> list[int]:
    values = [low]
    while values[-1] < high:
        values.append(min(high, max(values[-1] + 1, round(values[-1] * factor))))
    return values
