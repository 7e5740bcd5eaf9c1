"""A model that is updated with every batch of new records, beside one that is trained anew.

    python -m benchmarks.updates --data DIR --batches 10 --out results/updates.json

The training records are cut into batches in their order. A model is trained on the first one and
updated with each that follows (``ELIAS.update``; labels join when they come first); after some
batches another one is trained on all records so far, and both are measured on the same points of
another split. ``--keep-texts``: the updated models keep their texts. The trained models are kept
beside ``--out``: a run that was interrupted goes on.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import scipy.sparse as sp

from benchmarks.new_labels import trained
from learned_index import ELIAS
from learned_index.cli.shared.common import (
    errors_as_lines,
    note,
    quiet_option,
    threads_option,
    use_threads,
)
from learned_index.data import Dataset, LabelVocabulary, open_dataset
from learned_index.evaluation.evaluate import evaluate
from learned_index.evaluation.plots import plot_lines
from learned_index.persistence import read_json, write_json
from learned_index.system.environment import describe_environment

SHOWN = ("P@1", "P@5", "R@10", "R@100", "PSP@5")
PLOTTED = ("P@1", "R@100")


def of_used_labels(part: Dataset) -> tuple[sp.csr_matrix, LabelVocabulary]:
    """The labels that some point has: what was not seen yet is not known."""
    used = np.unique(part.labels.indices)
    return part.labels[:, used].tocsr(), part.vocabulary.subset(used)


def timed_training(
    part: Dataset, preset: str, path: Path, **model: Any
) -> tuple[ELIAS, dict[str, float]]:
    """Train on all points, or take the model that was trained before; and what it took."""
    times = path.with_name(f"{path.name}.times.json")
    if not times.exists():
        wall, cpu = time.perf_counter(), time.process_time()
        made = trained(part, *of_used_labels(part), preset, **model)
        spent = {"s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
        made.save_pretrained(path, overwrite=True)
        write_json(times, spent)
    return ELIAS.from_pretrained(path), read_json(times)


def measured(model: ELIAS, points: Dataset) -> dict[str, float]:
    """Metrics in percent."""
    values = evaluate(model, points)
    return {name: values[name] for name in SHOWN}


@click.command()
@click.option("--data", required=True, help="Data folder with texts.")
@click.option("--preset", type=click.Choice(["fast", "cpu", "accurate"]), default="fast")
@click.option("--batches", type=click.IntRange(min=2), default=10, show_default=True)
@click.option("--retrain", default="all", show_default=True,
              help="Batches after which a model is trained anew, such as 4,7,10.")  # fmt: skip
@click.option("--measure", default="all", show_default=True,
              help="Batches after which the updated model is measured.")  # fmt: skip
@click.option("--split", type=click.Choice(["dev", "test"]), default="test", show_default=True)
@click.option("--points", type=click.IntRange(min=1), default=5000, show_default=True,
              help="Points of the split that are asked, drawn evenly.")  # fmt: skip
@click.option("--keep-texts", is_flag=True,
              help="Models keep their texts: once doubled, all is trained anew.")  # fmt: skip
@click.option("--shuffled", is_flag=True, help="Batches of records drawn at random.")
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False))
@threads_option
@quiet_option
@errors_as_lines()
def main(
    data: str,
    preset: str,
    batches: int,
    retrain: str,
    measure: str,
    split: Any,
    points: int,
    keep_texts: bool,
    shuffled: bool,
    out: Path,
    threads: int | None,
    quiet: bool,
) -> None:
    """Update and retrain; print a Markdown table, and draw the curve beside ``--out``."""
    use_threads(threads)
    folder = open_dataset(data)
    train, asked = folder.read("train"), folder.read(split)
    asked = asked.subset(np.arange(0, asked.n_points, -(-asked.n_points // points)))
    order = np.arange(train.n_points)
    if shuffled:
        order = np.random.default_rng(0).permutation(order)
    parts = [np.sort(part) for part in np.array_split(order, batches)]
    anew, shown = (
        set(range(1, batches + 1)) if given == "all" else {int(n) for n in given.split(",") if n}
        for given in (retrain, measure)
    )
    kept = f"{out.stem}-{preset}-{batches}"
    first = {"keep_texts": "yes"} if keep_texts else {}
    path = out.with_name(f"{kept}-1{'-texts' if keep_texts else ''}")
    model, spent = timed_training(train.subset(parts[0]), preset, path, **first)
    rows: list[dict[str, Any]] = [
        {"batch": 1, "updated": measured(model, asked), "trained": measured(model, asked),
         "update_s": spent["s"], "update_cpu_s": spent["cpu_s"], **_times(spent)}
    ]  # fmt: skip
    for number in range(2, batches + 1):
        batch = train.subset(parts[number - 1])
        wall, cpu = time.perf_counter(), time.process_time()
        model = model.update(batch.texts, _given(batch))
        row: dict[str, Any] = {
            "batch": number,
            "update_s": time.perf_counter() - wall,
            "update_cpu_s": time.process_time() - cpu,
        }
        if number in anew | shown:
            row["updated"] = measured(model, asked)
        if number in anew:
            so_far = train.subset(np.sort(np.concatenate(parts[:number])))
            path = out.with_name(f"{kept}-{number}")
            other, spent = timed_training(so_far, preset, path)
            row |= {"trained": measured(other, asked), **_times(spent)}
        rows.append(row)
        note(f"batch {number}: {row['update_s']:.1f} s", quiet=quiet)
        write_json(
            out,
            {"data": data, "preset": preset, "rows": rows, "environment": describe_environment()},
        )
    click.echo(table(rows))
    click.echo(totals(rows))
    series = {
        name: {
            kind: [(row["batch"], row[kind][name]) for row in rows if kind in row]
            for kind in ("updated", "trained")
        }
        for name in PLOTTED
    }
    plot_lines(series, out.with_suffix(".png"), label="batches of records")


def _given(batch: Dataset) -> list[list[str]]:
    """Labels by key, as a user has them."""
    keys = batch.vocabulary.keys
    rows = np.split(batch.labels.indices, batch.labels.indptr[1:-1])
    return [[keys[label] for label in row] for row in rows]


def _times(spent: dict[str, float]) -> dict[str, float]:
    return {"train_s": spent["s"], "train_cpu_s": spent["cpu_s"]}


def table(rows: list[dict[str, Any]]) -> str:
    """Updated / trained anew of each metric, and both times."""
    lines = [f"| batch | {' | '.join(SHOWN)} | s | CPU s |", f"|{'---|' * (len(SHOWN) + 3)}"]
    for row in rows:
        other = row.get("trained")
        updated = row.get("updated")
        cells = [
            ("" if updated is None else f"{updated[name]:.1f}")
            + ("" if other is None else f" / {other[name]:.1f}")
            for name in SHOWN
        ]
        for clock in ("s", "cpu_s"):
            more = "" if other is None else f" / {row[f'train_{clock}']:.0f}"
            cells.append(f"{row[f'update_{clock}']:.1f}{more}")
        lines.append(f"| {row['batch']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def totals(rows: list[dict[str, Any]]) -> str:
    """All updates together, and as many trainings; those not made are interpolated by size."""
    last = len(rows)
    known = [row["batch"] for row in rows if "train_cpu_s" in row]
    trainings = np.interp(
        np.arange(1, last + 1), known, [row["train_cpu_s"] for row in rows if "train_cpu_s" in row]
    )
    updates = sum(row["update_cpu_s"] for row in rows[1:])
    return (
        f"CPU s: batches 2 to {last} by update {updates:.0f}, by a training each "
        f"{trainings[1:].sum():.0f} ({len(known)} measured, the others interpolated)"
    )


if __name__ == "__main__":
    main()
