"""Load on a server of models: every answer is compared with what the model itself predicts.

Connections ask one text after the other, over HTTP on loopback. Meanwhile labels are added and
removed, another version takes the model's place, and a worker is killed. Each answer names the
version that gave it, and is compared with that version's own prediction, score by score. Printed:
requests a second, latencies, errors by status, wrong answers, acknowledged changes that were lost.
Ends with 1 where an answer is wrong, a change is lost, or a status comes that is not documented.

    python -m benchmarks.serve_load my-model --data my-data --seconds 60 --workers 2 --upset
    python -m benchmarks.serve_load my-model --data my-data --served '--threads 1'
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.served import Connection, Server
from learned_index.data import open_data
from learned_index.elias.answers import named_answers
from learned_index.elias.model import ELIAS
from learned_index.persistence import read_manifest
from learned_index.system.environment import describe_environment
from learned_index.system.threads import limit_threads

K = 10
DOCUMENTED = {429, 503, 504}
"""Statuses that a client must expect of a server under load."""


@dataclass
class Seen:
    """What the clients saw.

    Attributes:
        seconds: Of each request that was answered with 200.
        statuses: How often each status came.
        broken: Connections that ended without an answer, as those of a killed worker do.
        answers: Text, version and labels of each answer.
        cpu_s: Processor time of the server meanwhile; of a killed worker it is not known.
    """

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    broken: int = 0
    answers: list[tuple[int, str, bytes]] = field(default_factory=list)
    cpu_s: float = float("nan")


class Versions:
    """The versions that a model's directory has had, and what each of them answers."""

    def __init__(self, texts: list[str]) -> None:
        self._texts = texts
        self.answers: dict[str, list[bytes]] = {}

    def learn(self, directory: Path) -> str:
        """Predict with the model that lies in a directory; its version."""
        version = read_manifest(directory, kind=ELIAS.kind, verify=False).digest[:16]
        if version not in self.answers:
            model = ELIAS.from_pretrained(directory)
            result = model.search(self._texts, K)
            found = named_answers(model, result.ids, score=result.scores)
            self.answers[version] = [canonical(labels) for labels in found]
        return version

    def wrong(self, answers: list[tuple[int, str, bytes]]) -> int:
        """How many answers are not what the version that gave them predicts."""
        return sum(
            version not in self.answers or self.answers[version][text] != labels
            for text, version, labels in answers
        )


def canonical(labels: list[dict[str, Any]]) -> bytes:
    """Keys and scores of an answer, to compare."""
    return json.dumps([[each["key"], each["score"]] for each in labels]).encode()


async def asked(
    connection: Connection, texts: list[str], text: int
) -> tuple[int, float, list[tuple[int, str, bytes]]]:
    """Status and seconds of a search, and its answer if there is one: text, version, labels."""
    began = time.perf_counter()
    status, answer = await connection.ask("/v1/search", {"texts": [texts[text]], "k": K})
    seconds = time.perf_counter() - began
    if status != 200:
        return status, seconds, []
    found = json.loads(answer)
    return status, seconds, [(text, found["version"], canonical(found["answers"][0]))]


def served_arguments(parser: argparse.ArgumentParser, *, texts: int) -> None:
    """What is served, and what is asked: options of all that load a server."""
    parser.add_argument("model", type=Path, help="directory of a model; a copy is served")
    parser.add_argument("--data", required=True, help="data folder whose test texts are asked")
    parser.add_argument("--texts", type=int, default=texts, help="so many different texts")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument(
        "--served", type=shlex.split, default=[], metavar="OPTIONS", help="more options of li serve"
    )


