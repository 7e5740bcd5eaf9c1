"""Cost of a query against the number of labels: flat and deep routing, with fitted exponents.

    python benchmarks/growth.py --out results/growth --labels 10000,30000,100000 --dim 128

For each size, in a process of its own: synthetic documents and label classifiers
(`asymmetric_instance`), and an index built from them: clusters by balanced 2-means over the labels'
centroids, edges from counts of visits, the instance's label classifiers. Up to `--train-up-to`
labels the index is trained on the documents instead, its own classifiers too. Regions are then
trained on at most `--region-points` of the documents (`build_hierarchy`). Measured on one thread,
k = 100, on documents not seen before:

- flat: L/40 clusters, every query against all of them;
- deep: the same index with regions above its clusters;
- deep-fine: a deep index with L/10 clusters, which flat routing could not pay for;
- flat-root: a flat index with 8 sqrt(L) clusters, as the paper has them.

The search engines made of these indexes are saved in OUT and measured with their default knobs.
Bytes are counted by the engine from the rows and edges that a query reads. R@10 and R@100 are
recall of the documents' labels, beside that of scoring every label (exact); N@100 is the part of
the 100 best labels of exact scoring that were found. Exponents are least squares of log time and
log bytes against log L.

Sizes that are built are not built again. Times are measured in every run, when all is built:
medians of single queries and of batches on one thread, engines in turn, the best of some rounds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from synthetic import SyntheticInstance, asymmetric_instance

from learned_index import IndexConfig, LearnedGraphIndex, TrainingConfig
from learned_index.engine.search_engine import SearchEngine
from learned_index.persistence import atomic_file
from learned_index.system.environment import describe_environment
from learned_index.system.memory import peak_rss_mb
from learned_index.system.threads import limit_threads
from learned_index.system.timing import single_latencies
from learned_index.types import Int64Array

VARIANTS = ("flat", "flat-root", "deep", "deep-fine")
_COLOURS = ("#D55E00", "#E69F00", "#0072B2", "#009E73")
_QUERIES = 1000
_EXACT_BLOCK = 16384
_ROUNDS = 7
_K = 100


def main() -> None:
    """Measure the sizes that are missing, then write table, plot and JSON of all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--labels", default="10000,30000,100000", help="sizes, with commas")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--points-per-label", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="for building; searches use one")
    parser.add_argument("--train-up-to", type=int, default=0, help="most labels that are trained")
    parser.add_argument("--epochs", type=int, default=2, help="of each stage, where trained")
    parser.add_argument("--region-points", type=int, default=200_000)
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    unknown = set(arguments.variants.split(",")) - set(VARIANTS)
    if unknown:
        parser.error(f"--variants has {sorted(unknown)}, expected some of {', '.join(VARIANTS)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.one is not None:
        path = _file(arguments, arguments.one)
        _write(path, measure_size(arguments.one, arguments, path.with_suffix("")))
        return
    sizes = [int(size) for size in arguments.labels.split(",")]
    for size in sizes:
        if not _file(arguments, size).exists():
            # A process for each size: its peak memory is its own.
            subprocess.run(
                [sys.executable, __file__, *sys.argv[1:], "--one", str(size)], check=True
            )
    results = [json.loads(_file(arguments, size).read_text()) for size in sizes]
    with limit_threads(1):
        for size, result in zip(sizes, results, strict=True):
            add_times(result, _file(arguments, size).with_suffix(""))
    summary = {"sizes": results, "exponents": exponents(results)}
    _write(arguments.out / "growth.json", summary)
    table = as_table(summary)
    with atomic_file(arguments.out / "growth.md") as path:
        path.write_text(table, encoding="utf-8")
    plot(summary, arguments.out / "growth.png")
    print(table)


def _file(arguments: argparse.Namespace, size: int) -> Path:
    name = f"L{size}-D{arguments.dim}-P{arguments.points_per_label:g}-S{arguments.seed}"
    trained = f"-E{arguments.epochs}" if size <= arguments.train_up_to else ""
    return Path(arguments.out / f"{name}{trained}.json")


def _write(path: Path, values: dict[str, Any]) -> None:
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1), encoding="utf-8")


# -- one size -----------------------------------------------------------------------------------


