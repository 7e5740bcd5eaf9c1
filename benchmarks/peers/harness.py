"""Train a peer on the prepared input, time it, and write its top lists and measurements.

Runs inside the peer's own environment: numpy, scipy and the standard library only.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp

BATCH_SIZE = 256
"""Queries in one batch, as in ``li compare``."""
SINGLE_QUERIES = 200
"""Single queries timed at least."""
PAD_ID, PAD_SCORE = -1, -np.inf


class Peer(Protocol):
    """What a module for one peer offers."""

    def train(self, x_NF: sp.csr_matrix, y_NL: sp.csr_matrix) -> None:
        """Train on features with rows of length 1 and labels, both canonical CSR float32."""
        ...

    def save_and_load(self, folder: Path) -> None:
        """Write the model into ``folder`` and go on with what a reader of it gets."""
        ...

    def search(self, x_BF: sp.csr_matrix, k: int, threads: int) -> Any:
        """Find the best k labels of each row; this is what is timed."""
        ...

    def ranked(self, answer: Any, k: int) -> tuple[Any, Any]:
        """Turn an answer into ids (int64) and scores (float32), B x k, best first, padded."""
        ...

    def versions(self) -> dict[str, str]:
        """Versions of the packages that did the work."""
        ...


def main(make: Callable[..., Peer]) -> None:
    """Run one peer; ``make`` is called with the parameters of the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--input", required=True, type=Path, help="folder of the prepared input")
    parser.add_argument("--out", required=True, type=Path, help="folder to write into")
    parser.add_argument("--threads", required=True, type=int)
    parser.add_argument("--k", required=True, type=int)
    parser.add_argument("--parameters", default="{}", help="JSON, given to the peer")
    arguments = parser.parse_args()
    peer = make(
        folder=arguments.input, threads=arguments.threads, **json.loads(arguments.parameters)
    )
    x_train, y_train, x_test = (
        sp.load_npz(arguments.input / f"{name}.npz") for name in ("train_x", "train_y", "test_x")
    )
    print("training", flush=True)
    wall, cpu = time.perf_counter(), time.process_time()
    peer.train(x_train, y_train)
    measurements: dict[str, Any] = {
        "train_s": time.perf_counter() - wall,
        "train_cpu_s": time.process_time() - cpu,
    }
    print("saving", flush=True)
    model = arguments.out / "model"
    shutil.rmtree(model, ignore_errors=True)
    model.mkdir()
    peer.save_and_load(model)
    measurements["model_bytes"] = folder_bytes(model)
    shutil.rmtree(model)
    print("predicting", flush=True)
    ids, scores, times = measure_search(
        lambda rows, threads: peer.search(x_test[rows], arguments.k, threads),
        lambda answer: peer.ranked(answer, arguments.k),
        n_queries=x_test.shape[0],
        threads=arguments.threads,
    )
    write_outcome(
        arguments.out, ids, scores, {**measurements, **times, "versions": peer.versions()}
    )


def measure_search(
    search: Callable[[slice, int], Any],
    ranked: Callable[[Any], tuple[Any, Any]],
    *,
    n_queries: int,
    threads: int,
) -> tuple[Any, Any, dict[str, float]]:
    """Answer all queries in batches, then some one by one on one thread.

    Args:
        search: Answers the queries of a slice with a number of threads.
        ranked: Turns an answer into ids and scores; not timed.
        n_queries: Queries there are.
        threads: Threads of the batches.

    Returns:
        ids and scores of all queries, and ``batch_ms``, ``single_ms`` (median) and
        ``single_ms_p99`` per query.
    """
    timing = shared_timing()
    batches = timing.batch_slices(n_queries, BATCH_SIZE)
    parts = [ranked(search(rows, threads)) for rows in batches]
    qps = timing.batch_throughput(lambda rows: search(rows, threads), batches)
    order = np.random.default_rng(0).permutation(n_queries).tolist()
    times = timing.single_latencies(
        lambda i: search(slice(i, i + 1), 1), order, at_least=SINGLE_QUERIES
    )
    return (
        np.concatenate([ids for ids, _ in parts]),
        np.concatenate([scores for _, scores in parts]),
        {
            "batch_ms": 1e3 / qps,
            "single_ms": float(np.median(times)),
            "single_ms_p99": float(np.percentile(times, 99)),
        },
    )


def write_outcome(out: Path, ids: Any, scores: Any, measurements: dict[str, Any]) -> None:
    """Write ``top.npz`` and ``measurements.json`` into ``out``."""
    np.savez(out / "top.npz", ids=ids.astype(np.int64), scores=scores.astype(np.float32))
    (out / "measurements.json").write_text(json.dumps(measurements, indent=1), encoding="utf-8")


def ranked_csr(scores_BL: sp.csr_matrix, k: int) -> tuple[Any, Any]:
    """Return ids and scores of the k largest stored values of each row; ties by smaller id."""
    n_rows = scores_BL.shape[0]
    rows = np.repeat(np.arange(n_rows), np.diff(scores_BL.indptr))
    order = np.lexsort((scores_BL.indices, -scores_BL.data, rows))
    place = np.arange(order.size) - scores_BL.indptr[:-1][rows]
    ids = np.full((n_rows, k), PAD_ID, dtype=np.int64)
    scores = np.full((n_rows, k), PAD_SCORE, dtype=np.float32)
    kept = place < k
    ids[rows[kept], place[kept]] = scores_BL.indices[order][kept]
    scores[rows[kept], place[kept]] = scores_BL.data[order][kept]
    return ids, scores


def folder_bytes(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def shared_timing() -> Any:
    """Load the project's timers from their file: a peer's environment has not the project."""
    path = Path(__file__).parents[2] / "learned_index" / "evaluation" / "timing.py"
    spec = importlib.util.spec_from_file_location("shared_timing", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
