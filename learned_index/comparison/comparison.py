"""What a comparison takes and what it makes: data, settings, progress, measurements."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy.typing as npt
import scipy.sparse as sp

from learned_index.comparison.operating import NEIGHBOUR_RECALL
from learned_index.errors import InputError
from learned_index.metrics import metric_names
from learned_index.types import DenseMatrix

MEASUREMENTS = (
    *metric_names(),
    NEIGHBOUR_RECALL,
    "latency_ms_p50",
    "latency_ms_p95",
    "latency_ms_p99",
    "latency_spread",
    "qps",
    "qps_spread",
    "build_s",
    "peak_rss_mb",
    "disk_bytes",
)
"""Keys of a row that hold numbers; null where not known."""


@dataclass(frozen=True, kw_only=True)
class ComparisonData:
    """What is searched, and what is right.

    Attributes:
        queries_ND: Test vectors, N x D.
        truth_NL: Labels of the test points, CSR; may have more columns than the index has labels
            (labels that it never saw: misses that nothing can find).
        propensities: As many as ``truth_NL`` has columns, from the training labels.
        embeddings_ND: Training vectors, for the methods that learn from points; None without.
        labels_NL: Labels of the training points, columns as in ``truth_NL``.
        features_NF: Sparse features of the training points, for the whole systems that learn from
            them; None without.
        query_features_NF: Those of the test points, with the same columns.
    """

    queries_ND: DenseMatrix
    truth_NL: sp.csr_matrix
    propensities: npt.ArrayLike
    embeddings_ND: DenseMatrix | None = None
    labels_NL: sp.csr_matrix | None = None
    features_NF: sp.csr_matrix | None = None
    query_features_NF: sp.csr_matrix | None = None


@dataclass(frozen=True, kw_only=True)
class ComparisonSettings:
    """How to measure.

    Attributes:
        target_recall: Share of the best R@100 of the run that a method's best setting must reach,
            0 to 1. "Best" is over the methods that search the model; knn, ova and the whole
            systems, which are trained for themselves, do not count.
        threads: Threads for building and batches; None uses all. Single queries always use one.
        batch_size: Queries per batch.
        latency_queries: Single queries timed for each setting and repetition, at least.
        repeats: Repetitions of every timing; medians are reported, and the spread: the largest
            less the smallest over the median.
        timing_s: Seconds of single queries timed for each setting and repetition, where
            ``latency_queries`` take less; batches are timed for at least a third of it and hardly
            more than twice.
        label_slack: Points of R@100 that the operating table allows a method to lose against
            exact scoring.
        neighbour_recalls: The operating table's other targets, recalls of the exact 100 best in
            percent.
        isolation: ``"process"`` measures each method in its own process (memory is the method's);
            ``"none"`` measures in this one.
        seed: Seed of the order of the single queries.
    """

    target_recall: float = 0.99
    threads: int | None = None
    batch_size: int = 256
    latency_queries: int = 200
    repeats: int = 3
    timing_s: float = 1.0
    label_slack: float = 0.5
    neighbour_recalls: tuple[float, ...] = (90.0, 95.0, 99.0)
    isolation: Literal["process", "none"] = "process"
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.target_recall <= 1:
            raise InputError(f"target_recall must lie in [0, 1], got {self.target_recall}")
        if min(self.batch_size, self.latency_queries, self.repeats) < 1:
            raise InputError(
                "batch_size, latency_queries and repeats must be at least 1, got "
                f"{self.batch_size}, {self.latency_queries} and {self.repeats}"
            )
        if not self.timing_s >= 0:
            raise InputError(f"timing_s must not be negative, got {self.timing_s}")
        if self.label_slack < 0 or not all(0 <= value <= 100 for value in self.neighbour_recalls):
            raise InputError(
                "label_slack must not be negative and neighbour_recalls are percent, got "
                f"{self.label_slack} and {self.neighbour_recalls}"
            )
        if self.threads is not None and self.threads < 1:
            raise InputError(f"threads must be at least 1, got {self.threads}")
        if self.isolation not in ("process", "none"):
            raise InputError(f"isolation must be 'process' or 'none', got {self.isolation!r}")


class ComparisonEvent(NamedTuple):
    """Where the comparison is.

    Attributes:
        method: Name of the method being measured.
        number: Its number, from 0.
        n_methods: Methods in all.
        share: Part of this method's work done, 0 to 1.
        text: What is being done, a few words.
    """

    method: str
    number: int
    n_methods: int
    share: float
    text: str


@dataclass(frozen=True)
class Comparison:
    """What was measured; JSON-able.

    Attributes:
        rows: One dictionary for each method: ``method``, every key of :data:`MEASUREMENTS` (null
            where not known), ``query_arguments``, ``reached_target``, ``error`` (null or text).
        curves: One dictionary for each method and setting, in the order of the sweep.
        pareto: The points of the curves that no other of the method is better than, see
            :func:`~learned_index.comparison.operating.pareto_rows`.
        operating: The cheapest point of each method for each target, see
            :func:`~learned_index.comparison.operating.operating_rows`.
        environment: Machine, packages, sizes, and how it was measured.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    curves: list[dict[str, Any]] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    pareto: list[dict[str, Any]] = field(default_factory=list)
    operating: list[dict[str, Any]] = field(default_factory=list)

    @property
    def failed(self) -> list[str]:
        """Names of the methods that could not be measured."""
        return [row["method"] for row in self.rows if row["error"] is not None]