def measure_size(n_labels: int, arguments: argparse.Namespace, directory: Path) -> dict[str, Any]:
    """Build, save and measure (but for times) the variants at one number of labels."""
    torch.set_num_threads(arguments.threads)
    instance = asymmetric_instance(
        n_labels,
        arguments.dim,
        n_points=int(arguments.points_per_label * n_labels),
        n_queries=_QUERIES,
        seed=arguments.seed,
    )
    X = instance.vectors_ND
    exact_ids = exact_search(instance)
    trained = n_labels <= arguments.train_up_to
    epochs = arguments.epochs if trained else 0
    result: dict[str, Any] = {"n_labels": n_labels, "n_points": len(X), "dim": arguments.dim}
    wanted = arguments.variants.split(",")
    result["exact_r100"] = recall(exact_ids, instance.test_labels_QL)
    rows: dict[str, Any] = {}
    sample = X[:: max(1, -(-len(X) // arguments.region_points))]

    def built(hierarchy: str, n_clusters: float) -> tuple[LearnedGraphIndex, float]:
        torch.set_num_threads(arguments.threads)
        start = time.perf_counter()
        config = IndexConfig.from_dict(
            {"hierarchy": hierarchy, "n_clusters": max(1, min(n_labels, round(n_clusters)))}
        )
        index = build(config, instance, epochs=epochs, seed=arguments.seed)
        return index, time.perf_counter() - start

    def deepen(name: str, index: LearnedGraphIndex, seconds: float) -> None:
        torch.set_num_threads(arguments.threads)
        start = time.perf_counter()
        index.build_hierarchy(sample)
        keep(name, index, seconds + time.perf_counter() - start)

    def keep(name: str, index: LearnedGraphIndex, seconds: float) -> None:
        engine = index.to_engine()
        engine.save_pretrained(directory / name, overwrite=True)
        rows[name] = measure(index, engine, instance, exact_ids) | {"build_seconds": seconds}

    directory.mkdir(parents=True, exist_ok=True)
    np.save(directory / "queries.npy", instance.test_vectors_QD)
    if "deep" in wanted or "flat" in wanted:
        index, seconds = built("flat", n_labels / 40)
        if "flat" in wanted:
            keep("flat", index, seconds)
        if "deep" in wanted:
            deepen("deep", index, seconds)
    if "deep-fine" in wanted:
        deepen("deep-fine", *built("deep", n_labels / 10))
    if "flat-root" in wanted:
        keep("flat-root", *built("flat", 8 * np.sqrt(n_labels)))
    how = f"trained for {epochs} + {epochs} epochs" if trained else "built, not trained"
    return result | {
        "how": how,
        "variants": rows,
        "peak_rss_mb": peak_rss_mb(),
        "environment": describe_environment(),
    }


def build(
    config: IndexConfig, instance: SyntheticInstance, *, epochs: int, seed: int
) -> LearnedGraphIndex:
    """An index that is trained, or (no epochs) built from centroids and counts."""
    training = TrainingConfig(seed=seed, stage1_epochs=epochs, stage2_epochs=epochs)
    index = LearnedGraphIndex(config, training=training)
    X, Y = instance.vectors_ND, instance.labels_NL
    if epochs:
        return index.fit(X, Y)
    index.build_partition(X, Y).build_graph(X, Y)
    with torch.no_grad():
        index.label_weight_LD.copy_(torch.from_numpy(instance.label_weights_LD))
        index.label_bias_L.copy_(torch.from_numpy(instance.label_bias_L))
    return index.eval()


def measure(
    index: LearnedGraphIndex,
    engine: SearchEngine,
    instance: SyntheticInstance,
    exact_ids: Int64Array,
) -> dict[str, Any]:
    """Bytes, memory and recall of an index's search engine."""
    queries, truth = instance.test_vectors_QD, instance.test_labels_QL
    found = engine.search(queries, k=_K)
    hierarchy = index.hierarchy
    work = engine.work(queries[:200], k=_K)
    codes = engine.arrays.cluster_vectors_CP.shape[1] + 4
    return {
        "n_clusters": index.n_clusters,
        "edges_per_cluster": index.graph.edge_labels_CM.shape[1],
        "n_regions": None if hierarchy is None else hierarchy.n_regions,
        "region_beam_width": None if hierarchy is None else hierarchy.W0,
        "candidate_clusters": None if hierarchy is None else hierarchy.K0,
        "knobs": {
            "beam_width": engine.config.beam_width,
            "shortlist_size": engine.config.shortlist_size,
        },
        "routing_bytes": engine.arrays.region_vectors_RP.nbytes + work.clusters * codes,
        "query_bytes": work.n_bytes,
        "index_mb": engine.nbytes / 1e6,
        "r10": recall(found.ids[:, :10], truth),
        "r100": recall(found.ids, truth),
        "n100": overlap(found.ids, exact_ids),
    }


def add_times(result: dict[str, Any], directory: Path) -> None:
    """Time the saved engines of one size: in turn, each round, so that all meet the same load."""
    queries = np.load(directory / "queries.npy")
    rows = [queries[i : i + 1] for i in range(len(queries))]
    engines = {name: SearchEngine.from_pretrained(directory / name) for name in result["variants"]}
    single: dict[str, list[float]] = {name: [] for name in engines}
    batch: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(_ROUNDS):
        for name, engine in engines.items():
            times = single_latencies(partial(engine.search, k=_K), rows, at_least=len(rows))
            single[name].append(float(np.median(times)))
            start = time.perf_counter()
            engine.search(queries, k=_K)
            batch[name].append((time.perf_counter() - start) / len(queries) * 1e3)
    for name, row in result["variants"].items():
        row["latency_ms_p50"], row["batch_ms"] = min(single[name]), min(batch[name])


def recall(ids: Any, truth: sp.csr_matrix) -> float:
    """Part of the true labels that were found, mean over points."""
    parts = [np.isin(truth[b].indices, ids[b]).mean() for b in range(truth.shape[0])]
    return float(np.mean(parts))


def overlap(ids: Int64Array, exact_ids: Int64Array) -> float:
    """Part of the exact best labels that were found, mean over queries."""
    pairs = zip(ids[: len(exact_ids)], exact_ids, strict=True)
    return float(np.mean([np.isin(exact, row).mean() for row, exact in pairs]))


def exact_search(instance: SyntheticInstance) -> Int64Array:
    """The 100 best labels by the instance's classifiers, int64 Q x 100, in no order."""
    x_BD, weight_LD = instance.test_vectors_QD, instance.label_weights_LD
    best = np.empty((len(x_BD), 0), np.float32)
    ids = np.empty((len(x_BD), 0), np.int64)
    for start in range(0, len(weight_LD), _EXACT_BLOCK):
        stop = min(start + _EXACT_BLOCK, len(weight_LD))
        scores = x_BD @ weight_LD[start:stop].T + instance.label_bias_L[start:stop]
        best = np.concatenate([best, scores], axis=1)
        ids = np.concatenate([ids, np.tile(np.arange(start, stop), (len(x_BD), 1))], axis=1)
        kept = np.argpartition(-best, min(99, best.shape[1] - 1), axis=1)[:, :100]
        best = np.take_along_axis(best, kept, axis=1)
        ids = np.take_along_axis(ids, kept, axis=1)
    return ids


# -- all sizes ----------------------------------------------------------------------------------


def exponents(results: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Slopes of log cost against log L by least squares, where there are two sizes at least."""
    out: dict[str, dict[str, float]] = {}
    for name in VARIANTS:
        rows = [(r["n_labels"], r["variants"][name]) for r in results if name in r["variants"]]
        if len(rows) < 2:
            continue
        logs = np.log([n for n, _ in rows])
        out[name] = {
            cost: float(np.polyfit(logs, np.log([row[cost] for _, row in rows]), 1)[0])
            for cost in ("latency_ms_p50", "batch_ms", "routing_bytes", "query_bytes", "index_mb")
        }
    return out


def as_table(summary: dict[str, Any]) -> str:
    """Markdown: a row for each size and variant, then the exponents."""
    lines = [
        "| L | index | C | S | W0 / K0 | us single | us in a batch | KB read a query "
        "| of it routing | engine MB | R@10 | R@100 | exact R@100 | N@100 |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for result in summary["sizes"]:
        for name, row in result["variants"].items():
            widths = f"{row['region_beam_width']} / {row['candidate_clusters']}"
            deep = row["n_regions"] is not None
            lines.append(
                f"| {result['n_labels']:,} | {name} | {row['n_clusters']:,} "
                f"| {row['n_regions'] if deep else ''} | {widths if deep else ''} "
                f"| {1e3 * row['latency_ms_p50']:.0f} | {1e3 * row['batch_ms']:.0f} "
                f"| {row['query_bytes'] / 1e3:.0f} | {row['routing_bytes'] / 1e3:.0f} "
                f"| {row['index_mb']:.0f} | {100 * row['r10']:.1f} | {100 * row['r100']:.1f} "
                f"| {100 * result['exact_r100']:.1f} | {100 * row['n100']:.1f} |"
            )
    lines += [
        "",
        "Exponents of L (least squares on logarithms):",
        "",
        "| index | us single | us in a batch | routing bytes | bytes | memory |",
        "|---|---|---|---|---|---|",
    ]
    for name, slopes in summary["exponents"].items():
        lines.append(f"| {name} | " + " | ".join(f"{v:.2f}" for v in slopes.values()) + " |")
    how = sorted({f"{r['n_labels']:,}: {r['how']}" for r in summary["sizes"]})
    last = summary["sizes"][-1]["environment"]
    peak = max(r["peak_rss_mb"] or 0 for r in summary["sizes"])
    lines += ["", f"{'; '.join(how)}. {last['cpu']}, {last['date'][:10]}; peak {peak:.0f} MB.", ""]
    return "\n".join(lines)


def plot(summary: dict[str, Any], path: Path) -> None:
    """Draw time and bytes against L on logarithmic axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2)
    titles = {"latency_ms_p50": "ms per single query, one thread", "query_bytes": "bytes read"}
    for panel, (cost, title) in zip(panels, titles.items(), strict=True):
        for name, colour in zip(VARIANTS, _COLOURS, strict=True):
            rows = [
                (r["n_labels"], r["variants"][name][cost])
                for r in summary["sizes"]
                if name in r["variants"]
            ]
            if not rows:
                continue
            slope = summary["exponents"].get(name, {}).get(cost)
            label = name if slope is None else f"{name}: L^{slope:.2f}"
            panel.loglog(*zip(*rows, strict=True), "o-", color=colour, label=label)
        panel.set_xlabel("labels L")
        panel.set_title(title)
        panel.grid(alpha=0.3, which="both")
        panel.legend(frameon=False)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png")


if __name__ == "__main__":
    main()
