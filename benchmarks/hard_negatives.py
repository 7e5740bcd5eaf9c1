"""Negatives of the sparse ranker: the index's shortlists, or those that a first ranker gets wrong.

    li train --data DIR --preset fast --validation-fraction 0.15 --validation-limit 6000 \\
        --refit no --label-text off --out MODEL
    python -m benchmarks.hard_negatives --data DIR --model MODEL

The ranker is trained anew on the points that the model did not hold out, with other negatives each
time, and measured on those that it did: by the fixed formula of p and q, and by a final ranker
learned on the other folds. ``--pool`` labels of the index are what a second pass chooses from: the
``--width`` that the ranker of the first pass orders highest by that formula.
"""

from __future__ import annotations

import time
from copy import copy
from typing import Any

import click
import numpy as np

from benchmarks.final_rankers import held_out
from learned_index import ELIAS
from learned_index.cli.shared.common import errors_as_lines, threads_option, use_threads
from learned_index.elias.final_ranking import judged
from learned_index.elias.prediction import arranged
from learned_index.metrics import evaluate, propensities_from_counts
from learned_index.ranking.combination import Combination
from learned_index.ranking.final_ranker import FinalRanker
from learned_index.ranking.sparse_ranker import SparseRanker
from learned_index.types import PAD_ID

SHOWN = ("P@1", "P@5", "R@10", "R@100", "PSP@5")
WIDTH = 100
CHUNK = 4096


def shortlists(model: ELIAS, x_ND: Any, width: int) -> tuple[Any, Any]:
    """Labels and p of the index, N x width each."""
    ids, p = np.empty((len(x_ND), width), np.int64), np.empty((len(x_ND), width), np.float32)
    for start in range(0, len(x_ND), CHUNK):
        part = slice(start, start + CHUNK)
        _, wide = model.shortlist([x_ND[part]], width)
        ids[part], p[part] = wide.ids[:, :width], wide.p[:, :width]
    return ids, p


def hardest(ranker: SparseRanker, sparse: Any, x_ND: Any, ids: Any, p: Any, width: int) -> Any:
    """Of each row's labels those that p and q order highest."""
    out, combine = np.empty((len(ids), width), np.int64), Combination()
    for start in range(0, len(ids), CHUNK):
        part = slice(start, start + CHUNK)
        score = combine(p[part], ranker.score(sparse[part], x_ND[part], ids[part]))
        score = np.where(ids[part] == PAD_ID, -1, score)
        order = np.argsort(-score, axis=1, kind="stable")[:, :width]
        out[part] = np.take_along_axis(ids[part], order, axis=1)
    return out


def _united(a: Any, b: Any) -> Any:
    """Both lists of each row, without the second's repetitions."""
    again = (b[:, :, None] == a[:, None, :]).any(axis=2)
    return np.concatenate([a, np.where(again, PAD_ID, b)], axis=1)


@click.command()
@click.option("--data", required=True, help="Data folder of texts.")
@click.option("--model", "path", required=True, help="Trained on them with --refit no.")
@click.option("--width", default=50, show_default=True, help="Negatives of a point at most.")
@click.option("--pool", default=200, show_default=True, help="Labels to choose them from.")
@threads_option
def main(data: str, path: str, width: int, pool: int, threads: int | None) -> None:
    """Print the table."""
    with errors_as_lines():
        use_threads(threads)
        model, train, rows = held_out(path, data)
        assert model.features is not None
        held, learned = train.subset(rows), train.subset(
            np.setdiff1d(np.arange(train.n_points), rows)
        )  # fmt: skip
        x, sparse = model.encode(learned.texts)[0], model.features.encode(learned.texts)
        ids, p = shortlists(model, x, pool)
        first = SparseRanker(model.ranker_config).fit(sparse, x, learned.labels, ids[:, :width])
        chosen = hardest(first, sparse, x, ids, p, width)
        negatives = {
            f"the index's first {width}": ids[:, :width],
            f"its first {2 * width}": ids[:, : 2 * width],
            f"second pass: the hardest {width} of {pool}": chosen,
            "second pass: these and the first": _united(ids[:, :width], chosen),
        }
        click.echo(
            f"| negatives | {' | '.join(f'{m}, p and q' for m in SHOWN[:3])} | "
            f"{' | '.join(SHOWN)} | ranker s |\n|{'---|' * (5 + len(SHOWN))}"
        )
        for name, listed in negatives.items():
            begin = time.process_time()
            ranker = SparseRanker(model.ranker_config).fit(sparse, x, learned.labels, listed)
            seconds = time.process_time() - begin
            told = _measured(model, ranker, held)
            click.echo(f"| {name} | {' | '.join(f'{v:.2f}' for v in told)} | {seconds:.0f} |")


def _measured(model: ELIAS, ranker: SparseRanker, held: Any) -> list[float]:
    """Metrics on held-out points by the fixed formula, and by a final ranker out of fold."""
    assert model.features is not None and model.final_ranker_ is not None
    asked = copy(model)
    asked.ranker_ = ranker
    vectors, sparse = model.encode(held.texts), model.features.encode(held.texts)
    head, wide = model.shortlist(vectors, WIDTH)
    fixed = Combination()(head.p, ranker.score(sparse, vectors[0], head.ids))
    found = judged(asked, vectors, sparse, held.labels, model.final_ranker_)
    final = FinalRanker("mixed", names=model.final_ranker_.names).fit(
        found.evidence_BKF, found.ids_BK, found.relevant_BK
    )
    assert model.label_counts is not None
    propensities = propensities_from_counts(model.label_counts, n_points=model.n_points)
    values = []
    for ids, scores, shown in ((head.ids, fixed, SHOWN[:3]), (found.ids_BK, final, SHOWN)):
        answers, _ = arranged(ids, np.asarray(scores, np.float32), wide, WIDTH)
        told = evaluate(answers, held.labels, propensities=propensities)
        values += [told[metric] for metric in shown]
    return values


if __name__ == "__main__":
    main()