async def client(port: int, texts: list[str], until: float, seen: Seen, seed: int) -> None:
    """Ask one text after the other until the time is over."""
    connection, chance = Connection(port), random.Random(seed)
    while time.monotonic() < until:
        text = chance.randrange(len(texts))
        try:
            status, seconds, answers = await asked(connection, texts, text)
        except ConnectionError:
            seen.broken += 1
            await asyncio.sleep(0.01)
            continue
        seen.statuses[status] += 1
        if answers:
            seen.seconds.append(seconds)
            seen.answers += answers
        else:
            await asyncio.sleep(0.05)  # as Retry-After asks, in short
    connection.close()


@dataclass
class Changes:
    """What was done to the model.

    Attributes:
        acknowledged: Keys of labels that were added, and whether each was removed again.
        versions: Copies of all versions, to predict with when the load is over.
        swaps: How often another version took the place.
        statuses: Of the requests for changes.
        killed: Workers.
        late: Answers by a version from before an acknowledged change, asked after it.
    """

    acknowledged: dict[str, bool] = field(default_factory=dict)
    versions: list[Path] = field(default_factory=list)
    swaps: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    killed: int = 0
    late: int = 0


async def upset(
    server: Server, texts: list[str], until: float, changes: Changes, copies: Path
) -> None:
    """Change labels one after the other; in the middle swap the version and kill a worker."""
    connection = Connection(server.port)
    bearer = f"Authorization: Bearer {server.token}\r\n"
    number, began = 0, time.monotonic()
    todo = {"swap": began + (until - began) / 3, "kill": began + 2 * (until - began) / 3}
    while time.monotonic() < until - 1:
        if time.monotonic() > todo.get("swap", until):
            todo.pop("swap")
            await asyncio.to_thread(_swap, server.model)
            changes.swaps += 1
            _keep(server.model, copies, changes)
        if time.monotonic() > todo.get("kill", until) and server.workers():
            todo.pop("kill")
            os.kill(server.workers()[0], signal.SIGKILL)
            changes.killed += 1
        key = f"load/{number}"
        number += 1
        added = {"labels": [{"key": key, "examples": [texts[number % len(texts)]]}]}
        for path, body in (("add", added), ("remove", {"labels": [key]})):
            try:
                status, answer = await connection.ask(f"/v1/labels/{path}", body, bearer)
            except ConnectionError:
                changes.statuses[0] += 1
                _keep(server.model, copies, changes)  # it may have been made, unacknowledged
                break
            changes.statuses[status] += 1
            if status != 200:
                break
            told = json.loads(answer)
            changes.acknowledged[key] = path == "remove"
            _keep(server.model, copies, changes)
            if told["everywhere"]:
                # On a connection of its own, so to any worker: it must know of the change.
                other = Connection(server.port)
                with suppress(ConnectionError):
                    _, answer = await other.ask("/v1/search", {"texts": texts[:1], "k": K})
                    changes.late += json.loads(answer)["version"] != told["version"]
                other.close()
            if path == "add" and number % 3 == 0:
                break  # this one stays
        await asyncio.sleep(0.2)
    connection.close()


def _swap(place: Path) -> None:
    """Let another version take the place of the served one, as any program may do."""
    from learned_index.persistence import path_lock

    with path_lock(place):
        model = ELIAS.from_pretrained(place)
        model.rename_labels({0: model.vocabulary.name(0) + " (swapped)"}).save_pretrained(
            place, overwrite=True
        )


def _keep(place: Path, copies: Path, changes: Changes) -> None:
    target = copies / str(len(changes.versions))
    # Hard links: what is replaced later stays as it was.
    shutil.copytree(place, target, copy_function=os.link)
    changes.versions.append(target)


