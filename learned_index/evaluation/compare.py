"""Compare search methods over the label classifiers of one learned index.

Every method is measured in its own process at every setting of its query-time knobs, until the
answers no longer change. The report keeps the whole curve with its Pareto front, shows each method
at its best setting for the recall asked for, and tells the cheapest setting for fixed targets.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.errors import InputError
from learned_index.evaluation.environment import describe_environment
from learned_index.evaluation.method import MethodSpec, ModelLoader
from learned_index.evaluation.metrics import canonical_truth, evaluate, metric_names
from learned_index.evaluation.operating import (
    NEIGHBOUR_RECALL,
    TARGET_METRIC,
    best_point,
    operating_rows,
    pareto_rows,
    standard_targets,
)
from learned_index.evaluation.reference import DEPTH, Reference
from learned_index.evaluation.results import KeptResults, data_digest
from learned_index.evaluation.threads import available_cpus, limit_threads
from learned_index.evaluation.worker import Job, Notice, describe, run_job
from learned_index.evaluation.workspace import Workspace, prepare
from learned_index.types import DenseMatrix

CONDITIONS = (
    *("cpu", "cpus", "platform", "versions", "k", "threads", "batch_size", "latency_queries"),
    *("repeats", "timing_s", "isolation", "seed"),
)
"""Parts of the environment under which a measurement of an earlier run still holds."""
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
        labels_NL: Their labels, columns as in ``truth_NL``.
    """

    queries_ND: DenseMatrix
    truth_NL: sp.csr_matrix
    propensities: npt.ArrayLike
    embeddings_ND: DenseMatrix | None = None
    labels_NL: sp.csr_matrix | None = None


