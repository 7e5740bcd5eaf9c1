"""Search of a trained index beside the strongest rivals: what each recall costs.

    python benchmarks/search.py --model MODEL --data DIR --out results/search-l4s
    python benchmarks/search.py --synthetic 131072,384 --out results/search-synthetic

With `--model` and `--data` this is `li compare` with all rivals. With `--synthetic L,D` documents
and label classifiers are drawn (`asymmetric_instance`), an index is trained on the documents with
its own classifiers, and that index is compared. Instance and index stay in OUT; the same command
goes on where it stopped, and measures again what was measured under other conditions.

Every rival searches the index's own label classifiers with its input projection folded in; with
`--classifiers index,ova` those of one-vs-all, too, which were trained for a scan of all labels: in
the same run, once, kept in OUT. Printed: each method at its fastest setting near the best recall of
the true labels, and the cheapest setting of each method within half a point of exact scoring, and
at 90, 95 and 99 % of the exact 100 best, chosen on one half of the queries with its recall on the
other; for single queries on one thread and for batches. Rivals that are not installed get a row
that says so (pip install 'learned-index[rivals]').
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from growth import build
from synthetic import SyntheticInstance, asymmetric_instance

from learned_index import IndexConfig, LearnedGraphIndex, TrainingConfig
from learned_index.baselines import over_classifiers, parse_baselines, parse_classifiers
from learned_index.cli.compare import show
from learned_index.cli.main import main as li
from learned_index.comparison import (
    ComparisonData,
    ComparisonSettings,
    compare,
    label_propensities,
    write_comparison,
)
from learned_index.comparison.classifiers import trained_classifiers
from learned_index.evaluation.compared import trained_like
from learned_index.persistence import MANIFEST_NAME, atomic_file
from learned_index.system.threads import limit_threads

METHODS = (
    "engine,engine:float16,learned,lorann,lorann-queries,scann,ivf,ivf-sq8,ivf-pq,hnsw,hnswlib,"
    "usearch,exact,exact-int8"
)


@dataclass(frozen=True)
class IndexDirectory:
    """Loads a saved index, in any process.

    Attributes:
        path: What `LearnedGraphIndex.save_pretrained` wrote.
    """

    path: Path

    def __call__(self) -> LearnedGraphIndex:
        """Load the index."""
        return LearnedGraphIndex.from_pretrained(self.path, verify=False)

    def digest(self) -> str:
        """Return the manifest, which holds the checksums of the index's files."""
        return (self.path / MANIFEST_NAME).read_text(encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Compare a model, or make an instance, train on it and compare; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--model", type=Path, help="a saved model; needs --data")
    parser.add_argument("--data", help="data folder of the model")
    parser.add_argument("--synthetic", metavar="L,D", help="labels and dimension")
    parser.add_argument("--methods", default=METHODS)
    parser.add_argument("--classifiers", default="index", help="index, ova, or index,ova")
    parser.add_argument("--max-queries", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=2, help="of training and batches")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--timing-seconds", type=float, default=1.0)
    group = parser.add_argument_group("synthetic instances")
    group.add_argument("--points", type=int, default=None, help="training points; default: 2 L")
    group.add_argument("--asymmetry", type=float, default=1.0)
    group.add_argument("--labels-per-point", type=float, default=3.0)
    group.add_argument(
        "--epochs",
        type=int,
        default=None,
        help="of each stage; default: by size; 0: clusters and edges from centroids and counts, "
        "with the instance's label classifiers",
    )
    group.add_argument("--isolation", choices=("process", "none"), default="process")
    group.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    if chosen.synthetic is not None and chosen.model is None and chosen.data is None:
        return compare_synthetic(chosen, *shape_of(chosen.synthetic, parser))
    if chosen.synthetic is not None or chosen.model is None or chosen.data is None:
        parser.error("give --model and --data, or --synthetic L,D")
    return compare_model(chosen)


def shape_of(text: str, parser: argparse.ArgumentParser) -> tuple[int, int]:
    """Read `L,D`."""
    try:
        n_labels, dim = (int(part) for part in text.split(","))
    except ValueError:
        parser.error(f"--synthetic takes two numbers such as 131072,384, got {text!r}")
    return n_labels, dim


def compare_model(chosen: argparse.Namespace) -> int:
    """Run `li compare` on a saved model with all rivals."""
    same = (
        "model",
        "data",
        "out",
        "classifiers",
        "max_queries",
        "threads",
        "batch_size",
        "repeats",
    )
    words = ["--baselines", chosen.methods, "--timing-seconds", str(chosen.timing_seconds)]
    for name in same:
        words += [f"--{name.replace('_', '-')}", str(getattr(chosen, name))]
    return int(li.main(["compare", *words], standalone_mode=False) or 0)


def compare_synthetic(chosen: argparse.Namespace, n_labels: int, dim: int) -> int:
    """Draw an instance, train an index on it unless that was done, and compare."""
    print(f"drawing {n_labels:,} labels of {dim} dimensions", file=sys.stderr, flush=True)
    drawn = {
        "n_labels": n_labels,
        "dim": dim,
        "n_points": chosen.points or 2 * n_labels,
        "n_queries": chosen.max_queries,
        "asymmetry": chosen.asymmetry,
        "labels_per_point": chosen.labels_per_point,
        "seed": chosen.seed,
    }
    instance = asymmetric_instance(**drawn)
    chosen.out.mkdir(parents=True, exist_ok=True)
    made = {**drawn, "epochs": chosen.epochs}
    seconds = train_index(instance, chosen.out, made, threads=chosen.threads)
    data = ComparisonData(
        queries_ND=instance.test_vectors_QD,
        truth_NL=instance.test_labels_QL,
        propensities=label_propensities(instance.labels_NL),
        embeddings_ND=instance.vectors_ND,
        labels_NL=instance.labels_NL,
    )

    def tell(done: float, total: float, text: str = "") -> None:
        print(f"\r\033[K{done:.1f}/{total:.0f} {text}", end="", file=sys.stderr, flush=True)

    load = IndexDirectory(chosen.out / "index")
    index, others = parse_classifiers(chosen.classifiers)
    searched = load()
    trained = {}
    for spec in others:
        like = trained_like(spec, searched.config, searched.training_config)
        with limit_threads(chosen.threads):
            trained[spec.name] = trained_classifiers(like, data, chosen.out / "classifiers")
    result = compare(
        over_classifiers(parse_baselines(chosen.methods), index=index, others=others),
        load,
        data,
        other_classifiers=trained,
        settings=ComparisonSettings(
            threads=chosen.threads,
            batch_size=chosen.batch_size,
            repeats=chosen.repeats,
            timing_seconds=chosen.timing_seconds,
            isolation=chosen.isolation,
        ),
        known_build_s={"learned": seconds, "tree": None},
        workspace_parent=chosen.out,
        results=chosen.out / "methods",
        progress=tell if sys.stderr.isatty() else None,
    )
    result.environment.update(
        synthetic=made, classifiers={name: each.facts for name, each in trained.items()}
    )
    write_comparison(result, chosen.out)
    show(result, chosen.out)
    return 1 if result.failed else 0


def train_index(
    instance: SyntheticInstance, out: Path, made: dict[str, Any], *, threads: int
) -> float:
    """Train an index on the documents and save it as `OUT/index`; an equal one is kept.

    Args:
        instance: The documents.
        out: Folder of the run.
        made: What index and instance were made with; stands beside the index.
        threads: Of training.

    Returns:
        Seconds of training.
    """
    record = out / "index.json"
    if record.exists() and (out / "index").is_dir():
        kept = json.loads(record.read_text())
        if kept["made"] == made:
            return float(kept["seconds"])
    print("training the index", file=sys.stderr, flush=True)
    start = time.perf_counter()
    with limit_threads(threads):
        if made["epochs"] is None:
            index = LearnedGraphIndex(training=TrainingConfig(seed=made["seed"]))
            index.fit(instance.vectors_ND, instance.labels_NL)
        else:
            index = build(IndexConfig(), instance, epochs=made["epochs"], seed=made["seed"])
    seconds = time.perf_counter() - start
    record.unlink(missing_ok=True)
    index.save_pretrained(out / "index", overwrite=True)
    with atomic_file(record) as temporary:
        temporary.write_text(json.dumps({"made": made, "seconds": seconds}, indent=1))
    return seconds


if __name__ == "__main__":
    sys.exit(main())
