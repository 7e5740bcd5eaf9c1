"""Compare search methods over the label classifiers of one learned index.

Every method is measured in its own process at every setting of its query-time knobs, until the
answers no longer change. The report keeps the whole curve with its Pareto front, shows each method
at its best setting for the recall asked for, and tells the cheapest setting for fixed targets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.comparison.comparison import (
    MEASUREMENTS,
    Comparison,
    ComparisonData,
    ComparisonEvent,
    ComparisonSettings,
)
from learned_index.comparison.method import (
    OWN_RANKING,
    WITH_TRAINING_VECTORS,
    MethodInputs,
    MethodSpec,
    ModelLoader,
)
from learned_index.comparison.operating import (
    NEIGHBOUR_RECALL,
    TARGET_METRIC,
    best_point,
    operating_rows,
    pareto_rows,
    standard_targets,
)
from learned_index.comparison.reference import DEPTH, Reference
from learned_index.comparison.results import KeptResults, data_digest
from learned_index.comparison.worker import Job, Notice, describe, run_job
from learned_index.comparison.workspace import Workspace, prepare
from learned_index.errors import InputError
from learned_index.metrics import canonical_truth, evaluate
from learned_index.persistence import scratch_directory
from learned_index.system.environment import describe_environment
from learned_index.system.threads import available_cpus, limit_threads

CONDITIONS = (
    *("cpu", "cpus", "platform", "versions", "k", "threads", "batch_size", "latency_queries"),
    *("repeats", "timing_s", "isolation", "seed"),
)
"""Parts of the environment under which a measurement of an earlier run still holds."""


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
    with scratch_directory(workspace_parent, "compare") as folder:
        workspace = Workspace(folder)
        with limit_threads(threads):
            prepare(
                workspace,
                model=loader(),
                queries_ND=data.queries_ND,
                embeddings_ND=data.embeddings_ND,
                labels_NL=data.labels_NL,
                features_NF=data.features_NF,
                query_features_NF=data.query_features_NF,
                with_training_queries=any(s.inputs == "classifiers+queries" for s in specs),
            )
            reference = Reference(workspace, truth_NL, data.propensities)
        comparison.environment.update(
            n_queries=truth_NL.shape[0],
            n_labels=len(reference.items_LE),
            dim=int(np.shape(data.queries_ND)[1]),
            n_features=None if data.features_NF is None else int(data.features_NF.shape[1]),
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
            features_timed=False,
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
            if spec.inputs not in OWN_RANKING and point["error"] is None
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
    truth_NL, conditions = reference.truth_NL, {name: environment[name] for name in CONDITIONS}
    versions = dict(conditions["versions"])
    systems: dict[str, str | None] = {}
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
        training=_training_digests(workspace, systems),
        conditions={**conditions, "versions": versions},
    )


def _training_digests(
    workspace: Workspace, systems: Mapping[str, str | None]
) -> dict[MethodInputs, str]:
    """Return a digest of what each kind of method learns from, queries of its own included.

    Args:
        workspace: Holds the training data.
        systems: Versions of the packages that only whole systems use.
    """

    def parts(name: str) -> list[Any]:
        matrix = workspace.load_sparse(name)
        return [np.asarray(matrix.shape), matrix.indptr, matrix.indices, matrix.data]

    digests: dict[MethodInputs, str] = {}
    if workspace.has("train_embeddings"):
        vectors = data_digest([workspace.load("train_embeddings"), *parts("train_labels")])
        digests.update(dict.fromkeys(WITH_TRAINING_VECTORS, vectors))
    if workspace.has("train_features"):
        names = ("train_features", "query_features", "train_labels")
        digests["points"] = data_digest([part for name in names for part in parts(name)])
        digests["points"] += str(sorted(systems.items()))
    return digests


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
            if job.spec.inputs not in OWN_RANKING:  # the others search no label classifiers
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
    _check_training(specs, data)


def _check_training(specs: Sequence[MethodSpec], data: ComparisonData) -> None:
    """Raise unless what the methods learn from is there, and fits."""
    needs = [spec.name for spec in specs if spec.inputs in WITH_TRAINING_VECTORS]
    if needs and (data.embeddings_ND is None or data.labels_NL is None):
        raise InputError(f"{', '.join(needs)} learn from training vectors and labels; give both")
    needs = [spec.name for spec in specs if spec.inputs == "points"]
    x_NF, queries_NF = data.features_NF, data.query_features_NF
    if needs and (x_NF is None or queries_NF is None or data.labels_NL is None):
        raise InputError(
            f"{', '.join(needs)} learn from sparse features and labels; give features_NF, "
            "query_features_NF and labels_NL"
        )
    for what, rows in (
        ("training vectors", data.embeddings_ND),
        ("rows of training features", x_NF),
    ):
        if rows is not None and data.labels_NL is not None:
            n_points = np.shape(rows)[0]
            if n_points != data.labels_NL.shape[0]:
                raise InputError(
                    f"got {n_points} {what} and {data.labels_NL.shape[0]} rows of labels"
                )
    if x_NF is not None and queries_NF is not None:
        expected = len(data.queries_ND), x_NF.shape[1]
        if queries_NF.shape != expected:
            raise InputError(
                f"the test points' features are {queries_NF.shape}, expected {expected}: a row for "
                "each test vector, the columns of the training points"
            )
