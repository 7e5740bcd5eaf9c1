"""Many threads searching one engine at once: right answers, and throughput that grows with cores.

    python benchmarks/threads.py --model MODEL --data DIR --threads 1,2,4 --out results/threads.json

Each thread searches single queries of one shared engine in an order of its own and compares every
answer with that of a search alone. Python runs one thread at a time outside the compiled search, so
single queries scale a little worse than cores; batches of 256, split inside, are shown beside them.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from loading import add_model_arguments, engine_and_queries

from learned_index.engine.search_engine import SearchEngine
from learned_index.persistence import write_result
from learned_index.system.environment import describe_environment
from learned_index.system.threads import available_cpus, limit_threads

ROUNDS = 21


def throughput(
    engine: SearchEngine, queries: np.ndarray, expected: np.ndarray, k: int, n_threads: int
) -> tuple[float, int]:
    """Single queries per second of all threads together, and how many answers were wrong."""
    rows = [queries[i : i + 1] for i in range(len(queries))]
    answers = np.empty((n_threads, *expected.shape), np.int64)
    ready = threading.Barrier(n_threads + 1)

    def work(number: int) -> None:
        order = np.random.default_rng(number).permutation(len(rows)).tolist()
        out = answers[number]
        ready.wait()
        for i in order:
            out[i] = engine.search(rows[i], k).ids[0]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(n_threads)]
    for thread in threads:
        thread.start()
    ready.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start
    wrong = int((answers != expected[None]).any(axis=2).sum())
    return n_threads * len(rows) / seconds, wrong


def batch_throughput(engine: SearchEngine, queries: np.ndarray, k: int, n_threads: int) -> float:
    """Queries per second in batches of 256 on so many threads."""
    with limit_threads(n_threads):
        engine.search(queries[:256], k)
        start = time.perf_counter()
        for first in range(0, len(queries), 256):
            engine.search(queries[first : first + 256], k)
        return len(queries) / (time.perf_counter() - start)


def measure(
    engine: SearchEngine, queries: np.ndarray, k: int, threads: list[int]
) -> dict[str, Any]:
    """Measure each number of threads; medians of interleaved rounds."""
    with limit_threads(1):
        expected = engine.search(queries, k).ids
    single: dict[int, list[float]] = {n: [] for n in threads}
    batch: dict[int, list[float]] = {n: [] for n in threads}
    wrong = 0
    for _ in range(ROUNDS):
        for n in threads:
            with limit_threads(1):
                rate, errors = throughput(engine, queries, expected, k, n)
            single[n].append(rate)
            wrong += errors
            batch[n].append(batch_throughput(engine, queries, k, n))
    return {
        "engine": repr(engine),
        "k": k,
        "n_queries": len(queries),
        "cpus": available_cpus(),
        "wrong_answers": wrong,
        "rows": [
            {
                "threads": n,
                "single_qps": float(np.median(single[n])),
                "batch_qps": float(np.median(batch[n])),
            }
            for n in threads
        ],
        "environment": describe_environment(),
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure the engine of a model; the exit code is 1 if an answer was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_model_arguments(parser, queries=2000, required=True)
    parser.add_argument("--threads", default="1,2,4,8")
    parser.add_argument("-k", type=int, default=100)
    parser.add_argument("--beam-width", type=int, default=4)
    parser.add_argument("--shortlist-size", type=int, default=200)
    parser.add_argument("--out", type=Path, help="JSON file")
    chosen = parser.parse_args(arguments)
    engine, queries = engine_and_queries(chosen)
    engine = engine.with_knobs(
        beam_width=chosen.beam_width, shortlist_size=max(chosen.shortlist_size, chosen.k)
    )
    result = measure(engine, queries, chosen.k, [int(n) for n in chosen.threads.split(",")])
    print(f"{result['engine']}; {result['cpus']} processors\n")
    print("| threads | single queries/s | x | batches, queries/s | x |\n|---|---|---|---|---|")
    first = result["rows"][0]
    for row in result["rows"]:
        print(
            f"| {row['threads']} | {row['single_qps']:,.0f} "
            f"| {row['single_qps'] / first['single_qps']:.2f} | {row['batch_qps']:,.0f} "
            f"| {row['batch_qps'] / first['batch_qps']:.2f} |"
        )
    print(f"\nwrong answers: {result['wrong_answers']}")
    if chosen.out is not None:
        write_result(chosen.out, result)
    return int(result["wrong_answers"] > 0)


if __name__ == "__main__":
    sys.exit(main())
