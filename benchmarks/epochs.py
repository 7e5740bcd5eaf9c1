"""How many epochs an index of few points needs: trainings of different lengths, held-out points.

    python -m benchmarks.epochs --data DIR --points 3000 --epochs auto --epochs 20,40 --out few.json

Some training points are drawn, and as many as --asked others, which no training sees. On the first
the encoder is fitted and indexes are trained, one for each seed and each pair of epochs of stage 1
and stage 2; on the others they are measured. Numbers are means over the seeds.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from learned_index import LearnedGraphIndex, TrainingConfig
from learned_index.cli.shared.common import errors_as_lines, threads_option, use_threads
from learned_index.data.folder import open_dataset
from learned_index.elias.points import fit_encoder
from learned_index.encoding import as_encoder, dense_vectors
from learned_index.inputs.labels import points_per_label
from learned_index.metrics import evaluate, propensities_from_counts
from learned_index.persistence import write_result
from learned_index.system.environment import describe_environment

METRICS = ("P@1", "P@5", "R@10", "R@100", "PSP@5")


def lengths(text: str) -> dict[str, int]:
    """The epochs of both stages that an option asks for; none for ``auto``."""
    if text == "auto":
        return {}
    first, _, second = text.partition(",")
    return {"stage1_epochs": int(first), "stage2_epochs": int(second)}


@click.command()
@click.option("--data", required=True, help="Data folder.")
@click.option("--encoder", default="lsa:128", show_default=True)
@click.option("--points", type=click.IntRange(10), default=3000, show_default=True)
@click.option("--asked", type=click.IntRange(10), default=1000, show_default=True)
@click.option("--epochs", "asked_epochs", multiple=True, default=["auto"], help="auto, or N,M.")
@click.option("--seeds", type=click.IntRange(1), default=2, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
@threads_option
@errors_as_lines()
def main(
    data: str, encoder: str, points: int, asked: int, asked_epochs: tuple[str, ...], seeds: int,
    out: Path, threads: int | None,
) -> None:  # fmt: skip
    """Train indexes for different numbers of epochs; print a Markdown table."""
    use_threads(threads)
    train = open_dataset(data).read("train")
    order = np.random.default_rng(0).permutation(train.labels.shape[0])[: points + asked]
    learned, held = np.sort(order[:points]), np.sort(order[points:])
    texts = list(train.texts or [])
    if not texts or not len(held):
        raise click.ClickException(f"{data} needs texts, and more than {points} training points")
    made = as_encoder(encoder)
    labels = train.labels[learned]
    fit_encoder(made, [texts[row] for row in learned], whole_split=texts, labels=labels)
    x, q = (dense_vectors(made, [texts[row] for row in rows]) for rows in (learned, held))
    propensities = propensities_from_counts(points_per_label(labels), n_points=points)
    rows: list[dict[str, Any]] = []
    print("| epochs |", " | ".join(METRICS), "| s |\n|---|" + "---|" * (len(METRICS) + 1))
    for text in asked_epochs:
        found, start = [], time.perf_counter()
        for seed in range(seeds):
            training = TrainingConfig(seed=seed, **lengths(text))  # type: ignore[arg-type]
            index = LearnedGraphIndex(training=training).fit(x, labels)
            measured = evaluate(index.search(q, 100), train.labels[held], propensities=propensities)
            found.append([measured[name] for name in METRICS])
        used = index.training_config.resolve_epochs(points)
        took = (time.perf_counter() - start) / seeds
        means = np.mean(found, axis=0)
        name = f"{used.stage1_epochs}, {used.stage2_epochs}" + (" (auto)" if text == "auto" else "")
        print(f"| {name} |", " | ".join(f"{value:.2f}" for value in means), f"| {took:.1f} |")
        rows.append({"epochs": name, **dict(zip(METRICS, means.tolist(), strict=True)), "s": took})
    write_result(out, {"environment": describe_environment(), "points": points, "rows": rows})


if __name__ == "__main__":
    main()
