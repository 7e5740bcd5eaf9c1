"""Measure one method: build it, search at every setting, time it. Runs in its own process."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from learned_index.comparison.method import Method, MethodSpec, ModelLoader
from learned_index.comparison.workspace import Workspace
from learned_index.errors import LearnedIndexError
from learned_index.persistence import read_json, write_json
from learned_index.system.memory import peak_rss_mb
from learned_index.system.threads import limit_threads
from learned_index.system.timing import (
    batch_slices,
    batch_throughput,
    latency_summary,
    median_and_spread,
    single_latencies,
)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a measuring process is told.

    Attributes:
        spec: The method.
        number: Number of the method; names its files in the workspace.
        folder: The workspace.
        loader: Loads the trained index, for the methods that are built from it.
        k: Labels asked for in every search.
        threads: Threads for building and for batches.
        batch_size: Queries per batch.
        latency_queries: Single queries timed at least, in each repetition.
        repeats: Repetitions of the timing.
        timing_s: Seconds of each.
        seed: Seed of the order in which single queries come.
    """

    spec: MethodSpec
    number: int
    folder: Path
    loader: ModelLoader
    k: int
    threads: int
    batch_size: int
    latency_queries: int
    repeats: int
    timing_s: float
    seed: int

    @property
    def report(self) -> Path:
        """File into which the measurements are written."""
        return self.folder / f"method{self.number}.json"

    def ids_name(self, setting: int) -> str:
        """Name of the array that holds the answers at one setting."""
        return f"method{self.number}_ids{setting}"


class Notice(NamedTuple):
    """A sign of life of a measuring process.

    Attributes:
        share: Part of the method's work done, 0 to 1.
        text: What it does, a few words.
    """

    share: float
    text: str


BUILD_SHARE = 0.4
"""Part of a method's progress that stands for building."""
TIMING_FROM = 0.6
"""Part of a method's progress after which it is timed."""
SATURATED = 2
"""A sweep ends early when this many settings in a row changed nothing: the rest would only take
longer to find the same."""


def measure_method(job: Job, notify: Callable[[Notice], None]) -> None:
    """Measure one method and write ``job.report`` and its answers into the workspace.

    First every setting answers all queries, then all settings are timed, and this ``repeats``
    times over: a machine that is slow for a minute slows one repetition of each, not all
    repetitions of one.
    """
    workspace = Workspace(job.folder)
    method = job.spec.create()
    method.progress = lambda share, text: notify(Notice(BUILD_SHARE * share, text))
    notify(Notice(0.0, "building"))
    with limit_threads(job.threads):
        data = _build_data(job, workspace)
        start = time.perf_counter()
        method.build(*data)
        build_s = time.perf_counter() - start
    del data
    queries = workspace.queries(job.spec.inputs)
    n_queries = queries.shape[0]
    rows = method.prepare_queries(queries)
    # Cut beforehand: to cut out rows of a sparse matrix takes time that is not the method's.
    batches = [rows[part] for part in batch_slices(n_queries, job.batch_size)]
    settings: list[dict[str, Any]] = []
    with limit_threads(job.threads):
        for number, arguments in _sweep(job, method, workspace, notify):
            search = method.bind(job.k, **arguments).batch
            found = [method.ids_of(search(batch)) for batch in batches]
            ids = np.concatenate([_padded(part, job.k) for part in found])
            workspace.save(job.ids_name(number), ids)
            settings.append({"query_arguments": arguments})
    order = np.random.default_rng(job.seed).permutation(n_queries).tolist()
    singles = method.split_queries(rows)
    singles = [singles[query] for query in order]
    timed: list[list[dict[str, float]]] = [[] for _ in settings]
    for repeat in range(job.repeats):
        for number, setting in enumerate(settings):
            done = (repeat * len(settings) + number) / (job.repeats * len(settings))
            text = f"{_text(setting['query_arguments'])}, timing {repeat + 1} of {job.repeats}"
            notify(Notice(TIMING_FROM + (1 - TIMING_FROM) * done, text))
            timed[number].append(_time(job, method, batches, singles, setting["query_arguments"]))
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


