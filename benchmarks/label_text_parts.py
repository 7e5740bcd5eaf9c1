"""What each use of label texts brings by itself, on held-out points.

    python -m benchmarks.label_text_parts --data DIR --model MODEL

Encoder and index of a trained model stay; sparse ranker, records and final ranker are trained again
without its held-out points, once for each use of label texts. Figures are those of final rankers
(trees) that have not seen the point, means over draws of folds.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import product
from typing import Any

import click
import numpy as np

from learned_index import ELIAS
from learned_index.cli.shared.common import threads_option, use_threads
from learned_index.data import Dataset, open_dataset
from learned_index.elias.final_ranking import N_ALIKE, N_NAMED, alike_of, evidence_of, listed
from learned_index.elias.label_texts import label_points
from learned_index.elias.prediction import arranged
from learned_index.metrics import evaluate, hit_matrix, propensities_from_counts
from learned_index.ranking.evidence import (
    EVIDENCE,
    N_BEFORE_NAMES,
    N_BEFORE_SPELLING,
    NameTerms,
)
from learned_index.ranking.final_ranker import FinalRanker

SHOWN = ("P@1", "P@3", "P@5", "PSP@1", "PSP@5", "R@10", "R@100")


def behind(model: ELIAS, train: Dataset, label_text: str) -> ELIAS:
    """The same encoder and index; the other parts have not seen the held-out points."""
    config = replace(
        model.config, label_text=label_text, refit="no", train_encoder="no",
        calibration="none", final_ranker="trees",
    )  # fmt: skip
    again = ELIAS(model.encoder, model.index, ranker=model.ranker_config, config=config)
    return again.fit(train.texts, train.labels, vocabulary=train.vocabulary)


def with_part_of(model: ELIAS, other: ELIAS, part: str) -> ELIAS:
    """A model with one part of another one."""
    twin = copy.copy(model)
    setattr(twin, part, getattr(other, part))
    return twin


def measured(
    model: ELIAS,
    held: Dataset,
    *,
    n_named: int,
    n_columns: int,
    alike: NameTerms | None,
    draws: int,
) -> Any:
    """Metrics of the held-out points with some labels by name and so many columns of evidence."""
    assert model.final_ranker_ is not None and model.features is not None
    vectors, sparse = model.encode(held.texts), model.features.encode(held.texts)
    head, wide = model.shortlist(vectors, model.config.rerank_size)
    names = FinalRanker("trees", names=model.final_ranker_.names, n_named=n_named, alike=alike)
    found = listed(model, head, sparse, vectors[0], names=names)
    searched = FinalRanker("trees", names=names.names, n_named=1)  # for its scores
    rows = evidence_of(model, found, sparse, searched)
    rows = rows[:, :, :n_columns]
    assert model.label_counts is not None
    propensities = propensities_from_counts(model.label_counts, n_points=model.n_points)
    values = []
    for seed in range(draws):
        ranker = FinalRanker("trees", names=names.names, seed=seed)
        scores = ranker.fit(rows, found.ids, hit_matrix(found.ids, held.labels))
        ids, _ = arranged(found.ids, scores, wide, 100)
        told = evaluate(ids, held.labels, propensities=propensities)
        values.append([told[name] for name in SHOWN])
    return np.mean(values, axis=0)


@click.command()
@click.option("--data", required=True, help="Data folder of texts, with label texts.")
@click.option("--model", "path", required=True, help="A model that was trained on them.")
@click.option("--draws", default=2, show_default=True, help="Draws of folds.")
@threads_option
def main(data: str, path: str, draws: int, threads: int | None) -> None:
    """Print a Markdown table."""
    use_threads(threads)
    train, trained = open_dataset(data).read("train"), ELIAS.from_pretrained(path)
    held = train.subset(trained.held_out_rows(train.labels))
    off, on = (behind(trained, train, label_text) for label_text in ("off", "on"))
    click.echo(f"| label texts are | {' | '.join(SHOWN)} |\n|{'---|' * (1 + len(SHOWN))}")

    def show(
        name: str, model: ELIAS, n_named: int, n_columns: int, *, spelled: bool = False
    ) -> None:
        alike = alike_of(model) if spelled else None
        values = measured(
            model, held, n_named=n_named, n_columns=n_columns, alike=alike, draws=draws
        )
        click.echo(f"| {name} | {' | '.join(f'{value:.2f}' for value in values)} |")

    for n_named, scored in product((0, N_NAMED), (False, True)):
        what = f"{n_named} candidates" + (", and evidence" if scored else "")
        show(what, off, n_named, N_BEFORE_SPELLING if scored else N_BEFORE_NAMES)
    whole = len(EVIDENCE)
    for n_named in (0, N_NAMED, N_ALIKE):
        show(f"{n_named} candidates by spelling, and evidence", off, n_named, whole, spelled=True)
    # The parts are interchangeable: records of one model, ranker of the other.
    by_records, by_ranker = with_part_of(off, on, "records_"), with_part_of(off, on, "ranker_")
    show("and records", by_records, N_ALIKE, whole, spelled=True)
    show("and points of the ranker", by_ranker, N_ALIKE, whole, spelled=True)
    show("and both", on, N_ALIKE, whole, spelled=True)
    click.echo(f"{len(label_points(trained).labels_M)} label texts, {held.n_points} points")


if __name__ == "__main__":
    main()
