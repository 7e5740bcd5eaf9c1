"""What names alone find: labels in the order of their names' scores, nothing else asked.

    python -m benchmarks.name_scores --data DIR

Sparse features are fitted on training points, and other training points are asked. No point tells
what a name is worth, so a label that has none is found as any other.
"""

from __future__ import annotations

import time
from typing import Any

import click
import numpy as np

from learned_index.cli.shared.common import threads_option, use_threads
from learned_index.data import open_dataset
from learned_index.elias.points import default_features
from learned_index.ranking.evidence import name_terms
from learned_index.ranking.name_search import alike_lists, name_lists, search_names
from learned_index.ranking.spelling import Spelling

SHOWN = (10, 100, 300)


def recalls(ids_BK: Any, labels_BL: Any) -> list[float]:
    """Share of the (point, label) pairs whose label is among the first answers, in percent."""
    points, labels = labels_BL.nonzero()
    hits = ids_BK[points] == labels[:, None]
    place = np.where(hits.any(axis=1), hits.argmax(axis=1), max(SHOWN))
    return [100.0 * float((place < k).mean()) for k in SHOWN]


@click.command()
@click.option("--data", required=True, help="Data folder of texts, with label texts.")
@click.option("--points", default=5000, show_default=True, help="Training points to ask.")
@click.option(
    "--known", default=30_000, show_default=True, help="Others, at most, to take words of."
)
@click.option("--seed", default=0, show_default=True)
@threads_option
def main(data: str, points: int, known: int, seed: int, threads: int | None) -> None:
    """Print a Markdown table."""
    use_threads(threads)
    train = open_dataset(data).read("train")
    order = np.random.default_rng(seed).permutation(train.n_points)
    asked, others = train.subset(np.sort(order[:points])), np.sort(order[points : points + known])
    features = default_features(train.texts)
    features.fit([train.texts[row] for row in others])
    names, n_terms = train.vocabulary.texts, features.dim
    by_term = name_terms(features.encode(names))
    begin = time.process_time()
    alike = Spelling(features.terms_).names(names)
    seconds = time.process_time() - begin
    lists = {
        "(22) BM25 of whole words": name_lists(by_term.indptr, by_term.terms, n_terms),
        "(24) spelled alike": alike_lists(alike, n_terms),
    }
    sparse, none = features.encode(asked.texts), np.empty((asked.n_points, 0), np.int64)
    click.echo(f"| names | {' | '.join(f'R@{k}' for k in SHOWN)} | µs a text |\n|{'---|' * 5}")
    for what, each in lists.items():
        search_names(each, sparse[:1], none[:1], n_labels=len(names), n_added=max(SHOWN))
        begin = time.process_time()
        ids, _ = search_names(each, sparse, none, n_labels=len(names), n_added=max(SHOWN))
        micros = 1e6 * (time.process_time() - begin) / asked.n_points
        cells = " | ".join(f"{value:.1f}" for value in recalls(ids, asked.labels))
        click.echo(f"| {what} | {cells} | {micros:.0f} |")
    click.echo(
        f"{len(names)} names, {len(alike.terms) / len(names):.0f} terms each, "
        f"compared in {seconds:.1f} s"
    )


if __name__ == "__main__":
    main()