@dataclass(frozen=True, kw_only=True)
class ComparisonSettings:
    """How to measure.

    Attributes:
        target_recall: Share of the best R@100 of the run that a method's best setting must reach,
            0 to 1. "Best" is over the methods that search the model; knn and ova, which are
            trained for themselves, do not count.
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
            :func:`~learned_index.evaluation.operating.pareto_rows`.
        operating: The cheapest point of each method for each target, see
            :func:`~learned_index.evaluation.operating.operating_rows`.
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


def compare(
    specs: Sequence[MethodSpec],
    loader: ModelLoader,
    data: ComparisonData,
    *,
    settings: ComparisonSettings | None = None,
    known_build_s: Mapping[str, float | None] | None = None,
    workspace_parent: Path | None = None,
    results: Path | None = None,
    progress: Callable[[ComparisonEvent], None] | None = None,
) -> Comparison:
    """Measure every method at every setting of its knob.

    With ``isolation="process"`` the caller's script must be importable without side effects (put
    the call under ``if __name__ == "__main__":``), as for any use of :mod:`multiprocessing`.

    Args:
        specs: The methods, e.g. from :func:`learned_index.baselines.parse_baselines`.
        loader: Loads the learned index; called here once, and in the process of each method that
            is built from it.
        data: Test vectors and labels; training data where a method learns from it.
        settings: How to measure.
        known_build_s: Build times known from elsewhere (the training of the index), by method;
            a method named here reports that time, null included.
        results: Folder in which the measurements of each finished method are kept. A method found
            there, measured with the same data, settings, packages and code, is not measured again
            (a method built from the model only where ``loader`` has a method ``digest()``).
        workspace_parent: Folder for the temporary files (all arrays once); None: the system's.
        progress: Called with events.

    Returns:
        Rows, curves and environment. A method that fails has a row with ``error``.

    Raises:
        InputError: The data do not fit together or hold NaN.
    """
    settings = settings or ComparisonSettings()
    threads = settings.threads or available_cpus()
    truth_NL = canonical_truth(data.truth_NL)
    _check(specs, data, truth_NL)
    comparison = Comparison(environment=describe_environment())
    with tempfile.TemporaryDirectory(prefix=".compare-", dir=workspace_parent) as folder:
        workspace = Workspace(Path(folder))
        with limit_threads(threads):
            prepare(
                workspace,
                model=loader(),
                queries_ND=data.queries_ND,
                embeddings_ND=data.embeddings_ND,
                labels_NL=data.labels_NL,
                with_training_queries=any(s.inputs == "classifiers+queries" for s in specs),
            )
            reference = Reference(workspace, truth_NL, data.propensities)
        comparison.environment.update(
            n_queries=truth_NL.shape[0],
            n_labels=len(reference.items_LE),
            dim=int(np.shape(data.queries_ND)[1]),
            k=DEPTH,
            threads=threads,
            batch_size=settings.batch_size,
            latency_threads=1,
            latency_batch_size=1,
            latency_queries=settings.latency_queries,
            repeats=settings.repeats,
            timing_s=settings.timing_s,
            target_recall=settings.target_recall,
            exact_recall=reference.metrics[TARGET_METRIC],
            projection_timed=False,
            isolation=settings.isolation,
        )
        comparison.environment["seed"] = settings.seed
        kept = _kept_results(results, workspace, reference, comparison.environment)
        measured: list[tuple[MethodSpec, list[dict[str, Any]]]] = []
        for number, spec in enumerate(specs):
            job = Job(
                spec=spec,
                number=number,
                folder=workspace.folder,
                loader=loader,
                k=DEPTH,
                threads=threads,
                batch_size=settings.batch_size,
                latency_queries=settings.latency_queries,
                repeats=settings.repeats,
                timing_s=settings.timing_s,
                seed=settings.seed,
            )
            notify = _notifier(progress, spec.name, number, len(specs))
            points = None if kept is None else kept.find(spec, loader)
            if points is None:
                report = run_job(job, isolate=settings.isolation == "process", notify=notify)
                with limit_threads(threads):
                    points = _points(job, report, reference)
                if kept is not None:
                    kept.keep(spec, loader, points)
            else:
                notify(Notice(1.0, "measured earlier"))
            if known_build_s is not None and spec.name in known_build_s:
                for point in points:
                    point["build_s"] = known_build_s[spec.name]
            measured.append((spec, points))
    best_recall = max(
        [reference.metrics[TARGET_METRIC]]
        + [
            point[TARGET_METRIC]
            for spec, points in measured
            for point in points
            if spec.inputs != "training" and point["error"] is None
        ]
    )
    comparison.environment["best_recall"] = best_recall
    for _, points in measured:
        comparison.curves.extend(point for point in points if point["error"] is None)
        comparison.rows.append(best_point(points, target=settings.target_recall * best_recall))
    comparison.pareto.extend(pareto_rows(comparison.curves))
    engines = [spec.name for spec in specs if spec.name.startswith("engine")]
    comparison.environment["reference"] = (engines or [specs[0].name])[0]
    comparison.operating.extend(
        operating_rows(
            comparison.curves,
            standard_targets(
                reference.metrics[TARGET_METRIC],
                slack=settings.label_slack,
                neighbour_recalls=settings.neighbour_recalls,
            ),
            reference=comparison.environment["reference"],
        )
    )
    return comparison


def _kept_results(
    folder: Path | None, workspace: Workspace, reference: Reference, environment: dict[str, Any]
) -> KeptResults | None:
    """Return the store of measurements under the conditions of this run; None without a folder."""
    if folder is None:
        return None
    truth_NL, training = reference.truth_NL, ""
    if workspace.has("train_embeddings"):
        labels_NL = workspace.load_labels()
        training = data_digest(
            [workspace.load("train_embeddings"), labels_NL.indptr, labels_NL.indices]
        )
    return KeptResults(
        folder,
        data=data_digest(
            [
                reference.items_LE,
                reference.queries_NE,
                truth_NL.indptr,
                truth_NL.indices,
                np.asarray(reference.propensities),
            ]
        ),
        training=training,
        conditions={name: environment[name] for name in CONDITIONS},
    )


def _points(job: Job, report: dict[str, Any], reference: Reference) -> list[dict[str, Any]]:
    """Return one row for each setting, or one with the error."""
    if "error" in report:
        return [_empty_point(job.spec.name, report["error"])]
    points = []
    for number, setting in enumerate(report["settings"]):
        ids_NK = np.array(job_ids(job, number))
        point = _empty_point(job.spec.name, None)
        try:
            point.update(evaluate(ids_NK, reference.truth_NL, propensities=reference.propensities))
            # Methods built from training points search no label classifiers.
            if job.spec.inputs != "training":
                point[NEIGHBOUR_RECALL] = reference.neighbours(ids_NK)
        except (LookupError, InputError) as problem:  # duplicates or ids out of range
            return [_empty_point(job.spec.name, f"wrong answers: {describe(problem)}")]
        point.update(setting)
        point.update({key: report[key] for key in ("build_s", "peak_rss_mb", "disk_bytes")})
        points.append(point)
    return points or [_empty_point(job.spec.name, "the method names no setting to measure")]


def job_ids(job: Job, setting: int) -> npt.NDArray[np.int64]:
    """Return the answers, N x k, of a measured job at one setting."""
    ids: npt.NDArray[np.int64] = Workspace(job.folder).load(job.ids_name(setting))
    return ids


def _empty_point(method: str, error: str | None) -> dict[str, Any]:
    numbers: dict[str, Any] = dict.fromkeys(MEASUREMENTS)
    return {"method": method, **numbers, "query_arguments": {}, "error": error}


def _notifier(
    progress: Callable[[ComparisonEvent], None] | None, method: str, number: int, n_methods: int
) -> Callable[[Notice], None]:
    def notify(notice: Notice) -> None:
        if progress is not None:
            progress(ComparisonEvent(method, number, n_methods, notice.share, notice.text))

    return notify


def _check(specs: Sequence[MethodSpec], data: ComparisonData, truth_NL: sp.csr_matrix) -> None:
    if not specs:
        raise InputError("no method to compare was given")
    n_queries = len(data.queries_ND)
    if n_queries == 0 or n_queries != truth_NL.shape[0]:
        raise InputError(
            f"got {n_queries} test vectors and {truth_NL.shape[0]} rows of labels; expected as "
            "many, and at least one"
        )
    if not np.isfinite(np.asarray(data.queries_ND, dtype=np.float64).sum()):
        raise InputError("the test vectors hold NaN or infinity; mend or drop such rows")
    needs = [spec.name for spec in specs if spec.inputs in ("training", "classifiers+queries")]
    if needs and (data.embeddings_ND is None or data.labels_NL is None):
        raise InputError(f"{', '.join(needs)} learn from training vectors and labels; give both")
    if data.embeddings_ND is not None and data.labels_NL is not None:
        n_points = len(data.embeddings_ND)
        if n_points != data.labels_NL.shape[0]:
            raise InputError(
                f"got {n_points} training vectors and {data.labels_NL.shape[0]} rows of labels"
            )
