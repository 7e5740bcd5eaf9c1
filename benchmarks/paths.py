"""Latency of an engine with and without AVX-512, in one run.

    python benchmarks/paths.py --random 131072,384 --out results/paths.json
    python benchmarks/paths.py --model MODEL --data DIR

Each path is compiled and measured in processes of its own, in turns: as the processor allows, and
as processors with AVX2 alone run it. Shown are the lowest times of the rounds, and how many queries
found other labels.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from floors import median_us
from footprint import random_engine
from loading import add_model_arguments, engine_and_queries
from threads import batch_throughput

from learned_index.engine.search_engine import SearchEngine
from learned_index.kernels.machine.byte_dots import PORTABLE
from learned_index.persistence import atomic_file, write_json
from learned_index.system.environment import describe_environment
from learned_index.system.threads import limit_threads

ROUNDS = 3
PATHS = {"native": {}, "portable": PORTABLE}


def measure(engine: SearchEngine, queries: np.ndarray, k: int) -> dict[str, Any]:
    """Measure this process's path."""
    with limit_threads(1):
        found = engine.search(queries, k)
        return {
            "single_us": median_us(engine, queries, k, {}),
            "batch_us": 1e6 / batch_throughput(engine, queries, k, 1),
            "ids": found.ids.tolist(),
            "environment": describe_environment(),
        }


def in_process(path: str, folder: Path, k: int) -> dict[str, Any]:
    """Run :func:`measure` in a process that compiles for one path."""
    command = [sys.executable, __file__, "--saved", str(folder), "-k", str(k)]
    environment = {n: v for n, v in os.environ.items() if n not in PORTABLE} | PATHS[path]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main(arguments: list[str] | None = None) -> int:
    """Measure both paths and print a table; the exit code is 1 if they found other labels."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_model_arguments(parser, queries=2000, required=False)
    parser.add_argument("--random", metavar="L,D", help="an engine of this shape")
    parser.add_argument("-k", type=int, default=100)
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--saved", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.saved is not None:
        queries = np.load(chosen.saved / "queries.npy", allow_pickle=False)
        engine = SearchEngine.from_pretrained(chosen.saved / "engine")
        json.dump(measure(engine, queries, chosen.k), sys.stdout)
        return 0
    if chosen.random is not None:
        n_labels, dim = (int(part) for part in chosen.random.split(","))
        engine = random_engine(n_labels, dim, chosen.precision)
        queries = np.random.default_rng(1).standard_normal((chosen.queries, dim), np.float32)
    elif chosen.model is not None and chosen.data is not None:
        engine, queries = engine_and_queries(chosen)
    else:
        parser.error("give --model and --data, or --random L,D")
    rounds: dict[str, list[dict[str, Any]]] = {path: [] for path in PATHS}
    with tempfile.TemporaryDirectory() as name:
        engine.save_pretrained(Path(name) / "engine")
        np.save(Path(name) / "queries.npy", queries)
        for _ in range(ROUNDS):
            for path, measured in rounds.items():
                measured.append(in_process(path, Path(name), chosen.k))
    result = summary(rounds) | {"engine": repr(engine), "k": chosen.k}
    print(result["engine"] + "\n\n| path | kernels for | single us | batch us a query |")
    print("|---|---|---|---|")
    for row in result["rows"]:
        print("| {path} | {kernels} | {single_us:.1f} | {batch_us:.1f} |".format(**row))
    print(f"\nqueries with other labels: {result['queries_that_differ']} of {len(queries)}")
    if chosen.out is not None:
        with atomic_file(chosen.out) as temporary:
            write_json(temporary, result)
    return int(result["queries_that_differ"] > 0)


def summary(rounds: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Lowest times of each path, and how many queries differ in their labels."""
    rows = []
    for path, measured in rounds.items():
        row: dict[str, Any] = {"path": path}
        row["kernels"] = measured[0]["environment"]["instructions"]["kernels"]
        for name in ("single_us", "batch_us"):
            row[name] = min(each[name] for each in measured)
        rows.append(row)
    ids = [np.array(measured[0].pop("ids")) for measured in rounds.values()]
    return {
        "rows": rows,
        "queries_that_differ": int((ids[0] != ids[1]).any(axis=1).sum()),
        "environment": next(iter(rounds.values()))[0]["environment"],
    }


if __name__ == "__main__":
    sys.exit(main())
