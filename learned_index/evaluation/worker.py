"""Measure one method: build it, search at every setting, time it. Runs in its own process."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from learned_index.errors import LearnedIndexError
from learned_index.evaluation.environment import peak_rss_mb
from learned_index.evaluation.method import Method, MethodSpec, ModelLoader
from learned_index.evaluation.threads import limit_threads
from learned_index.evaluation.timing import batch_throughput, latency_summary, single_latencies
from learned_index.evaluation.workspace import Workspace, make_lift
from learned_index.persistence import read_json, write_json


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
        latency_queries: Single queries timed at least.
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


BUILD_SHARE = 0.5
"""Part of a method's progress that stands for building."""
SATURATED = 2
"""A sweep ends early when this many settings in a row changed nothing: the rest would only take
longer to find the same."""


def measure_method(job: Job, notify: Callable[[Notice], None]) -> None:
    """Measure one method and write ``job.report`` and its answers into the workspace."""
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
    settings: list[dict[str, Any]] = []
    grid = list(method.query_grid())
    repeats = 0
    for number, arguments in enumerate(grid):
        done = BUILD_SHARE + (1 - BUILD_SHARE) * number / len(grid)
        notify(Notice(done, " ".join(f"{key}={value}" for key, value in arguments.items())))
        measured = _measure_setting(job, method, workspace, arguments, number)
        settings.append({"query_arguments": arguments, **measured})
        same = number > 0 and _same_answers(
            workspace, job.ids_name(number - 1), job.ids_name(number)
        )
        repeats = repeats + 1 if same else 0
        if repeats == SATURATED:
            break
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


def _same_answers(workspace: Workspace, left: str, right: str) -> bool:
    """Tell whether at least 999 of 1000 places hold the same label."""
    return bool(np.mean(workspace.load(left) == workspace.load(right)) >= 0.999)


def _build_data(job: Job, workspace: Workspace) -> tuple[Any, ...]:
    if job.spec.inputs == "classifiers":
        return (workspace.load("items"),)
    if job.spec.inputs == "training":
        return (workspace.load("train_embeddings"), workspace.load_labels())
    return (job.loader(),)


def _measure_setting(
    job: Job, method: Method, workspace: Workspace, arguments: dict[str, Any], number: int
) -> dict[str, float]:
    if job.spec.inputs == "classifiers":
        lift, source = make_lift(workspace)
    else:
        source = np.array(workspace.load("queries"))

        def lift(queries_BD: Any) -> Any:
            return queries_BD

    def search_rows(rows: slice) -> Any:
        return method.search(lift(source[rows]), job.k, **arguments).ids

    def search_one(query: int) -> Any:
        return search_rows(slice(query, query + 1))

    with limit_threads(job.threads):
        qps, answers = batch_throughput(search_rows, len(source), batch_size=job.batch_size)
    workspace.save(job.ids_name(number), np.concatenate(answers).astype(np.int64))
    order = np.random.default_rng(job.seed).permutation(len(source)).tolist()
    with limit_threads(1):
        times = single_latencies(search_one, order, at_least=job.latency_queries)
    return {"qps": qps, **latency_summary(times)}


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
