"""From text to names: milliseconds of a whole model, one query at a time and in batches.

    python -m benchmarks.whole_road MODEL --data my-data
    python -m benchmarks.whole_road MODEL COMPILED --data my-data --threads 1 --out road.json
    python -m benchmarks.whole_road COMPILED --data my-data --clock cpu    # beside other work

Timed is ``predict(texts, k=10)``: words, vectors, search, sparse features, margins, nearest
records, final order, names. The steps beside it are timed by themselves on the same texts, the
rest is what they leave.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from learned_index import ELIAS
from learned_index.data.folder import open_dataset
from learned_index.persistence import atomic_file, write_json
from learned_index.system.environment import describe_environment
from learned_index.system.threads import limit_threads
from learned_index.system.timing import latency_summary, single_latencies

K = 10
BATCH = 256
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def measure(model: ELIAS, texts: list[str], clock: Callable[[], float]) -> dict[str, float]:
    """Milliseconds a text: the whole road, and its steps where one text is asked for."""
    singles = [[text] for text in texts[:500]]
    whole = single_latencies(lambda text: model.predict(text, K), singles, clock=clock)
    summary = latency_summary(whole)
    vectors = [model.encode(text) for text in singles]
    numbers = list(range(len(singles)))

    def typical(call: Callable[[int], Any]) -> float:
        return float(np.median(single_latencies(call, numbers, budget_s=0.5, clock=clock)))

    steps = {
        "encode": typical(lambda n: model.encode(singles[n])),
        "index": typical(lambda n: model.search(singles[n], K, vectors=vectors[n], score="index")),
    }
    if model.features is not None:
        features = model.features
        steps["features"] = typical(lambda n: features.encode(singles[n]))
    model.predict(texts[:BATCH], K)
    start = clock()
    for begin in range(0, len(texts), BATCH):
        model.predict(texts[begin : begin + BATCH], K)
    batch = 1e3 * (clock() - start) / len(texts)
    rest = summary["latency_ms_p50"] - sum(steps.values())
    return {
        "single_ms": summary["latency_ms_p50"],
        "single_ms_p95": summary["latency_ms_p95"],
        "batch_ms": batch,
        **{f"{name}_ms": value for name, value in steps.items()},
        "rank_ms": rest,
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure the models in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", help="directories of whole models")
    parser.add_argument("--data", required=True, help="data folder")
    parser.add_argument("--split", default="test")
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: of this process")
    parser.add_argument("--out", type=Path, help="JSON file")
    chosen = parser.parse_args(arguments)
    texts = list(open_dataset(chosen.data).read(chosen.split).texts or [])[: chosen.queries]
    if not texts:
        parser.error(f"{chosen.data} has no texts to ask with")
    found: dict[str, Any] = {}
    with limit_threads(chosen.threads):
        for path in chosen.models:
            found[path] = measure(ELIAS.from_pretrained(path), texts, CLOCKS[chosen.clock])
    width = max(map(len, found))
    columns = list(dict.fromkeys(name for row in found.values() for name in row))
    print(f"{'ms a text':{width}}", *(f"{c.removesuffix('_ms'):>13}" for c in columns))
    for path, row in found.items():
        print(f"{path:{width}}", *(f"{row.get(c, float('nan')):13.3f}" for c in columns))
    if chosen.out is not None:
        report = {"environment": describe_environment(), "threads": chosen.threads, "rows": found}
        report["clock"] = chosen.clock
        with atomic_file(chosen.out) as temporary:
            write_json(temporary, report)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
