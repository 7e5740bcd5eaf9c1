"""Rows a second of the engines for many rows, with one worker and two, and with one that is killed.

    python -m benchmarks.batch_engines MODEL --data DIR --rows 20000 --engines local,ray,spark

MODEL is a compiled model (``li compile``), DIR a data folder whose test texts are asked, again and
again until there are enough rows. A worker has one thread. Timed is the work alone: clusters are
started, and every worker has opened the model for a few rows, before the clock starts; how long
that takes is told beside it. With ``--kill`` a worker is killed in the middle of a further run.
Counted are rows that are missing, rows that are there twice, and answers that are not the model's
own. (Ray gives its workers niceness 15; RAY_worker_niceness=0 is fair beside the others.)
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.served import below, children, cpu_ticks
from learned_index import ELIAS
from learned_index.cli.shared.common import errors_as_lines
from learned_index.data import open_data
from learned_index.data.predictions.points import BLOCK
from learned_index.errors import InputError
from learned_index.evaluation.predicting import Asked, answered
from learned_index.persistence import write_json
from learned_index.system.environment import describe_environment
from learned_index.system.threads import limit_threads

K = 10
Rows = list[tuple[int, list[str]]]
"""Number and labels of each row that came back."""
Run = tuple[float, float, Rows]
"""Seconds until all workers have opened the model, seconds of the work, rows."""


def local(model: Path, texts: list[str], workers: int, kill: bool) -> Run:
    """This process, with as many threads as there are workers, as ``li predict``."""
    opened = time.perf_counter()
    loaded = ELIAS.from_pretrained(model)
    with limit_threads(workers):
        loaded.predict(texts[:64], K)
        began = time.perf_counter()
        rows: Rows = []
        for number, block in enumerate(_blocks(texts)):
            rows += _named(loaded, number, answered(loaded, block, Asked(k=K)))
        return began - opened, time.perf_counter() - began, rows


def _blocks(texts: list[str]) -> Iterator[list[str]]:
    return (texts[start : start + BLOCK] for start in range(0, len(texts), BLOCK))


def _named(model: ELIAS, number: int, arrays: dict[str, Any]) -> Rows:
    """The rows of a block."""
    ids_BK = arrays["ids"]
    names = [model.vocabulary.names(ids[ids >= 0]) for ids in ids_BK]
    return list(enumerate(names, number * BLOCK))


def on_ray(model: Path, texts: list[str], workers: int, kill: bool) -> Run:
    """Actors of a cluster on this machine, a block at a time, as ``li predict --engine ray``."""
    import ray

    from learned_index.adapters.ray import ray_answers

    opened = time.perf_counter()
    loaded = ELIAS.from_pretrained(model)
    with ray_answers(model, Asked(k=K), workers=workers) as answering:
        actors = answering.actors
        ray.get([actor.answer.remote(texts[:64]) for actor in actors])
        process = ray.get(actors[-1].open.remote())
        began = time.perf_counter()
        rows: Rows = []
        for number, arrays in enumerate(answering(_blocks(texts))):
            rows += _named(loaded, number, arrays)
            if kill and number == 0:
                os.kill(process, signal.SIGKILL)
        ended = time.perf_counter()
        if kill and ray.get(actors[-1].open.options(max_task_retries=-1).remote()) == process:
            raise SystemExit("the worker has not died")
        return began - opened, ended - began, rows


def on_spark(model: Path, texts: list[str], workers: int, kill: bool) -> Run:
    """A local cluster of Spark with so many Python workers."""
    from pyspark.sql import SparkSession

    from learned_index.adapters.spark import with_labels

    opened = time.perf_counter()
    os.environ["PYSPARK_PYTHON"] = sys.executable
    session = (
        SparkSession.builder.master(f"local[{workers},4]")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", str(BLOCK))
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("OFF")
    try:
        table = session.createDataFrame(list(enumerate(texts)), "id long, text string")
        table = table.repartition(2 * workers).cache()
        table.count()
        # a part for each worker: with fewer, the others would open the model by the clock
        with_labels(table.limit(64).repartition(workers), model, k=K).collect()
        if kill:
            threading.Timer(1.0, _kill_python_worker).start()
        began = time.perf_counter()
        context = session.sparkContext
        context.setJobGroup("timed", "rows with labels")
        found = with_labels(table, model, k=K).select("id", "labels").collect()
        ended = time.perf_counter()
        if kill and not _failed_tasks(context, "timed"):
            raise SystemExit("no task has failed: the killed worker had none; ask for more rows")
        return began - opened, ended - began, [(row.id, list(row.labels)) for row in found]
    finally:
        session.stop()


def _failed_tasks(context: Any, group: str) -> int:
    """Tries of tasks that failed in the jobs of a group."""
    tracker = context.statusTracker()
    jobs = [tracker.getJobInfo(job) for job in tracker.getJobIdsForGroup(group)]
    stages = [tracker.getStageInfo(stage) for job in jobs if job for stage in job.stageIds]
    return sum(stage.numFailedTasks for stage in stages if stage)


def _kill_python_worker() -> None:
    """Kill the busiest of the processes that pyspark's daemon has forked: one that has a task."""
    workers = [
        worker
        for pid in below(os.getpid())
        if b"pyspark.daemon" in Path(f"/proc/{pid}/cmdline").read_bytes()
        for worker in children(pid)
    ]
    before = {worker: cpu_ticks(worker) for worker in workers}
    time.sleep(0.2)
    os.kill(max(workers, key=lambda worker: cpu_ticks(worker) - before[worker]), signal.SIGKILL)


