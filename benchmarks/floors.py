"""Distance of the search engine from its floor: bytes that must be read, over memory bandwidth.

    python benchmarks/floors.py --model MODEL --data DIR --out results/floors.json

For each pair of knobs: the work of a query as the engine counts it, the bytes of the rows and edges
it touches, the time that these bytes take at the bandwidth of one core (measured here, reading an
array far larger than the caches), and the measured median of single queries on one thread. An
engine smaller than the caches may beat the floor of the memory; the bandwidth from the cache is
measured and shown too.

That floor reads in a row. A query reads rows of one to a dozen cache lines in no order, so a second
floor is shown: sketches and whole vectors at the rates at which one core reads those very arrays
row by row in random order, asked for ahead, and all the rest in a row.
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

from learned_index.engine.search_engine import SearchEngine
from learned_index.kernels.machine.intrinsics import prefetch_row
from learned_index.persistence import write_result
from learned_index.system.environment import describe_environment
from learned_index.system.threads import limit_threads

KNOBS = ((3, 200), (4, 200), (6, 300), (12, 300), (20, 600))
ROUNDS = 7
_AHEAD = 8


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


@numba.njit(nogil=True, cache=True)
def _sum_rows(rows: np.ndarray, order: np.ndarray) -> int:
    base, step = np.uintp(rows.ctypes.data), np.uintp(8 * rows.shape[1])
    total = np.int64(0)
    for i in range(len(order)):
        if i + _AHEAD < len(order):
            prefetch_row(np.uintp(base + np.uintp(order[i + _AHEAD]) * step), 8 * rows.shape[1])
        for word in rows[order[i]]:
            total += word
    return total


def row_bandwidth(rows: np.ndarray) -> float:
    """GB/s at which one core reads the rows in random order; the best of some rounds."""
    words = rows.view(np.int64)
    order = np.random.default_rng(0).permutation(len(words))
    _sum_rows(words, order[:2])
    best = 0.0
    for _ in range(ROUNDS):
        start = time.perf_counter()
        _sum_rows(words, order)
        best = max(best, words.nbytes / (time.perf_counter() - start) / 1e9)
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
    sketches, vectors = engine.arrays.sketches_LB, engine.arrays.label_vectors_LP
    sketch_rate, vector_rate = row_bandwidth(sketches), row_bandwidth(vectors)
    rows = []
    for width, size in KNOBS:
        knobs = {"beam_width": width, "shortlist_size": max(size, k)}
        work = engine.work(queries, k, **knobs)
        floor = work.n_bytes / far / 1e3
        sketch_bytes = work.candidates * sketches.shape[1]
        vector_bytes = work.rescored * vectors.shape[1] * vectors.itemsize
        rest = work.n_bytes - sketch_bytes - vector_bytes
        rows_floor = sketch_bytes / sketch_rate + vector_bytes / vector_rate + rest / far
        measured = median_us(engine, queries, k, knobs)
        rows.append(
            {
                **knobs,
                **work._asdict(),
                "floor_us": floor,
                "cache_floor_us": work.n_bytes / near / 1e3,
                "rows_floor_us": rows_floor / 1e3,
                "measured_us": measured,
                "times_floor": measured / floor,
            }
        )
    return {
        "engine": repr(engine),
        "engine_bytes": engine.nbytes,
        "bandwidth_gb_s": far,
        "cache_bandwidth_gb_s": near,
        "sketch_rows_gb_s": sketch_rate,
        "vector_rows_gb_s": vector_rate,
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
        f"{result['cache_bandwidth_gb_s']:.1f} GB/s from 4 MiB; in random order "
        f"sketches at {result['sketch_rows_gb_s']:.1f} and whole vectors at "
        f"{result['vector_rows_gb_s']:.1f} GB/s\n"
    )
    print(
        "| W | K | clusters | edges | sketched | rescored | KB read | floor us | in no order us "
        "| us | x floor |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for row in result["rows"]:
        print(
            f"| {row['beam_width']} | {row['shortlist_size']} | {row['clusters']:.0f} "
            f"| {row['edges']:.0f} | {row['candidates']:.0f} | {row['rescored']:.0f} "
            f"| {row['n_bytes'] / 1e3:.0f} | {row['floor_us']:.1f} "
            f"| {row['rows_floor_us']:.1f} | {row['measured_us']:.1f} "
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
        write_result(chosen.out, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
