"""Log-linear model, boosted trees and their mean as final rankers, by number of points.

    li train --data DIR --preset fast --validation-fraction 0.15 --validation-limit 6000 \\
        --refit no --out MODEL
    python -m benchmarks.final_rankers --data DIR --model MODEL --points 150,600,1800

Each final ranker is learned on so many of the points that the model held out, drawn anew for each
draw, and measured on the last part of the same drawing, which it has not seen. Neither index nor
sparse ranker nor records have seen either. Means over draws; the table is Markdown.

``--with-entropy`` shows each method a second time, with the entropy of the index's p over the
point's shortlist as one more column of the evidence: how sure the index is.
"""

from __future__ import annotations

from typing import Any, get_args

import click
import numpy as np

from learned_index import ELIAS
from learned_index.cli.shared.common import errors_as_lines, threads_option, use_threads
from learned_index.data import Dataset, open_dataset
from learned_index.elias.final_ranking import judged
from learned_index.elias.prediction import arranged
from learned_index.errors import InputError
from learned_index.metrics import evaluate, propensities_from_counts
from learned_index.ranking.evidence import EVIDENCE
from learned_index.ranking.final_ranker import FinalRanker, FinalRankerMethod

SHOWN = ("P@1", "P@5", "nDCG@5", "R@10")
METHODS = tuple(name for name in get_args(FinalRankerMethod) if name != "auto")
WIDTH = 100


def with_entropy(evidence_BKF: Any) -> Any:
    """The evidence and one more column: -sum p log p of each point, p over its sum."""
    log_p, found = (evidence_BKF[:, :, EVIDENCE.index(name)] for name in ("log_p", "found"))
    p = np.where(found > 0, np.exp(log_p.astype(np.float64)), 0)
    p /= np.maximum(p.sum(axis=1, keepdims=True), 1e-12)
    entropy = -(p * np.log(np.maximum(p, 1e-12))).sum(axis=1)
    column = np.broadcast_to(entropy[:, None, None], (*p.shape, 1))
    return np.concatenate([evidence_BKF, column], axis=2).astype(np.float32)


def held_out(path: str, data: str) -> tuple[ELIAS, Dataset, Any]:
    """A model that kept held-out points to itself, the training points, and which it held out.

    Raises:
        InputError: It has no final ranker, or has learned from them since.
    """
    model, train = ELIAS.from_pretrained(path), open_dataset(data).read("train")
    if model.config.refit != "no" or model.final_ranker_ is None or model.features is None:
        raise InputError(f"{path}: expected a model with a final ranker, trained --refit no")
    return model, train, model.held_out_rows(train.labels)


@click.command()
@click.option("--data", required=True, help="Data folder of texts.")
@click.option("--model", "path", required=True, help="Trained on them with --refit no.")
@click.option("--points", default="150,600,1800", show_default=True, help="To learn from.")
@click.option("--measured", default=1500, show_default=True, help="Points to measure on.")
@click.option("--draws", default=3, show_default=True)
@click.option("--with-entropy", "entropy", is_flag=True, help="One more column of evidence.")
@threads_option
def main(
    data: str, path: str, points: str, measured: int, draws: int, entropy: bool,
    threads: int | None,
) -> None:  # fmt: skip
    """Print the table."""
    with errors_as_lines():
        use_threads(threads)
        model, train, rows = held_out(path, data)
        assert model.features is not None and model.final_ranker_ is not None
        held = train.subset(rows)
        sizes = [int(size) for size in points.split(",")]
        if max(sizes) + measured > held.n_points:
            raise InputError(
                f"{path} held out {held.n_points} points, and --points {points} and --measured "
                f"{measured} need {max(sizes) + measured}; train with a larger "
                "--validation-fraction and --validation-limit, or ask for less"
            )
        vectors, sparse = model.encode(held.texts), model.features.encode(held.texts)
        found = judged(model, vectors, sparse, held.labels, model.final_ranker_)
        _, wide = model.shortlist(vectors, WIDTH)
        assert model.label_counts is not None
        propensities = propensities_from_counts(model.label_counts, n_points=model.n_points)
        click.echo(f"| points | final ranker | {' | '.join(SHOWN)} |\n|{'---|' * (2 + len(SHOWN))}")
        columns = {method: (method, found.evidence_BKF) for method in METHODS}
        if entropy:
            wider = with_entropy(found.evidence_BKF)
            columns |= {f"{method}, entropy": (method, wider) for method in METHODS}
        for size in sizes:
            values: dict[str, list[Any]] = {name: [] for name in columns}
            for draw in range(draws):
                order = np.random.default_rng(draw).permutation(held.n_points)
                learned, asked = order[:size], order[-measured:]
                for name, (method, evidence_BKF) in columns.items():
                    ranker = FinalRanker(method, names=model.final_ranker_.names)  # type: ignore[arg-type]
                    ranker.fit(
                        evidence_BKF[learned],
                        found.ids_BK[learned],
                        found.relevant_BK[learned],
                    )
                    scores = ranker.score(evidence_BKF[asked], found.ids_BK[asked])
                    behind = type(wide)(*(part[asked] for part in wide))
                    ids, _ = arranged(found.ids_BK[asked], scores, behind, WIDTH)
                    told = evaluate(ids, held.labels[asked], propensities=propensities)
                    values[name].append([told[metric] for metric in SHOWN])
            for name in columns:
                means = " | ".join(f"{value:.2f}" for value in np.mean(values[name], axis=0))
                click.echo(f"| {size} | {name} | {means} |")


if __name__ == "__main__":
    main()
