"""What the texts of labels bring: recall of labels that no training point has, and of all others.

    python -m benchmarks.label_texts --data DIR --preset fast --out results/label-texts.json

A share of the labels that carry a text is hidden: no training point has them. A model is trained
without label texts (``--label-text off``) and measured on another split. On the same encoder and
index everything behind them is trained again with label texts (``auto``), and measured. The first
model is kept beside ``--out``, and not trained again.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import scipy.sparse as sp

from benchmarks.new_labels import others, trained
from learned_index import ELIAS
from learned_index.cli.shared.common import (
    quiet_option,
    threads_option,
    use_threads,
)
from learned_index.data import Dataset, LabelVocabulary, open_dataset
from learned_index.evaluation.evaluate import evaluate
from learned_index.persistence import write_json
from learned_index.system.environment import describe_environment

SHOWN = ("P@1", "P@5", "PSP@1", "PSP@5", "R@100")
HIDDEN_SHOWN = (1, 5, 10, 20, 50, 100, 200, 300)


def hidden_labels(train: Dataset, share: float, *, seed: int) -> Any:
    """Draw labels that have a text and a training point."""
    named = np.array([bool(text) for text in train.vocabulary.texts])
    able = np.flatnonzero(named & (train.labels.getnnz(axis=0) > 0))
    size = round(share * len(able))
    return np.sort(np.random.default_rng(seed).choice(able, size, replace=False))


def shown_labels(train: Dataset, hidden: Any) -> sp.csr_matrix:
    """The labels of the points without the hidden ones; ids stay."""
    shown = np.ones(train.labels.shape[1], np.float32)
    shown[hidden] = 0
    labels_NL = sp.csr_matrix(train.labels @ sp.diags(shown))
    labels_NL.eliminate_zeros()
    return labels_NL.astype(np.float32)


def sampled(train: Dataset, hidden: Any, n: int) -> tuple[Dataset, Any]:
    """Some of the training points, with the texts of the labels that these have.

    Returns:
        The points, and which of the hidden labels have one of them.
    """
    rows = np.sort(np.random.default_rng(7).permutation(train.n_points)[:n])
    part = train.subset(rows)
    has_L = part.labels.getnnz(axis=0) > 0
    texts = [text if has else "" for text, has in zip(train.vocabulary.texts, has_L, strict=True)]
    vocabulary = LabelVocabulary(train.vocabulary.keys, texts)
    return replace(part, vocabulary=vocabulary), hidden[has_L[hidden]]


def hidden_recalls(model: ELIAS, points: Dataset, hidden: Any) -> dict[str, float]:
    """Share of the (point, hidden label) pairs whose label is among the first answers."""
    truth = points.labels[:, hidden].tocsr()
    rows = np.flatnonzero(np.diff(truth.indptr))
    answers = model.search([points.texts[row] for row in rows], max(HIDDEN_SHOWN)).ids
    asked, label = truth[rows].nonzero()
    hits = answers[asked] == hidden[label][:, None]
    place = np.where(hits.any(axis=1), hits.argmax(axis=1), max(HIDDEN_SHOWN))
    return {f"R@{k}": 100.0 * float((place < k).mean()) for k in HIDDEN_SHOWN}


def with_texts(model: ELIAS, train: Dataset, hidden: Any) -> ELIAS:
    """The same encoder and index; ranker, records and final ranker trained with label texts."""
    config = replace(model.config, label_text="auto", train_encoder="no")
    again = ELIAS(model.encoder, model.index, ranker=model.ranker_config, config=config)
    labels_NL = shown_labels(train, hidden)
    rows = np.flatnonzero(np.diff(labels_NL.indptr))
    return again.fit(
        [train.texts[row] for row in rows], labels_NL[rows], vocabulary=train.vocabulary
    )


def told(model: ELIAS, points: Dataset, hidden: Any) -> dict[str, Any]:
    """Metrics of all labels, the recall of hidden ones, of seen and unseen ones, and P of others.

    The others are all labels but the hidden ones, on the points that have no hidden one.
    """
    values = evaluate(model, points)
    shown = np.setdiff1d(np.arange(model.n_labels), hidden)
    return (
        {name: values[name] for name in SHOWN}
        | {"others": others(model, points, shown)}
        | {"hidden": hidden_recalls(model, points, hidden)}
        | values["by_training_points"]
    )


def table(rows: dict[str, dict[str, Any]]) -> str:
    """The rows as a Markdown table."""
    parts = [("others", "P@1"), *((b, f"R@{k}") for b in ("hidden", "seen") for k in (10, 100))]
    columns = [*SHOWN, *(" ".join(part) for part in parts)]
    lines = [f"| | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    for name, values in rows.items():
        cells = [values[metric] for metric in SHOWN]
        cells += [values.get(part, {}).get(metric, 0.0) for part, metric in parts]
        lines.append(f"| {name} | {' | '.join(f'{cell:.2f}' for cell in cells)} |")
    return "\n".join(lines)


@click.command()
@click.option("--data", required=True, help="Data folder of texts, with label texts.")
@click.option("--preset", default="fast", show_default=True)
@click.option("--hidden", default=0.1, show_default=True, help="Share of the labels to hide.")
@click.option("--encoder", help="In the place of the preset's.")
@click.option("--sample", type=click.IntRange(min=1), help="Training points; default: all.")
@click.option("--asked", type=click.IntRange(min=1), help="Points to ask; default: all.")
@click.option("--seed", default=0, show_default=True)
@click.option("--split", type=click.Choice(["dev", "test"]), default="test", show_default=True)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="JSON file.")
@threads_option
@quiet_option
def main(
    data: str,
    preset: str,
    hidden: float,
    encoder: str | None,
    sample: int | None,
    asked: int | None,
    seed: int,
    split: str,
    out: Path,
    threads: int | None,
    quiet: bool,
) -> None:
    """Measure labels that only their texts tell of."""
    use_threads(threads)
    folder = open_dataset(data)
    train, points = folder.read("train"), folder.read(split)
    chosen = hidden_labels(train, hidden, seed=seed)
    if sample is not None:
        train, chosen = sampled(train, chosen, sample)
    if asked is not None:
        rows = np.random.default_rng(3).permutation(points.n_points)[:asked]
        points = points.subset(np.sort(rows))
    kept = out.with_suffix(".model")
    if kept.exists():
        model = ELIAS.from_pretrained(kept)
    else:
        labels_NL = shown_labels(train, chosen)
        model = trained(
            train, labels_NL, train.vocabulary, preset, encoder=encoder, label_text="off"
        )
        kept.parent.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(kept)
    rows = {"off": told(model, points, chosen)}
    model = with_texts(model, train, chosen)
    rows["auto"] = told(model, points, chosen)
    if not quiet:
        click.echo(table(rows))
    write_json(
        out,
        {"data": data, "preset": preset, "split": split, "n_hidden": len(chosen), "seed": seed}
        | {"n_learned": model.report_["n_labels_by_text"], "rows": rows}
        | {"environment": describe_environment()},
    )


if __name__ == "__main__":
    main()
