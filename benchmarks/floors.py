"""Distance of the search engine from its floor: bytes that must be read, over memory bandwidth.

    python benchmarks/floors.py --model MODEL --data DIR --out results/floors.json

For each pair of knobs: the work of a query as the engine counts it, the bytes of the rows and edges
it touches, the time that these bytes take at the bandwidth of one core (measured here, reading an
array far larger than the caches), and the measured median of single queries on one thread. An
engine smaller than the caches may beat the floor of the memory; the bandwidth from the cache is
measured and shown too.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numba
import numpy as np
from loading import add_model_arguments, engine_and_queries

from learned_index.engine import SearchEngine
from learned_index.evaluation.environment import describe_environment
from learned_index.evaluation.threads import limit_threads
from learned_index.persistence import atomic_file, write_json

KNOBS = ((3, 200), (4, 200), (6, 300), (12, 300), (20, 600))
ROUNDS = 7


@numba.njit(nogil=True, cache=True, fastmath=True)
def _sum(array: np.ndarray) -> int:
    total = np.int64(0)
    for i in range(len(array)):
        total += array[i]
    return total


def bandwidth(n_bytes: int) -> float:
    """GB/s at which one core reads ``n_bytes`` again and again; the best of some rounds."""
    array = np.ones(n_bytes // 8, np.int64)
    repeats = max(1, (1 << 28) // n_bytes)
    best = 0.0
    _sum(array)
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for _ in range(repeats):
            _sum(array)
        best = max(best, repeats * n_bytes / (time.perf_counter() - start) / 1e9)
    return best


def median_us(engine: SearchEngine, queries: np.ndarray, k: int, knobs: dict[str, int]) -> float:
    """Median of single queries, the lowest of some rounds, microseconds."""
    rows = [queries[i : i + 1] for i in range(len(queries))]
    medians = []
    for _ in range(ROUNDS):
        times = []
        for row in rows:
            start = time.perf_counter()
            engine.search(row, k, **knobs)
            times.append(time.perf_counter() - start)
        medians.append(float(np.median(times)))
    return 1e6 * min(medians)


def measure(engine: SearchEngine, queries: np.ndarray, k: int) -> dict[str, Any]:
    """Measure all pairs of knobs."""
    far, near = bandwidth(1 << 29), bandwidth(1 << 22)
    rows = []
    for width, size in KNOBS:
        knobs = {"beam_width": width, "shortlist_size": max(size, k)}
        work = engine.work(queries, k, **knobs)
        floor = work.n_bytes / far / 1e3
        measured = median_us(engine, queries, k, knobs)
        rows.append(
            {
                **knobs,
                **work._asdict(),
                "floor_us": floor,
                "cache_floor_us": work.n_bytes / near / 1e3,
                "measured_us": measured,
                "times_floor": measured / floor,
            }
        )
    return {
        "engine": repr(engine),
        "engine_bytes": engine.nbytes,
        "bandwidth_gb_s": far,
        "cache_bandwidth_gb_s": near,
        "k": k,
        "n_queries": len(queries),
        "rows": rows,
        "environment": describe_environment(),
    }


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    print(result["engine"])
    print(
        f"one core reads {result['bandwidth_gb_s']:.1f} GB/s from memory, "
        f"{result['cache_bandwidth_gb_s']:.1f} GB/s from 4 MiB\n"
    )
    print("| W | K | clusters | edges | sketched | rescored | KB read | floor us | us | x floor |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for row in result["rows"]:
        print(
            f"| {row['beam_width']} | {row['shortlist_size']} | {row['clusters']:.0f} "
            f"| {row['edges']:.0f} | {row['candidates']:.0f} | {row['rescored']:.0f} "
            f"| {row['n_bytes'] / 1e3:.0f} | {row['floor_us']:.1f} | {row['measured_us']:.1f} "
            f"| {row['times_floor']:.2f} |"
        )


def main(arguments: list[str] | None = None) -> int:
    """Measure the engine of a model; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_model_arguments(parser, queries=500, required=True)
    parser.add_argument("-k", type=int, default=100)
    parser.add_argument("--out", type=Path, help="JSON file")
    chosen = parser.parse_args(arguments)
    engine, queries = engine_and_queries(chosen)
    with limit_threads(1):
        result = measure(engine, queries, chosen.k)
    show(result)
    if chosen.out is not None:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(chosen.out) as temporary:
            write_json(temporary, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
