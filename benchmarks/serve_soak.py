"""A server of models for an hour: does its memory stay, while labels change all the time?

Connections ask at a steady rate. Every minute a label is added from examples, renamed, removed, or
a text is learned (a compiled model refuses that with 409), in turn: each makes a new version, which
all workers load. Each answer is compared, score by score, with what the version that gave it
predicts without a server. Memory of the parent and of every worker is sampled; told is the slope in
MB an hour of the means between two changes, after a warm-up, with its 95 % interval (Student's t of
a least-squares line). The file of results is written anew at every change. Ends with 1 where an
answer is wrong, a status comes that is not documented, or a change that was acknowledged is lost.

    python -m benchmarks.serve_soak my-model --data my-data --minutes 60 --workers 2 --rate 75 \
        --out soak.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.serve_load import (
    DOCUMENTED,
    K,
    Versions,
    asked,
    asked_texts,
    served_arguments,
)
from benchmarks.served import Connection, Server
from learned_index.elias.model import ELIAS
from learned_index.persistence.atomic import write_result
from learned_index.system.environment import describe_environment
from learned_index.system.threads import limit_threads

KINDS = ("add", "rename", "remove", "learn")
_SAMPLE_S = 10.0
_LEAST_MEANS = 3


@dataclass
class Soaked:
    """What was seen so far.

    Attributes:
        began: Seconds of ``time.monotonic``.
        seconds: Of each request that was answered with 200.
        statuses: How often each status came.
        broken: Connections that ended without an answer.
        wrong: Answers that differ from the prediction.
        compared: Answers that were compared.
        waiting: Answers of versions that were not predicted with yet: text, version, labels.
        changes: Statuses of changes, by kind.
        lost: Acknowledged changes that the model of the end does not have.
        samples: Time in seconds, then memory in MB by process, as :meth:`Server.memory_mb`.
        changed: Time in seconds of each change that was acknowledged.
    """

    began: float
    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    broken: int = 0
    wrong: int = 0
    compared: int = 0
    waiting: list[tuple[int, str, bytes]] = field(default_factory=list)
    changes: dict[str, Counter[int]] = field(default_factory=lambda: {k: Counter() for k in KINDS})
    lost: int = 0
    samples: list[tuple[float, dict[int, dict[str, float]]]] = field(default_factory=list)
    changed: list[float] = field(default_factory=list)

    def compare(self, versions: Versions) -> None:
        """Compare the answers of versions that are known; the others wait."""
        known = [each for each in self.waiting if each[1] in versions.answers]
        self.waiting = [each for each in self.waiting if each[1] not in versions.answers]
        self.compared += len(known)
        self.wrong += versions.wrong(known)


async def client(port: int, texts: list[str], until: float, seen: Soaked, *,
                 every_s: float, seed: int) -> None:  # fmt: skip
    """Ask a text every so many seconds; one that is late asks at once."""
    connection, chance = Connection(port), np.random.default_rng(seed)
    due = time.monotonic() + every_s * chance.random()
    while due < until:
        await asyncio.sleep(max(due - time.monotonic(), 0))
        due = max(due + every_s, time.monotonic() - every_s)
        text = int(chance.integers(len(texts)))
        try:
            status, seconds, answers = await asked(connection, texts, text)
        except ConnectionError:
            seen.broken += 1
            continue
        seen.statuses[status] += 1
        seen.seconds += [seconds] * len(answers)
        seen.waiting += answers
    connection.close()


def asked_change(kind: str, number: int, texts: list[str], names: list[str]) -> tuple[str, Any]:
    """Path and body of a change; a label lives for three of them, and so changes never run out."""
    key = f"soak/{number // len(KINDS)}"
    text = texts[number % len(texts)]
    return {
        "add": ("/v1/labels/add", {"labels": [{"key": key, "examples": [text]}]}),
        "rename": ("/v1/labels/rename", {"names": {key: f"{key} (renamed)"}}),
        "remove": ("/v1/labels/remove", {"labels": [key]}),
        "learn": ("/v1/learn", {"text": text, "labels": names[number % len(names)]}),
    }[kind]


async def change(server: Server, texts: list[str], until: float, seen: Soaked, versions: Versions,
                 arguments: argparse.Namespace) -> None:  # fmt: skip
    """Change something every minute, learn what the new version predicts, write the results."""
    model = ELIAS.from_pretrained(server.model)
    names, learns = [[key] for key in model.vocabulary.keys[:100]], not model.engines()
    documented = {*DOCUMENTED, 200, *(() if learns else (409,))}
    del model
    number, due = 0, time.monotonic()
    bearer = f"Authorization: Bearer {server.token}\r\n"
    while (due := due + arguments.every) < until:
        await asyncio.sleep(max(due - time.monotonic(), 0))
        kind = KINDS[number % len(KINDS)]
        path, body = asked_change(kind, number, texts, names)
        number += 1
        connection = Connection(server.port)  # a new one for each: to any worker
        status, answer = await connection.ask(path, body, bearer)
        connection.close()
        seen.changes[kind][status] += 1
        if status not in documented:
            raise SystemExit(f"{kind} was answered with {status}: {answer!r:.200}")
        if status == 200:
            seen.changed.append(time.monotonic() - seen.began)
            version = await asyncio.to_thread(versions.learn, server.model)
            seen.lost += version != json.loads(answer)["version"]
        seen.compare(versions)
        for old in list(versions.answers)[:-2]:  # nobody answers by these any more
            if not any(waits[1] == old for waits in seen.waiting):
                del versions.answers[old]
        write(arguments, told(seen, arguments, done=False))


async def sample(server: Server, until: float, seen: Soaked) -> None:
    """Look at the memory all the time."""
    while time.monotonic() < until:
        seen.samples.append((time.monotonic() - seen.began, server.memory_mb()))
        await asyncio.sleep(_SAMPLE_S)


def slope(times_s: np.ndarray, mb: np.ndarray, edges_s: np.ndarray) -> dict[str, Any] | None:
    """MB an hour of the means between edges, with a 95 % interval; None: there are too few."""
    place = np.searchsorted(edges_s, times_s)
    means = np.array(
        [(times_s[place == p].mean() / 3600, mb[place == p].mean()) for p in np.unique(place)]
    )
    if len(means) < _LEAST_MEANS:
        return None
    hours, mean = (means - means.mean(axis=0)).T
    rise = float(hours @ mean / (hours @ hours))
    # Not linregress, which knows no error of values that are all equal.
    error = np.sqrt(((mean - rise * hours) ** 2).sum() / (len(means) - 2) / (hours @ hours))
    half = float(stats.t.ppf(0.975, len(means) - 2) * error)
    interval = [round(rise - half, 2), round(rise + half, 2)]
    return {
        "mb_an_hour": round(rise, 2), "interval_95": interval, "means": len(means),
        "first_mb": round(means[0, 1], 1), "last_mb": round(means[-1, 1], 1),
        "most_mb": round(float(mb.max()), 1),
    }  # fmt: skip


def told(seen: Soaked, arguments: argparse.Namespace, *, done: bool) -> dict[str, Any]:
    """The results so far."""
    elapsed = time.monotonic() - seen.began
    p50, p95, p99 = 1000 * np.percentile(seen.seconds or [float("nan")], [50, 95, 99])
    warm = [each for each in seen.samples if each[0] >= 60 * arguments.warm_up]
    # Workers by the order of their ids: none of them is meant to die.
    pids = sorted({pid for _, memory in seen.samples for pid in memory})
    names = {pid: f"worker {n}" if n else "parent" for n, pid in enumerate(pids)}
    edges = np.array(seen.changed)
    slopes: dict[str, Any] = {}
    for kind in ("rss", "pss", "anonymous", "own"):
        for who in ("all", *names.values()):
            rows = [
                (t, sum(m[kind] for pid, m in memory.items() if who in ("all", names[pid])))
                for t, memory in warm
            ]
            if rows:
                slopes[f"{kind} of {who}"] = slope(*np.array(rows).T, edges)
    return {
        "done": done,
        "minutes": round(elapsed / 60, 1),
        "workers": arguments.workers, "processes_seen": len(pids),
        "asked_per_s": arguments.rate,
        "requests_per_s": round(len(seen.seconds) / elapsed, 1),
        "ms_p50": round(float(p50), 2), "ms_p95": round(float(p95), 2),
        "ms_p99": round(float(p99), 2),
        "statuses": dict(seen.statuses), "broken_connections": seen.broken,
        "changes": {kind: dict(counts) for kind, counts in seen.changes.items()},
        "lost_changes": seen.lost,
        "compared_answers": seen.compared, "wrong_answers": seen.wrong,
        "answers_of_unknown_versions": len(seen.waiting),
        "warm_up_minutes": arguments.warm_up,
        "slopes": slopes,
        "memory_mb": [
            {"seconds": round(t), **{names[pid]: {k: round(v, 1) for k, v in m.items()}
                                     for pid, m in memory.items()}}
            for t, memory in seen.samples
        ],
    }  # fmt: skip


def write(arguments: argparse.Namespace, found: dict[str, Any]) -> None:
    """Write the results, if they are wanted as a file."""
    if arguments.out is not None:
        write_result(arguments.out, {**found, "environment": describe_environment()})


async def soak(server: Server, texts: list[str], versions: Versions, seen: Soaked,
               arguments: argparse.Namespace) -> None:  # fmt: skip
    """Ask, change and look, until the time is over."""
    until = seen.began + 60 * arguments.minutes
    every_s = arguments.connections / arguments.rate
    async with asyncio.TaskGroup() as tasks:
        for seed in range(arguments.connections):
            asking = client(server.port, texts, until, seen, every_s=every_s, seed=seed)
            tasks.create_task(asking)
        tasks.create_task(sample(server, until, seen))
        tasks.create_task(change(server, texts, until, seen, versions, arguments))


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    served_arguments(parser, texts=200)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--warm-up", type=float, default=10, help="minutes before the slope begins")
    parser.add_argument("--every", type=float, default=60, help="seconds from change to change")
    parser.add_argument("--rate", type=float, default=75, help="requests a second, of all together")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    texts = asked_texts(arguments.data, arguments.texts)
    with limit_threads(1), tempfile.TemporaryDirectory(prefix="serve-soak-") as folder:
        place = Path(folder) / "model"
        shutil.copytree(arguments.model, place)
        versions = Versions(texts)
        versions.learn(place)
        server = Server(place, arguments.workers, arguments.served)
        asyncio.run(Connection(server.port).ask("/v1/search", {"texts": texts[:1], "k": K}))
        seen = Soaked(time.monotonic())
        try:
            asyncio.run(soak(server, texts, versions, seen, arguments))
        finally:
            code = server.end()
        versions.learn(place)
        seen.compare(versions)
    found = {**told(seen, arguments, done=True), "exit_code": code}
    write(arguments, found)
    print(json.dumps({key: value for key, value in found.items() if key != "memory_mb"}, indent=1))
    undocumented = [status for status in seen.statuses if status not in {200, *DOCUMENTED}]
    bad = seen.wrong or seen.lost or seen.broken or seen.waiting or undocumented or code
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