ENGINES = {"local": local, "ray": on_ray, "spark": on_spark}


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--data", required=True, help="Data folder of texts.")
@click.option("--rows", default=20_000, show_default=True)
@click.option("--engines", default="local,ray,spark", show_default=True)
@click.option("--workers", default="1,2", show_default=True)
@click.option("--kill", is_flag=True, help="Kill a worker in a further run, with two workers.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="JSON file.")
def main(
    model: Path, data: str, rows: int, engines: str, workers: str, kill: bool, out: Path | None
) -> None:
    """Print the table."""
    with errors_as_lines():
        wanted = engines.split(",")
        if not set(wanted) <= set(ENGINES):
            raise InputError(f"--engines is {engines}, expected some of {','.join(ENGINES)}")
        some = [text for text in open_data(data).read("test").texts or [] if text.strip()]
        texts = (some * (rows // len(some) + 1))[:rows]
        loaded = ELIAS.from_pretrained(model)
        ids = answered(loaded, some, Asked(k=K))["ids"]
        right = [loaded.vocabulary.names(row[row >= 0]) for row in np.asarray(ids)]
        runs = [(name, int(n), False) for name in wanted for n in workers.split(",")]
        runs += [(name, 2, True) for name in wanted if kill and name != "local"]
        click.echo(
            "| engine | workers | ready after s | rows/s | missing | twice | wrong |\n"
            "|---|---|---|---|---|---|---|"
        )
        told = []
        for name, n, kills in runs:
            ready, seconds, found = ENGINES[name](model, texts, n, kills)
            numbers = [number for number, _ in found]
            wrong = sum(labels != right[number % len(some)] for number, labels in found)
            one = {
                "engine": name + ", a worker killed" * kills,
                "workers": n,
                "ready_s": round(ready, 1),
                "rows_per_s": round(len(texts) / seconds),
                "missing": len(set(range(len(texts))) - set(numbers)),
                "twice": len(numbers) - len(set(numbers)),
                "wrong": wrong,
            }
            told.append(one)
            click.echo("| " + " | ".join(map(str, one.values())) + " |")
        if out is not None:
            write_json(out, {"runs": told, "environment": describe_environment()})
        if any(each[name] for each in told for name in ("missing", "twice", "wrong")):
            raise SystemExit(1)


if __name__ == "__main__":
    main()
