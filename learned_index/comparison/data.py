"""What a comparison takes and what it makes: data, settings, measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.comparison.features import WORDS, PointFeatures
from learned_index.comparison.halves import HALVES, half_key
from learned_index.comparison.method import WITH_TRAINING_VECTORS, MethodSpec, ModelQueries
from learned_index.comparison.operating import NEIGHBOUR_RECALL, TARGET_METRIC
from learned_index.errors import InputError
from learned_index.metrics import metric_names
from learned_index.types import DenseMatrix

MEASUREMENTS = (
    *metric_names(),
    NEIGHBOUR_RECALL,
    *(half_key(metric, half) for metric in (TARGET_METRIC, NEIGHBOUR_RECALL) for half in HALVES),
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
        more_features: Other features than words, by what a method asks for: those of the training
            points and those of the test points.
        model_queries: The test points as the whole model takes them; None without.
        filtered_NL: Pairs that count neither as answers nor as truth, CSR; None: there are none.
    """

    queries_ND: DenseMatrix
    truth_NL: sp.csr_matrix
    propensities: npt.ArrayLike
    embeddings_ND: DenseMatrix | None = None
    labels_NL: sp.csr_matrix | None = None
    features_NF: sp.csr_matrix | None = None
    query_features_NF: sp.csr_matrix | None = None
    more_features: Mapping[PointFeatures, tuple[sp.csr_matrix, sp.csr_matrix]] = field(
        default_factory=dict
    )
    model_queries: ModelQueries | None = None
    filtered_NL: sp.csr_matrix | None = None

    def all_features(self) -> dict[PointFeatures, tuple[sp.csr_matrix, sp.csr_matrix]]:
        """Return the features of training and test points by what they are."""
        found = dict(self.more_features)
        if self.features_NF is not None and self.query_features_NF is not None:
            found[WORDS] = self.features_NF, self.query_features_NF
        return found

    def check(self, specs: Sequence[MethodSpec]) -> None:
        """Check that the parts fit, and that what the methods learn from is there.

        Raises:
            InputError: They do not, it is not, or the test vectors hold NaN.
        """
        n_queries, n_rows = len(self.queries_ND), self.truth_NL.shape[0]
        if n_queries != n_rows:
            raise InputError(
                f"got {n_queries} test vectors and {n_rows} rows of labels; expected as many"
            )
        if not np.isfinite(np.asarray(self.queries_ND, dtype=np.float64).sum()):
            raise InputError("the test vectors hold NaN or infinity; mend or drop such rows")
        for kinds, parts, text in (
            (
                WITH_TRAINING_VECTORS,
                (self.embeddings_ND, self.labels_NL),
                "learn from training vectors and labels; give both",
            ),
            (
                ("points",),
                (self.labels_NL,),
                "learn from labels; give labels_NL",
            ),
            (("model",), (self.model_queries,), "asks a whole model; give model_queries"),
        ):
            needs = [spec.name for spec in specs if spec.inputs in kinds]
            if needs and any(part is None for part in parts):
                raise InputError(f"{', '.join(needs)} {text}")
        known = self.all_features()
        for spec in specs:
            wanted = spec.point_features
            if wanted is not None and wanted not in known:
                given = "features_NF, query_features_NF" if wanted == WORDS else "more_features"
                raise InputError(
                    f"{spec.name} learns from sparse features ({wanted.title}), which are not "
                    f"there; give {given} and labels_NL"
                )
        self._check_sizes(n_queries)

    def _check_sizes(self, n_queries: int) -> None:
        n_labelled = None if self.labels_NL is None else self.labels_NL.shape[0]
        features = self.all_features().values()
        for what, rows in (
            ("training vectors", self.embeddings_ND),
            *(("rows of training features", train) for train, _ in features),
        ):
            if n_labelled is not None and rows is not None and np.shape(rows)[0] != n_labelled:
                raise InputError(f"got {np.shape(rows)[0]} {what} and {n_labelled} rows of labels")
        for train, queries in features:
            found, expected = queries.shape, (n_queries, train.shape[1])
            if found != expected:
                raise InputError(
                    f"the test points' features are {found}, expected {expected}: a row for each "
                    "test vector, the columns of the training points"
                )
        if self.model_queries is not None and self.model_queries.shape[0] != n_queries:
            raise InputError(
                f"the whole model has {self.model_queries.shape[0]} queries, the others "
                f"{n_queries}; expected as many"
            )


NEIGHBOUR_TARGETS = (90.0, 95.0, 99.0)
"""Recalls of the exact 100 best, in percent, that the operating table tells the price of."""


@dataclass(frozen=True)
class Comparison:
    """What was measured; JSON-able.

    Attributes:
        rows: One dictionary for each method: ``method``, ``classifiers`` (the label classifiers
            that it ranks with; null where it ranks otherwise), every key of :data:`MEASUREMENTS`
            (null where not known), ``query_arguments``, ``reached_target``, ``error`` (null or
            text).
        curves: One dictionary for each method and setting, in the order of the sweep.
        pareto: The points of the curves that no other of the method is better than, see
            :func:`~learned_index.comparison.operating.pareto_rows`.
        operating: The cheapest point of each method for each target, see
            :func:`~learned_index.comparison.operating.operating_rows`; chosen on one half of the
            queries, told on the other.
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