def _sweep(
    job: Job, method: Method, workspace: Workspace, notify: Callable[[Notice], None]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the settings worth measuring, numbered; the caller answers each before the next.

    Settings that differ in the last argument only form a sweep, which ends early when its answers
    no longer change.
    """
    grid = list(method.query_grid())
    number = unchanged = 0
    earlier: list[Any] = []
    for place, arguments in enumerate(grid):
        outer = list(arguments.values())[:-1]
        if place == 0 or outer != earlier:
            unchanged, begun = 0, number
        earlier = outer
        if unchanged == SATURATED:
            continue
        done = BUILD_SHARE + (TIMING_FROM - BUILD_SHARE) * place / len(grid)
        notify(Notice(done, _text(arguments)))
        yield number, arguments
        same = number > begun and _same_answers(
            workspace, job.ids_name(number - 1), job.ids_name(number)
        )
        unchanged = unchanged + 1 if same else 0
        number += 1


def _text(arguments: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in arguments.items())


def _padded(ids_BK: Any, k: int) -> npt.NDArray[np.int64]:
    """Return ids as int64 B x k, -1 where nothing was found."""
    found = np.maximum(np.asarray(ids_BK, dtype=np.int64), -1)
    return np.pad(found, ((0, 0), (0, k - found.shape[1])), constant_values=-1)


def _time(
    job: Job,
    method: Method,
    batches: list[Any],
    singles: list[Any],
    arguments: dict[str, Any],
) -> dict[str, float]:
    """Time one setting once: batches on all threads, then single queries on one."""
    with limit_threads(job.threads):
        search = method.bind(job.k, **arguments).batch
        qps = batch_throughput(
            lambda part: search(batches[part.start // job.batch_size]),
            batch_slices(len(singles), job.batch_size),
            at_least_s=job.timing_s / 3,
            at_most_s=2 * job.timing_s,
        )
    with limit_threads(1):
        one = method.bind(job.k, **arguments).one
        times = single_latencies(one, singles, at_least=job.latency_queries, budget_s=job.timing_s)
    return {"qps": qps, **latency_summary(times)}


def _medians(repeated: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the median over repetitions of each value, and how far the main two spread."""
    result = {key: float(np.median([one[key] for one in repeated])) for key in repeated[0]}
    for key, name in (("latency_ms_p50", "latency_spread"), ("qps", "qps_spread")):
        result[name] = median_and_spread([one[key] for one in repeated])[1]
    return result


def _same_answers(workspace: Workspace, left: str, right: str) -> bool:
    """Tell whether at least 999 of 1000 places hold the same label."""
    return bool(np.mean(workspace.load(left) == workspace.load(right)) >= 0.999)


def _build_data(job: Job, workspace: Workspace) -> tuple[Any, ...]:
    if job.spec.inputs == "classifiers":
        return (workspace.load("items"),)
    if job.spec.inputs == "classifiers+queries":
        return (workspace.load("items"), workspace.load("train_lifted"))
    if job.spec.inputs == "training":
        return (workspace.load("train_embeddings"), workspace.load_sparse("train_labels"))
    if job.spec.inputs == "points":
        return (workspace.load_sparse("train_features"), workspace.load_sparse("train_labels"))
    return (job.loader(),)


def run_job(job: Job, *, isolate: bool, notify: Callable[[Notice], None]) -> dict[str, Any]:
    """Measure one method and return its report, or ``{"error": ...}``.

    Args:
        job: What to measure.
        isolate: Measure in a process of its own, so that peak memory is the method's.
        notify: Called with each notice.
    """
    if isolate:
        error = _run_in_process(job, notify)
    else:
        try:
            measure_method(job, notify)
            error = None
        except Exception as problem:  # a method that fails must not stop the others
            error = describe(problem)
    if error is not None:
        return {"error": error}
    report: dict[str, Any] = read_json(job.report)
    return report


def _run_in_process(job: Job, notify: Callable[[Notice], None]) -> str | None:
    """Run the job in a spawned process; return what went wrong, or None."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child_main, args=(job, sender), daemon=True)
    error: str | None = None
    try:
        process.start()
        sender.close()
        while True:
            try:
                message = receiver.recv()
            except EOFError:  # the child has ended, or was killed
                break
            if isinstance(message, Notice):
                notify(message)
            else:
                error = str(message)
        process.join()
    finally:
        if process.is_alive():  # Ctrl-C here: the child ignores it and is ended by us
            process.terminate()
            process.join()
        receiver.close()
    if error is None and (process.exitcode != 0 or not job.report.exists()):
        code = process.exitcode
        hint = " (killed; out of memory?)" if code == -signal.SIGKILL else ""
        return f"the measuring process ended with exit code {code}{hint}"
    return error


def _child_main(job: Job, sender: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        measure_method(job, sender.send)
    except Exception as problem:
        sender.send(describe(problem))
    finally:
        sender.close()
        sys.stderr.flush()


def describe(problem: BaseException) -> str:
    """Return one line about an exception; unexpected ones with their type."""
    text = " ".join(str(problem).split())
    if isinstance(problem, LearnedIndexError) and text:
        return text
    return f"{type(problem).__name__}: {text}" if text else type(problem).__name__
