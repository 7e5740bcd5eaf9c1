"""Measure one method: build it, search at every setting, time it. Runs in its own process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from learned_index.comparison.method import Method, MethodSpec, ModelLoader, padded_ids
from learned_index.comparison.settings import ComparisonSettings
from learned_index.comparison.workspace import Workspace
from learned_index.errors import LearnedIndexError
from learned_index.persistence import write_json
from learned_index.system.memory import peak_rss_mb
from learned_index.system.progress import Progress
from learned_index.system.threads import limit_threads
from learned_index.system.timing import (
    batch_slices,
    batch_throughput,
    latency_summary,
    median_and_spread,
    single_latencies,
)
from learned_index.types import Int64Array


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a measuring process is told.

    Attributes:
        spec: The method.
        number: Number of the method; names its files in the workspace.
        folder: The workspace.
        loader: Loads the trained index; None for a method that is measured elsewhere.
        k: Labels asked for in every search.
        threads: Threads for building and for batches.
        settings: How to measure.
        grid: Query-time settings to answer at, all of them; None: the method's own sweep, which
            ends early when the answers no longer change.
        timed: Whether searches are timed; else the report has build time and memory alone.
    """

    spec: MethodSpec
    number: int
    folder: Path
    loader: ModelLoader | None
    k: int
    threads: int
    settings: ComparisonSettings
    grid: Sequence[Mapping[str, Any]] | None = None
    timed: bool = True

    @property
    def report(self) -> Path:
        """File into which the measurements are written."""
        return self.folder / f"method{self.number}.json"

    def ids_name(self, setting: int) -> str:
        """Name of the array that holds the answers at one setting."""
        return f"method{self.number}_ids{setting}"

    def ids(self, setting: int) -> Int64Array:
        """Answers, N x k, at one setting that was measured."""
        return np.array(Workspace(self.folder).load(self.ids_name(setting)))

    def data(self) -> tuple[Any, ...]:
        """What the method is built from."""
        inputs = self.spec.inputs
        if inputs not in ("index", "model"):
            return Workspace(self.folder).training_data(inputs, self.spec.point_features)
        # The whole model is asked for by name: a loader of the index alone need not have it.
        return (self.loader() if inputs == "index" else self.loader.whole(),)  # type: ignore


BUILD_SHARE = 0.4
"""Part of a method's progress that stands for building."""
TIMING_FROM = 0.6
"""Part of a method's progress after which it is timed."""
SATURATED = 2
"""A sweep ends early when this many settings in a row changed nothing: the rest would only take
longer to find the same."""
SAME = 0.999
"""Share of the places that hold the same label where a setting changed nothing."""


def measure_method(job: Job, progress: Progress) -> None:
    """Measure one method and write ``job.report`` and its answers into the workspace.

    First every setting answers all queries, then all settings are timed, and this ``repeats``
    times over: a machine that is slow for a minute slows one repetition of each, not all
    repetitions of one.
    """
    method = job.spec.create()
    method.progress = lambda done, total, text="": progress(BUILD_SHARE * done / total, 1, text)
    progress(0, 1, "building")
    with limit_threads(job.threads):
        data = job.data()
        start = time.perf_counter()
        method.build(*data)
        build_s = time.perf_counter() - start
    del data  # what the method did not keep itself must not count in its peak of memory
    queries = Workspace(job.folder).queries(job.spec.inputs, method.point_features)
    rows = method.prepare_queries(queries)
    # Cut beforehand: to cut out rows of a sparse matrix takes time that is not the method's.
    slices = batch_slices(queries.shape[0], job.settings.batch_size)
    batches = [rows[part] for part in slices]
    with limit_threads(job.threads):
        settings = _answer(job, method, batches, progress)
    if job.timed:
        order = np.random.default_rng(job.settings.seed).permutation(queries.shape[0]).tolist()
        singles = method.split_queries(rows)
        timed = _time_all(
            job, method, settings, (batches, [singles[query] for query in order]), progress
        )
        for setting, measured in zip(settings, timed, strict=True):
            setting.update(_medians(measured))
    # Memory first: writing the index to learn its size may take a copy.
    peak = peak_rss_mb()
    write_json(
        job.report,
        {
            "build_s": build_s,
            "peak_rss_mb": peak,
            "disk_bytes": method.disk_bytes(),
            "settings": settings,
        },
    )


