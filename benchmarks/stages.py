"""Stage 1, stage 2 and one-vs-all on the same frozen vectors: what learning the index brings.

    python benchmarks/stages.py --data DIR --encoder lsa --out results/stages-lsa.json

Trains, on the training split, (a) the fixed partition alone for as many epochs as both stages have
together, (b) both stages, (c) one-vs-all with all labels in every step, same vectors, same input
projection, same epochs and rates; measures each on the test split. The first row is the model of
(b) at the moment when stage 1 ends.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from learned_index import IndexConfig, LearnedGraphIndex, TrainingConfig
from learned_index.baselines.ova import OneVsAll
from learned_index.data import open_dataset
from learned_index.elias.presets import model_configs
from learned_index.encoders import TfidfEncoder, cached_encode, parse_encoder
from learned_index.metrics import evaluate, label_propensities
from learned_index.persistence import atomic_file
from learned_index.system.environment import describe_environment
from learned_index.training.events import TrainingEvent

SHOWN = ("P@1", "P@3", "P@5", "PSP@1", "PSP@5", "R@10", "R@100")


def main() -> None:
    """Run the comparison and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--encoder", default="lsa")
    parser.add_argument("--preset", default="default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--ova-epochs", type=int, default=None, help="default: as the index")
    parser.add_argument("--ova-learning-rate", type=float, default=None)
    parser.add_argument("--out", type=Path, default=None)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)

    folder = open_dataset(arguments.data)
    train, test = folder.read("train"), folder.read("test")
    assert train.texts is not None and test.texts is not None
    encoder = parse_encoder(arguments.encoder, seed=arguments.seed, precision="auto")
    encoder.fit(train.texts)
    vectors = cached_encode(encoder, train.texts, split="train")
    queries = cached_encode(encoder, test.texts, split="test")
    features = TfidfEncoder().fit(train.texts).encode(train.texts)
    propensities = label_propensities(train.labels)
    configs = model_configs(
        arguments.preset, n_labels=train.n_labels, training={"seed": arguments.seed}
    )
    index_config, training = configs.index, configs.training
    training = training.resolve_epochs(len(train.texts))
    rows: list[dict[str, Any]] = []

    def add(name: str, metrics: dict[str, float], seconds: float | None) -> None:
        rows.append({"method": name, **metrics, "train_seconds": seconds})
        shown = "  ".join(f"{k} {metrics[k]:.2f}" for k in SHOWN)
        print(f"{name}: {shown}", flush=True)

    def train_index(name: str, config: IndexConfig, plan: TrainingConfig) -> None:
        def watch(event: TrainingEvent) -> None:
            if event.stage == "graph" and event.step == 0:
                add(f"{name}, when stage 1 ends", measured(index), time.perf_counter() - start)

        def measured(index: LearnedGraphIndex) -> dict[str, float]:
            result = index.search(queries, k=100)
            return evaluate(result, test.labels, propensities=propensities)

        index = LearnedGraphIndex(config, training=plan)
        start = time.perf_counter()
        index.fit(vectors, train.labels, clustering_features=features, progress=watch)
        add(name, measured(index), time.perf_counter() - start)

    epochs = (training.stage1_epochs or 0) + (training.stage2_epochs or 0)
    train_index("learned index", index_config, training)
    train_index(
        "stage 1 alone, all epochs",
        index_config,
        replace(training, stage1_epochs=epochs, stage2_epochs=0),
    )
    start = time.perf_counter()
    ova = OneVsAll(
        epochs=arguments.ova_epochs or epochs,
        batch_size=training.batch_size,
        learning_rate=arguments.ova_learning_rate or training.learning_rate,
        projection_learning_rate=training.projection_learning_rate,
        weight_decay=training.weight_decay,
        warmup=training.warmup_fraction,
        projection=index_config.projection,
        centroid_scale=training.label_init_scale,
        initial_bias=float(np.log(train.labels.nnz / np.prod(train.labels.shape))),
        seed=arguments.seed,
    )
    ova.build(vectors, train.labels)
    seconds = time.perf_counter() - start
    result = ova.search(queries, k=100)
    add("one-vs-all", evaluate(result, test.labels, propensities=propensities), seconds)

    print(f"\n| {arguments.encoder} | {' | '.join(SHOWN)} | seconds |")
    print("|---" * (len(SHOWN) + 2) + "|")
    for row in rows:
        cells = " | ".join(f"{row[k]:.2f}" for k in SHOWN)
        print(f"| {row['method']} | {cells} | {row['train_seconds']:.0f} |")
    if arguments.out:
        with atomic_file(arguments.out) as path:
            report = {
                "encoder": arguments.encoder,
                "rows": rows,
                "environment": describe_environment(),
            }
            path.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
