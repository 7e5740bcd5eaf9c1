"""How good labels are that joined a trained model, beside the same labels trained with it.

    python -m benchmarks.new_labels --data DIR --preset fast --out results/new-labels.json
    python -m benchmarks.new_labels --data DIR --hidden 1000 --least 1 --most 5 --out few.json

Some labels are hidden: no training point has them. A model is trained without them, then they are
added from a few of their training points (``ELIAS.add_labels``), or from their names alone, and
looked for in the test points that have them; another model is trained with all labels. Beside that,
P@k of the labels that were never hidden, before and after: what the new ones cost the others. The
model without them is kept beside ``--out``, and not trained again.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import scipy.sparse as sp

from learned_index import ELIAS
from learned_index.cli.shared.common import (
    errors_as_lines,
    note,
    quiet_option,
    threads_option,
    use_threads,
)
from learned_index.data import Dataset, LabelVocabulary, open_dataset
from learned_index.elias.presets import PRESETS, model_configs
from learned_index.metrics import evaluate
from learned_index.persistence import write_json
from learned_index.system.environment import describe_environment

SHOWN = (5, 10, 100)


def hidden_labels(
    train: Dataset, test: Dataset, n: int, *, seed: int, least: int, most: int
) -> Any:
    """Draw labels with a name, some training points and a test point."""
    counts, asked = (np.asarray(part.labels.sum(axis=0)).ravel() for part in (train, test))
    named = np.array([bool(text) for text in train.vocabulary.texts])
    fit = np.flatnonzero((counts >= least) & (counts <= most) & (asked > 0) & named)
    return np.sort(np.random.default_rng(seed).choice(fit, min(n, len(fit)), replace=False))


def trained(
    train: Dataset, labels_NL: sp.csr_matrix, names: LabelVocabulary, preset: str, **model: Any
) -> ELIAS:
    """Train a model on the points that have one of the labels; ``model``: what differs in it."""
    configs = model_configs(preset, n_labels=labels_NL.shape[1], model=model)
    made = ELIAS(
        PRESETS[preset]["encoder"], configs.index, training=configs.training,
        ranker=configs.ranker, config=configs.model,
    )  # fmt: skip
    rows = np.flatnonzero(np.diff(labels_NL.indptr))
    return made.fit([train.texts[row] for row in rows], labels_NL[rows], vocabulary=names)


def recalls(model: ELIAS, test: Dataset, hidden: Any) -> dict[str, float]:
    """Share of the hidden labels of the test points that are among the first answers."""
    truth = test.labels[:, hidden].tocsr()
    rows = np.flatnonzero(np.diff(truth.indptr))
    keys = [test.vocabulary.keys[label] for label in hidden]
    ids = np.array([model.vocabulary.id(key) for key in keys])
    answers = model.search([test.texts[row] for row in rows], max(SHOWN)).ids
    places = [
        np.flatnonzero(answers[n] == ids[label])
        for n, row in enumerate(rows)
        for label in truth[row].indices
    ]
    ranks = np.array([place[0] if len(place) else max(SHOWN) for place in places])
    return {f"R@{k}": 100.0 * float((ranks < k).mean()) for k in SHOWN}


def others(model: ELIAS, test: Dataset, shown: Any) -> dict[str, float]:
    """P@k of the labels that were never hidden, on the points that have no hidden one."""
    hidden = np.setdiff1d(np.arange(test.labels.shape[1]), shown)
    rows = np.flatnonzero(np.asarray(test.labels[:, hidden].sum(axis=1)).ravel() == 0)
    known = np.array([model.vocabulary.id(test.vocabulary.keys[label]) for label in shown])
    mine = test.labels[rows][:, shown].tocsr()
    truth = sp.csr_matrix(
        (mine.data, known[mine.indices], mine.indptr), shape=(len(rows), model.n_labels)
    )
    ids = model.search([test.texts[row] for row in rows], 5).ids
    found = evaluate(ids, truth, propensities=np.ones(model.n_labels), ks=(1, 5), recall_ks=(5,))
    return {name: found[name] for name in ("P@1", "P@5")}


@click.command()
@click.option("--data", required=True, help="Data folder with texts and names of labels.")
@click.option("--preset", type=click.Choice(["fast", "cpu", "accurate"]), default="fast")
@click.option("--hidden", "n_hidden", type=click.IntRange(min=1), default=300, show_default=True)
@click.option("--least", type=click.IntRange(min=1), default=5, show_default=True,
              help="Training points of a label that may be hidden, at least.")  # fmt: skip
@click.option("--most", type=click.IntRange(min=1), default=60, show_default=True,
              help="At most.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--points", type=click.Choice(["even", "odd"]), default="odd", show_default=True,
              help="Test points to ask: settings were chosen on the even ones.")  # fmt: skip
@click.option(
    "--model", type=click.Path(path_type=Path), help="One that knows all labels, trained."
)
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False))
@threads_option
@quiet_option
@errors_as_lines()
def main(
    data: str,
    preset: str,
    n_hidden: int,
    least: int,
    most: int,
    seed: int,
    points: str,
    model: Path | None,
    out: Path,
    threads: int | None,
    quiet: bool,
) -> None:
    """Hide labels, train without them, add them, and measure; print a Markdown table."""
    use_threads(threads)
    folder = open_dataset(data)
    train, test = folder.read("train"), folder.read("test")
    hidden = hidden_labels(train, test, n_hidden, seed=seed, least=least, most=most)
    test = test.subset(np.arange(int(points == "odd"), test.n_points, 2))
    shown = np.setdiff1d(np.arange(len(train.vocabulary)), hidden)
    names = train.vocabulary
    kept = names.subset(shown)
    whole = (
        trained(train, train.labels, names, preset)
        if model is None
        else ELIAS.from_pretrained(model)
    )
    rows = [{"labels": "trained", **recalls(whole, test, hidden), **others(whole, test, shown)}]
    kept_at = out.with_suffix(f".{preset}-{len(hidden)}-{seed}")
    if not kept_at.exists():
        base = trained(train, train.labels[:, shown].tocsr(), kept, preset)
        base.save_pretrained(kept_at)
    base = ELIAS.from_pretrained(kept_at)
    rows.append({"labels": "not there", **dict.fromkeys(("R@5", "R@10", "R@100"), 0.0),
                 **others(base, test, shown)})  # fmt: skip
    by_label = train.labels.tocsc()
    rng = np.random.default_rng(seed)
    own_points = {
        int(n): rng.permutation(by_label.indices[by_label.indptr[n] : by_label.indptr[n + 1]])
        for n in hidden
    }
    for n_examples in (*(n for n in (0, 1, 3) if n < most), most):
        added = {
            names.keys[n]: [train.texts[row] for row in own[:n_examples]]
            for n, own in own_points.items()
        }
        start = time.perf_counter()
        grown = base.add_labels(added, texts={key: names.texts[names.id(key)] for key in added})
        seconds = time.perf_counter() - start
        note(f"{n_examples} examples: {seconds:.1f} s", quiet=quiet)
        what = {0: "names alone", most: "all examples"}.get(n_examples, f"{n_examples} examples")
        rows.append({"labels": what, **recalls(grown, test, hidden),
                     **others(grown, test, shown), "seconds": seconds})  # fmt: skip
    write_json(
        out,
        {"data": data, "preset": preset, "hidden": len(hidden), "seed": seed, "points": points,
         "least": least, "most": most, "rows": rows, "environment": describe_environment()},
    )  # fmt: skip
    columns = ("R@5", "R@10", "R@100", "P@1", "P@5")
    click.echo(f"| {len(hidden)} hidden labels | {' | '.join(columns)} | s |\n|{'---|' * 7}")
    for row in rows:
        cells = " | ".join(f"{row[column]:.1f}" for column in columns)
        click.echo(f"| {row['labels']} | {cells} | {row.get('seconds', 0):.1f} |")


if __name__ == "__main__":
    main()
