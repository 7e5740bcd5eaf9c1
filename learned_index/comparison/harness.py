"""Compare search methods over the label classifiers of one learned index, or over others.

Every method is measured in its own process at every setting of its query-time knobs, until the
answers no longer change. The report keeps the whole curve with its Pareto front, shows each method
at its best setting for the recall asked for, and tells the cheapest setting for fixed targets,
chosen on one half of the queries with its recall on the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from learned_index.comparison.data import (
    MEASUREMENTS,
    NEIGHBOUR_TARGETS,
    Comparison,
    ComparisonData,
)
from learned_index.comparison.halves import HALVES, half_key
from learned_index.comparison.kept import KeptMethods, package_versions
from learned_index.comparison.measure import Job, describe
from learned_index.comparison.method import OWN_RANKING, LabelClassifiers, MethodSpec, ModelLoader
from learned_index.comparison.operating import (
    TARGET_METRIC,
    best_point,
    operating_rows,
    pareto_rows,
    standard_targets,
)
from learned_index.comparison.processes import run_job
from learned_index.comparison.reference import Reference
from learned_index.comparison.searched import Searched, check_classifiers, prepared
from learned_index.comparison.settings import INDEX_CLASSIFIERS, ComparisonSettings
from learned_index.errors import InputError
from learned_index.persistence import scratch_directory
from learned_index.system.environment import describe_environment
from learned_index.system.progress import Progress
from learned_index.system.threads import available_cpus, limit_threads


def compare(
    specs: Sequence[MethodSpec],
    loader: ModelLoader,
    data: ComparisonData,
    *,
    other_classifiers: Mapping[str, LabelClassifiers] | None = None,
    settings: ComparisonSettings | None = None,
    known_build_s: Mapping[str, float | None] | None = None,
    workspace_parent: Path | None = None,
    results: Path | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Measure every method at every setting of its knob.

    With ``isolation="process"`` the caller's script must be importable without side effects (put
    the call under ``if __name__ == "__main__":``), as for any use of :mod:`multiprocessing`.

    Args:
        specs: The methods, e.g. from :func:`learned_index.baselines.parse_baselines`.
        loader: Loads the learned index; called here once, and in the process of each method that
            is built from it. For the whole model it has ``whole()``, see
            :data:`~learned_index.comparison.method.ModelLoader`.
        data: Test vectors and labels; training data where a method learns from it.
        other_classifiers: Label classifiers that were trained elsewhere, for vectors and labels of
            the data, by the name that the ``classifiers`` of specifications have.
        settings: How to measure.
        known_build_s: Build times known from elsewhere (the training of the index), by method;
            a method named here reports that time, null included.
        workspace_parent: Folder for the temporary files (all arrays once); None: the system's.
        results: Folder in which the measurements of each finished method are kept. A method found
            there, measured with the same data, settings, packages and code, is not measured again
            (a method built from the model only where ``loader`` has a method ``digest()``).
        progress: Told the methods done, a part of the one being measured with them.

    Returns:
        Rows, curves and environment. A method that fails has a row with ``error``.

    Raises:
        InputError: The data do not fit together or hold NaN, there are fewer than two queries, or
            a specification names classifiers that were not given.
    """
    settings = settings or ComparisonSettings()
    threads = settings.threads or available_cpus()
    if not specs:
        raise InputError("no method to compare was given")
    data.check(specs)
    check_classifiers(specs, other_classifiers or {})
    comparison = Comparison(environment=describe_environment())
    with scratch_directory(workspace_parent, "compare") as folder:
        with limit_threads(threads):
            classifiers = {INDEX_CLASSIFIERS: loader(), **(other_classifiers or {})}
            searched = prepared(folder, specs, classifiers, data, seed=settings.seed)
        environment = comparison.environment
        environment.update(_conditions(specs, data, settings, threads, searched))
        kept_over = {
            name: KeptMethods(results, each.workspace, each.reference, environment)
            for name, each in searched.items()
        }
        measured = []
        for number, spec in enumerate(specs):
            over = searched[spec.classifiers]
            kept = kept_over[spec.classifiers]
            job = Job(
                spec=spec,
                number=number,
                folder=over.workspace.folder,
                loader=loader,
                k=over.reference.k,
                threads=threads,
                settings=settings,
            )
            points = _measured(job, over.reference, kept, _told(progress, job, len(specs)))
            for point in points if known_build_s and spec.name in known_build_s else ():
                point["build_s"] = known_build_s[spec.name]  # type: ignore[index]
            measured.append((spec, points))
    _conclude(comparison, measured, settings)
    return comparison


