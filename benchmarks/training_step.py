"""A training step of stage 2 on the CPU, part by part, beside the floors of the parts.

    python benchmarks/training_step.py --labels 21264 --dim 384 --batch 256 --shortlist 2000
    python benchmarks/training_step.py --data DIR --encoder minilm:128 --out results/step.json

A part's floor is the larger of the bytes that it must read and write over the measured bandwidth of
memory, and of its operations over a measured rate: products of dense matrices over that of torch,
others over that of dot products with the vectors of the batch, which lie in the second-level cache.
The floor of a step is the sum. Whole steps, as a training makes them, and steps cut into parts take
turns, and both leave the same weights; what a whole step takes beyond its parts is autograd's and
Python's. On one thread times are CPU times, so that other work on the machine counts as little as
may be.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
from pathlib import Path
from typing import Any

from on_cpu.floors import make_clock, measure_rates, work_of_parts
from on_cpu.instance import StageTwo, folder_stage, synthetic_stage
from on_cpu.parts import PARTS, timed_step

from learned_index.persistence import write_result
from learned_index.system.environment import describe_environment
from learned_index.system.threads import limit_threads

WARM_UP = 5
REST = "the rest: autograd, Python, schedule"


def measure(stage: StageTwo, *, threads: int, repeats: int, small: bool = False) -> dict[str, Any]:
    """Medians over some steps, floors, and both as plain data."""
    name, clock = make_clock(threads)
    for _ in range(WARM_UP):
        stage.step(stage.draw())
    C, D = stage.index.router.weight_CD.shape
    rate_rounds, whole, parts, floors = [], [], [], []
    for number in range(repeats):
        if number % max(1, repeats // 3) == 0:  # the machine may change under the run
            rate_rounds.append(
                measure_rates(stage.config.batch_size, D, C, clock=clock, small=small)
            )
        start = clock()
        stage.step(stage.draw())
        whole.append(1e3 * (clock() - start))
        _, spent, seen = timed_step(stage, stage.draw(), clock)
        parts.append(spent.spent_ms)
        floors.append(work_of_parts(stage, seen))
    rates = {
        field.name: statistics.median(getattr(rate, field.name) for rate in rate_rounds)
        for field in dataclasses.fields(rate_rounds[0])
    }
    typical = type(rate_rounds[0])(**rates)
    rows = [
        {
            "part": part,
            "ms": statistics.median(spent[part] for spent in parts),
            "floor_ms": statistics.median(work[part].floor_ms(typical) for work in floors),
            **dataclasses.asdict(floors[-1][part]),
        }
        for part in PARTS
    ]
    step_ms = statistics.median(whole)
    rest = step_ms - sum(row["ms"] for row in rows)
    rows.append({"part": REST, "ms": rest, "floor_ms": 0.0})
    floor_ms = sum(row["floor_ms"] for row in rows)
    return {
        "step_ms": step_ms,
        "fastest_step_ms": min(whole),
        "floor_ms": floor_ms,
        "times_floor": step_ms / floor_ms,
        "parts": rows,
        "rates": rates,
        "clock": name,
        "threads": threads,
        "repeats": repeats,
        "shape": {
            "labels": stage.index.n_labels,
            "dim": D,
            "clusters": C,
            "edges_per_cluster": stage.index.graph.edge_labels_CM.shape[1],
            "batch": stage.config.batch_size,
            "beam_width": stage.index.config.beam_width,
            "shortlist": stage.index.config.shortlist_size,
            **dataclasses.asdict(seen),
        },
        "environment": describe_environment(),
    }


def as_markdown(result: dict[str, Any]) -> str:
    """The table of parts."""
    rates, shape = result["rates"], result["shape"]
    lines = [
        f"L = {shape['labels']}, D = {shape['dim']}, C = {shape['clusters']}, "
        f"M = {shape['edges_per_cluster']}, B = {shape['batch']}, W = {shape['beam_width']}, "
        f"K = {shape['shortlist']}; {result['threads']} thread(s), {result['clock']} time, "
        f"median of {result['repeats']} steps",
        f"rates: {rates['bytes_per_s'] / 1e9:.1f} GB/s, matrix products "
        f"{rates['products_per_s'] / 1e9:.0f} GFLOP/s, dot products with the batch "
        f"{rates['multiply_adds_per_s'] / 1e9:.0f} GFLOP/s (in the first-level cache "
        f"{rates['near_multiply_adds_per_s'] / 1e9:.0f})",
        "",
        "| part | ms | floor ms | times floor |",
        "|---|---|---|---|",
    ]
    total = {"part": "**step**", "ms": result["step_ms"], "floor_ms": result["floor_ms"]}
    for row in [*result["parts"], total]:
        ratio = f"{row['ms'] / row['floor_ms']:.1f}" if row["floor_ms"] else "—"
        floor = f"{row['floor_ms']:.2f}" if row["floor_ms"] else "—"
        lines.append(f"| {row['part']} | {row['ms']:.2f} | {floor} | {ratio} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labels", type=int, default=21264)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--points", type=int, default=16384)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--shortlist", type=int, default=2000)
    parser.add_argument("--beam-width", type=int, default=20)
    parser.add_argument("--data", type=Path, help="data folder instead of synthetic points")
    parser.add_argument("--encoder", default="lsa", help="of the data folder's texts")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=30, help="steps of each kind")
    parser.add_argument("--small", action="store_true", help="measure rates in a moment, roughly")
    parser.add_argument("--out", type=Path, help="JSON file")
    chosen = parser.parse_args(arguments)
    sizes = {
        "batch": chosen.batch,
        "shortlist_size": chosen.shortlist,
        "beam_width": chosen.beam_width,
    }
    with limit_threads(chosen.threads):
        if chosen.data is not None:
            stage = folder_stage(chosen.data, chosen.encoder, **sizes)
        else:
            stage = synthetic_stage(
                labels=chosen.labels, dim=chosen.dim, points=chosen.points, **sizes
            )
        result = measure(stage, threads=chosen.threads, repeats=chosen.repeats, small=chosen.small)
    print(as_markdown(result))
    if chosen.out is not None:
        write_result(chosen.out, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
