"""``li serve`` beside the usual way: FastAPI, a sentence-transformer and FAISS's HNSW, in one run.

    li embed --data my-data --encoder minilm:64 --out vectors
    python -m benchmarks.served_usual my-model --data my-data --vectors vectors --tokens 64

Each server in turn, on loopback, asked by as many connections for the ten best labels of one text
after the other. R@10 is that of all test texts, asked from the same model without a server. The
usual way has its vectors from MiniLM (``benchmarks/usual_app.py``), of labels or of records.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import httpx2
import numpy as np

from benchmarks.served import Connection, Server, told_port
from benchmarks.usual_app import DONE, FOLDER, Items, Usual, prepare
from learned_index import ELIAS
from learned_index.data import Dataset, open_data
from learned_index.data.naming import renumbered
from learned_index.metrics import evaluate
from learned_index.persistence import write_result
from learned_index.persistence.digest import data_digest, digest
from learned_index.system.environment import describe_environment
from learned_index.types import PAD_ID

K = 10


async def load(port: int, path: str, texts: list[str], connections: int, seconds: float) -> Any:
    """Seconds that each request took; every one must be answered with 200."""
    taken: list[float] = []
    until = time.monotonic() + seconds

    async def client(seed: int) -> None:
        connection, chance = Connection(port), random.Random(seed)
        while time.monotonic() < until:
            body = {"texts": [chance.choice(texts)], "k": K}
            began = time.perf_counter()
            status, answer = await connection.ask(path, body)
            if status != 200:
                raise SystemExit(f"the server answered {status}: {answer!r:.200}")
            taken.append(time.perf_counter() - began)
        connection.close()

    await Connection(port).ask(path, {"texts": texts[:1], "k": K})
    await asyncio.gather(*(client(number) for number in range(connections)))
    return np.array(taken)


def told(taken: Any, seconds: float, ids: Any, labels: Any) -> dict[str, float]:
    """Requests a second, latencies, and recall of the answers."""
    p50, p95, p99 = 1000 * np.percentile(taken, [50, 95, 99])
    found = evaluate(ids, labels, propensities=np.ones(labels.shape[1]), ks=(1,), recall_ks=(K,))
    return {
        "requests_per_s": len(taken) / seconds, "ms_p50": p50, "ms_p95": p95, "ms_p99": p99,
        "P@1": found["P@1"], "R@10": found["R@10"],
    }  # fmt: skip


def ours(arguments: argparse.Namespace, texts: list[str], test: Dataset) -> dict[str, float]:
    """``li serve``."""
    model = ELIAS.from_pretrained(arguments.model)
    ids, labels = model.search(texts, K).ids, renumbered(model.vocabulary, test)[: len(texts)]
    server = Server(arguments.model, 1, [])
    try:
        taken = _loaded(server.port, "/v1/search", texts, arguments)
    finally:
        server.end()
    return told(taken, arguments.seconds, ids, labels)


def usual(arguments: argparse.Namespace, items: Items, train: Any, texts: list[str], labels: Any,
          folder: Path) -> dict[str, float]:  # fmt: skip
    """The usual way, with items of one kind."""
    x = np.load(arguments.vectors / "train.npy", mmap_mode="r")
    y = train.labels
    # Graphs that are there are used again, of these very vectors and labels alone.
    made_of = digest([items, arguments.tokens, data_digest(x, y.indptr, y.indices)])
    folder = folder / made_of[:16]
    if not (folder / DONE).exists():
        prepare(folder, items, x, y, arguments.tokens)
    answers = Usual(folder).search(texts, K)
    ids = np.full((len(texts), K), PAD_ID, np.int64)
    for row, answer in enumerate(answers):
        ids[row, : len(answer)] = [label for label, _ in answer]
    command = [
        sys.executable, "-m", "uvicorn", "benchmarks.usual_app:make", "--factory", "--port", "0",
    ]  # fmt: skip
    environment = {**os.environ, FOLDER: str(folder)}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stderr=log, stdout=log, env=environment)
        try:
            port = told_port(process, log, "running on http://127.0.0.1:")
            httpx2.get(f"http://127.0.0.1:{port}/openapi.json").raise_for_status()
            taken = _loaded(port, "/search", texts, arguments)
        finally:
            process.terminate()
            process.wait(60)
    return told(taken, arguments.seconds, ids, labels)


def _loaded(port: int, path: str, texts: list[str], arguments: argparse.Namespace) -> Any:
    some = [text for text in texts if text.strip()][:500]
    return asyncio.run(load(port, path, some, arguments.connections, arguments.seconds))


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--vectors", type=Path, required=True, help="folder with train.npy")
    parser.add_argument("--tokens", type=int, default=64, help="what those were made of")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--texts", type=int, help="test texts that are asked; default: all")
    parser.add_argument(
        "--graphs",
        type=Path,
        help="folder for the usual way's graphs, used again if they are there",
    )
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args()
    folder = open_data(arguments.data)
    train, test = folder.read("train"), folder.read("test")
    texts, labels = list(test.texts)[: arguments.texts], test.labels[: arguments.texts]
    ways: dict[str, Callable[[Path], dict[str, float]]] = {
        "li serve": lambda _: ours(arguments, texts, test)
    }
    for items in get_args(Items):
        ways[f"FastAPI, MiniLM, HNSW over {items}"] = lambda place, items=items: usual(
            arguments, items, train, texts, labels, place
        )
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="served-usual-") as place:
        for number, (name, measure) in enumerate(ways.items()):
            rows[name] = values = measure((arguments.graphs or Path(place)) / str(number))
            if number == 0:
                print(f"| | {' | '.join(values)} |\n|{'---|' * (1 + len(values))}")
            row = " | ".join(f"{value:.1f}" for value in values.values())
            print(f"| {name} | {row} |", flush=True)
            if arguments.out is not None:
                write_result(arguments.out, {"rows": rows, "environment": describe_environment()})


if __name__ == "__main__":
    main()
