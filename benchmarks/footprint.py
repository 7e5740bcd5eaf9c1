"""Bytes, loading time and resident memory of search engines.

    python benchmarks/footprint.py --model MODEL --data DIR --out results/footprint.json
    python benchmarks/footprint.py --random 1000000,128 --out results/footprint-1m.json

The engine is saved, opened in a fresh process, and searched there: first a few times, then by many
queries so that nearly all of its pages are touched. Resident memory is what the process has more
than before it opened the engine, mapped files included: to be compared with the bytes on disk.
`--random L,D` draws an engine of that shape (L/40 clusters of 400 edges), for its size and its
loading time; its answers mean nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from loading import add_model_arguments, engine_and_queries

from learned_index.engine.building import IndexParts
from learned_index.engine.config import EngineConfig
from learned_index.engine.search_engine import SearchEngine
from learned_index.persistence import directory_bytes, write_result
from learned_index.system.environment import describe_environment
from learned_index.system.memory import resident_bytes
from learned_index.system.threads import limit_threads

EDGES = 400


def measure_saved(directory: Path, queries: np.ndarray) -> dict[str, Any]:
    """Open, search, and tell what it took; meant for a process that has done nothing else."""
    with limit_threads(1):
        start = time.perf_counter()
        small = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
        warm = SearchEngine.from_parts(
            IndexParts(
                small[:2], sp.csr_matrix(np.ones((2, 50), np.float32)), small, small[:, 0],
                None, 10.0, 0.5,
            )
        )  # fmt: skip
        warm.search(small, 5)  # loads the compiled search
        warm_s = time.perf_counter() - start
        before = resident_bytes()
        start = time.perf_counter()
        engine = SearchEngine.from_pretrained(directory)
        load_s = time.perf_counter() - start
        loaded = resident_bytes() - before
        start = time.perf_counter()
        engine.search(queries[:1], 10)
        first_s = time.perf_counter() - start
        engine.search(queries, 100, beam_width=20, shortlist_size=1000)
        searched = resident_bytes() - before
    return {
        "engine": repr(engine),
        "n_labels": engine.n_labels,
        "disk_mb": directory_bytes(directory) / 1e6,
        "bytes_mb": engine.nbytes / 1e6,
        "load_ms": 1e3 * load_s,
        "first_search_ms": 1e3 * first_s,
        "code_s": warm_s,
        "resident_after_load_mb": loaded / 1e6,
        "resident_after_searches_mb": searched / 1e6,
        "n_queries": len(queries),
    }


def random_engine(n_labels: int, dim: int, precision: Any) -> SearchEngine:
    """An engine of the shape that training would give, with random contents."""
    rng = np.random.default_rng(0)
    n_clusters = max(1, n_labels // 40)
    per_row = min(EDGES, n_labels)
    starts = rng.integers(0, n_labels, n_clusters)[:, None]
    targets = (starts + np.arange(per_row)) % n_labels
    edges = sp.csr_matrix(
        (
            rng.random(n_clusters * per_row, dtype=np.float32),
            targets.ravel(),
            np.arange(0, (n_clusters + 1) * per_row, per_row),
        ),
        (n_clusters, n_labels),
    )
    parts = IndexParts(
        rng.standard_normal((n_clusters, dim), dtype=np.float32),
        edges,
        rng.standard_normal((n_labels, dim), dtype=np.float32),
        rng.standard_normal(n_labels, dtype=np.float32),
        None,
        30.0,
        0.5,
    )
    return SearchEngine.from_parts(parts, EngineConfig(precision=precision))


def in_fresh_process(directory: Path, queries: np.ndarray) -> dict[str, Any]:
    """Run :func:`measure_saved` in a process of its own."""
    file = directory.parent / "queries.npy"
    np.save(file, queries)
    command = [sys.executable, __file__, "--saved", str(directory), "--queries-file", str(file)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def main(arguments: list[str] | None = None) -> int:
    """Save an engine and measure it in a fresh process; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_model_arguments(parser, queries=5000, required=False)
    parser.add_argument("--random", metavar="L,D", help="an engine of this shape")
    parser.add_argument("--out", type=Path, help="JSON file")
    parser.add_argument("--saved", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--queries-file", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.saved is not None:
        queries = np.load(chosen.queries_file, allow_pickle=False)
        json.dump(measure_saved(chosen.saved, queries), sys.stdout)
        return 0
    if chosen.random is not None:
        n_labels, dim = (int(part) for part in chosen.random.split(","))
        engine = random_engine(n_labels, dim, chosen.precision)
        rng = np.random.default_rng(1)
        queries = rng.standard_normal((chosen.queries, dim), dtype=np.float32)
    elif chosen.model is not None and chosen.data is not None:
        engine, queries = engine_and_queries(chosen)
    else:
        parser.error("give --model and --data, or --random L,D")
    with tempfile.TemporaryDirectory() as folder:
        engine.save_pretrained(Path(folder) / "engine")
        result = in_fresh_process(Path(folder) / "engine", queries)
    result["environment"] = describe_environment()
    print(
        f"{result['engine']}\n{result['disk_mb']:.1f} MB on disk; opened in "
        f"{result['load_ms']:.1f} ms, first search {result['first_search_ms']:.1f} ms; resident "
        f"{result['resident_after_load_mb']:.1f} MB when open, "
        f"{result['resident_after_searches_mb']:.1f} MB after {result['n_queries']:,} searches"
    )
    if chosen.out is not None:
        write_result(chosen.out, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