def answer_job(make: Callable[[], Job], say: Callable[[Any], None]) -> None:
    """Measure a job in the process that is there for it.

    Args:
        make: Makes the job.
        say: Is told ``[done, total, text]`` over and over, and the text of an error.
    """
    try:
        measure_method(make(), lambda done, total, text="": say([done, total, text]))
    except Exception as problem:  # whatever it is, the row of the method says it
        say(describe(problem))


def listen(messages: Iterable[Any], progress: Progress) -> str | None:
    """Pass on what :func:`answer_job` says until it ends; return the error, or None."""
    error: str | None = None
    for message in messages:
        if isinstance(message, str):
            error = message
        else:
            progress(*message)
    return error


def _answer(
    job: Job, method: Method, batches: list[Any], progress: Progress
) -> list[dict[str, Any]]:
    """Answer all queries at every setting worth measuring; write the answers.

    Settings that differ in the last argument only form a sweep, which ends early when its answers
    no longer change.
    """
    workspace = Workspace(job.folder)
    grid = [dict(each) for each in (job.grid or method.query_grid())]
    settings: list[dict[str, Any]] = []
    for _, sweep in groupby(enumerate(grid), key=lambda place: list(place[1].values())[:-1]):
        unchanged, begun = 0, len(settings)
        for place, arguments in sweep:
            done = BUILD_SHARE + (TIMING_FROM - BUILD_SHARE) * place / len(grid)
            progress(done, 1, setting_text(arguments))
            number = len(settings)
            search = method.bind(job.k, **arguments).batch
            found = [method.ids_of(search(batch)) for batch in batches]
            ids = np.concatenate([padded_ids(part, job.k) for part in found])
            workspace.save(job.ids_name(number), ids)
            settings.append({"query_arguments": arguments})
            # Read back rather than kept: the peak of memory is to be the method's.
            same = number > begun and np.mean(job.ids(number - 1) == ids) >= SAME
            unchanged = unchanged + 1 if same else 0
            if unchanged == SATURATED and job.grid is None:
                break
    return settings


def _time_all(
    job: Job,
    method: Method,
    settings: Sequence[dict[str, Any]],
    queries: tuple[list[Any], list[Any]],
    progress: Progress,
) -> list[list[dict[str, float]]]:
    """Time every setting, all of them ``repeats`` times over; batches and single queries."""
    timed: list[list[dict[str, float]]] = [[] for _ in settings]
    repeats = job.settings.repeats
    for repeat in range(repeats):
        for number, setting in enumerate(settings):
            arguments = setting["query_arguments"]
            done = (repeat * len(settings) + number) / (repeats * len(settings))
            text = f"{setting_text(arguments)}, timing {repeat + 1} of {repeats}"
            progress(TIMING_FROM + (1 - TIMING_FROM) * done, 1, text)
            timed[number].append(_time(job, method, *queries, arguments))
    return timed


def _time(
    job: Job, method: Method, batches: list[Any], singles: list[Any], arguments: dict[str, Any]
) -> dict[str, float]:
    """Time one setting once: batches on all threads, then single queries on one."""
    settings = job.settings
    with limit_threads(job.threads):
        search = method.bind(job.k, **arguments).batch
        qps = batch_throughput(
            lambda part: search(batches[part.start // settings.batch_size]),
            batch_slices(len(singles), settings.batch_size),
            at_least_s=settings.timing_seconds / 3,
            at_most_s=2 * settings.timing_seconds,
        )
    with limit_threads(1):
        one = method.bind(job.k, **arguments).one
        times = single_latencies(
            one, singles, at_least=settings.latency_queries, budget_s=settings.timing_seconds
        )
    return {"qps": qps, **latency_summary(times)}


def _medians(repeated: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the median over repetitions of each value, and how far the main two spread."""
    result = {key: float(np.median([one[key] for one in repeated])) for key in repeated[0]}
    for key, name in (("latency_ms_p50", "latency_spread"), ("qps", "qps_spread")):
        result[name] = median_and_spread([one[key] for one in repeated])[1]
    return result


def setting_text(query_arguments: dict[str, Any]) -> str:
    """Return query arguments as a few words, e.g. ``"nprobe=16"``."""
    return " ".join(f"{key}={value}" for key, value in query_arguments.items())


def describe(problem: BaseException) -> str:
    """Return one line about an exception; unexpected ones with their type."""
    text = " ".join(str(problem).split())
    if isinstance(problem, LearnedIndexError) and text:
        return text
    return f"{type(problem).__name__}: {text}" if text else type(problem).__name__