def _conditions(
    specs: Sequence[MethodSpec],
    data: ComparisonData,
    settings: ComparisonSettings,
    threads: int,
    searched: Mapping[str, Searched],
) -> dict[str, Any]:
    """Return what the environment tells of this run: sizes, and how it is measured."""
    packages: dict[str, Any] = {}
    for spec in specs:
        try:
            packages[spec.name] = package_versions(spec)
        except InputError as problem:
            packages[spec.name] = {"error": str(problem)}
    reference = searched[INDEX_CLASSIFIERS].reference
    return {
        "n_queries": reference.truth_NL.shape[0],
        "n_labels": len(reference.items_LE),
        "dim": int(np.shape(data.queries_ND)[1]),
        "n_features": None if data.features_NF is None else int(data.features_NF.shape[1]),
        "k": reference.k,
        "latency_threads": 1,
        "latency_batch_size": 1,
        **settings.to_dict(),
        "threads": threads,
        "exact": {name: each.reference.metrics for name, each in searched.items()},
        "projection_timed": False,
        "features_timed": False,
        "encoding_timed": False,
        "packages": packages,
    }


def _measured(
    job: Job, reference: Reference, kept: KeptMethods, progress: Progress
) -> list[dict[str, Any]]:
    """Return one row for each setting, or one with the error; measured now or before."""
    assert job.loader is not None
    key = kept.key(job.spec, job.loader)
    earlier = None if key is None else kept.store.find(job.spec.name, key)
    if isinstance(earlier, list):
        progress(1, 1, "measured earlier")
        return earlier
    report = run_job(job, isolate=job.settings.isolation == "process", progress=progress)
    with limit_threads(job.threads):
        points = _points(job, report, reference)
    if key is not None and points[0]["error"] is None:
        kept.store.keep(job.spec.name, key, points)
    return points


def _points(job: Job, report: dict[str, Any], reference: Reference) -> list[dict[str, Any]]:
    """Return one row for each setting, or one with the error."""
    if "error" in report:
        return [_empty_point(job.spec, report["error"])]
    points = []
    for number, setting in enumerate(report["settings"]):
        ids_NK = job.ids(number)
        point = _empty_point(job.spec, None)
        neighbours = job.spec.inputs not in OWN_RANKING  # those search no label classifiers
        try:
            point.update(reference.measured(ids_NK, neighbours=neighbours))
        except (LookupError, InputError) as problem:  # duplicates or ids out of range
            return [_empty_point(job.spec, f"wrong answers: {describe(problem)}")]
        point.update(setting)
        point.update({key: report[key] for key in ("build_s", "peak_rss_mb", "disk_bytes")})
        points.append(point)
    return points or [_empty_point(job.spec, "the method names no setting to measure")]


def _empty_point(spec: MethodSpec, error: str | None) -> dict[str, Any]:
    return {
        "method": spec.name,
        "classifiers": None if spec.inputs in OWN_RANKING else spec.classifiers,
        **dict.fromkeys(MEASUREMENTS),
        "query_arguments": {},
        "error": error,
    }


def _told(progress: Progress | None, job: Job, n_methods: int) -> Progress:
    def tell(done: float, total: float, text: str = "") -> None:
        if progress is not None:
            progress(job.number + done / total, n_methods, f"{job.spec.name}: {text}")

    return tell


def _conclude(
    comparison: Comparison,
    measured: Sequence[tuple[MethodSpec, list[dict[str, Any]]]],
    settings: ComparisonSettings,
) -> None:
    """Fill rows, curves, fronts and operating points of a comparison."""
    environment = comparison.environment
    exact: Mapping[str, Mapping[str, float]] = environment["exact"]
    recalls = [metrics[TARGET_METRIC] for metrics in exact.values()] + [
        point[TARGET_METRIC]
        for spec, points in measured
        for point in points
        if spec.inputs not in OWN_RANKING and point["error"] is None
    ]
    best_recall = environment["best_recall"] = max(recalls)
    for _, points in measured:
        comparison.curves.extend(point for point in points if point["error"] is None)
        comparison.rows.append(best_point(points, target=settings.target_recall * best_recall))
    comparison.pareto.extend(pareto_rows(comparison.curves))
    names = [spec.name for spec, _ in measured]
    environment["reference"] = next((n for n in names if n.startswith("engine")), names[0])
    key = half_key(TARGET_METRIC, HALVES[0])
    targets = standard_targets(
        {name: metrics[key] for name, metrics in exact.items()},
        slack=settings.label_slack,
        neighbour_recalls=NEIGHBOUR_TARGETS,
    )
    comparison.operating.extend(
        operating_rows(comparison.curves, targets, reference=environment["reference"])
    )