async def _load(
    server: Server, texts: list[str], arguments: argparse.Namespace, copies: Path
) -> tuple[Seen, Changes, list[float]]:
    await Connection(server.port).ask("/v1/search", {"texts": texts[:1], "k": K})  # it is ready
    seen, changes, memory = Seen(), Changes(), []
    cpu_s = server.cpu_seconds()
    until = time.monotonic() + arguments.seconds
    tasks = [
        asyncio.create_task(client(server.port, texts, until, seen, number))
        for number in range(arguments.connections)
    ]
    if arguments.upset:
        tasks.append(asyncio.create_task(upset(server, texts, until, changes, copies)))
    while time.monotonic() < until:
        memory.append(server.resident_mb())
        await asyncio.sleep(min(5.0, max(arguments.seconds / 10, 0.5)))
    await asyncio.gather(*tasks)
    seen.cpu_s = server.cpu_seconds() - cpu_s
    return seen, changes, memory


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Start a server, load it, and compare all answers.

    Args:
        arguments: Of the command.
        folder: For copies of the model.
    """
    texts = asked_texts(arguments.data, arguments.texts)
    place, copies = folder / "model", folder / "copies"
    shutil.copytree(arguments.model, place)
    copies.mkdir()
    versions = Versions(texts)
    versions.learn(place)
    server = Server(place, arguments.workers, arguments.served)
    try:
        seen, changes, memory = asyncio.run(_load(server, texts, arguments, copies))
    finally:
        code = server.end()
    for copy in changes.versions:
        versions.learn(copy)
    kept = set(ELIAS.from_pretrained(place).vocabulary.keys)
    saved = ELIAS.from_pretrained(place)
    lost = sum(
        key not in kept or (gone and saved.vocabulary.id(key) not in saved.removed_labels)
        for key, gone in changes.acknowledged.items()
    )
    milliseconds = 1000 * np.percentile(seen.seconds or [float("nan")], [50, 95, 99])
    undocumented = sum(
        count for status, count in (seen.statuses + changes.statuses).items()
        if status not in {200, 0, *DOCUMENTED}
    )  # fmt: skip
    n_answers = max(len(seen.seconds), 1)
    expected_breaks = changes.killed * arguments.connections
    return {
        "workers": arguments.workers,
        "connections": arguments.connections,
        "seconds": arguments.seconds,
        "requests_per_s": round(len(seen.seconds) / arguments.seconds, 1),
        "ms_p50": round(float(milliseconds[0]), 2),
        "ms_p95": round(float(milliseconds[1]), 2),
        "ms_p99": round(float(milliseconds[2]), 2),
        "cpu_ms_per_request": None if changes.killed else round(1000 * seen.cpu_s / n_answers, 2),
        "statuses": dict(sorted(seen.statuses.items())),
        "broken_connections": seen.broken,
        "killed_workers": changes.killed,
        "wrong_answers": versions.wrong(seen.answers),
        "versions_that_answered": len({version for _, version, _ in seen.answers}),
        "acknowledged_changes": changes.statuses[200],
        "change_statuses": dict(sorted(changes.statuses.items())),
        "lost_changes": lost,
        "answers_before_an_acknowledged_change": changes.late,
        "swaps": changes.swaps,
        "undocumented": undocumented + max(seen.broken - expected_breaks, 0),
        "resident_mb": [round(value) for value in (memory[0], max(memory), memory[-1])],
        "exit_code": code,
    }


def asked_texts(data: str, most: int) -> list[str]:
    """The first texts of a data folder's test split; of its held-out one where there is none."""
    folder = open_data(data)
    split = "test" if "test" in folder.splits else "dev"
    return [text for text in folder.read(split).texts or [] if text.strip()][:most]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    served_arguments(parser, texts=500)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--upset", action="store_true", help="change labels, swap, kill a worker")
    arguments = parser.parse_args()
    with limit_threads(1), tempfile.TemporaryDirectory(prefix="serve-load-") as folder:
        found = measure(arguments, Path(folder))
    found["environment"] = describe_environment()
    text = json.dumps(found, indent=1)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    bad = ("wrong_answers", "lost_changes", "undocumented", "answers_before_an_acknowledged_change")
    sys.exit(any(found[name] for name in bad) or found["exit_code"] != 0)


if __name__ == "__main__":
    main()
