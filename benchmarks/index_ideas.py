"""The ideas of an index over labels under one roof: only the index differs.

    python -m benchmarks.index_ideas --data DIR --vectors lsa --seeds 5 --out results/ideas.json

Every idea is a method of ``li compare`` (``baselines/``), trained here on the same frozen vectors
with the same budget: epochs, batches, rates, projection, dropout, first classifiers, averaging, and
the size of a shortlist where there is one. Each is trained with each seed and measured at one
setting, that of its best quality, and then query by query on one thread. Differences to the first
idea are paired by point and seed, with a 95 % bootstrap interval; a difference whose interval holds
0 is a tie. Answers are kept in a folder beside ``--out``, from which the same command goes on.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import click
import numpy as np
import scipy.sparse as sp

from learned_index.baselines import MethodSpec, parse_baselines
from learned_index.cli.shared.ablation_data import ablation_splits
from learned_index.cli.shared.common import (
    errors_as_lines,
    note,
    quiet_option,
    threads_option,
    use_threads,
)
from learned_index.cli.shared.options import config_options, given_values
from learned_index.cli.shared.sources import bind, encode_points, make_encoder, points_for
from learned_index.data import Dataset, open_dataset
from learned_index.data.naming import renumbered
from learned_index.elias.points import fit_encoder
from learned_index.elias.presets import PRESETS, model_configs
from learned_index.evaluation.compared import with_budget
from learned_index.evaluation.significance import paired_bootstrap
from learned_index.index.config import IndexConfig, TrainingConfig
from learned_index.metrics import label_propensities, point_values
from learned_index.persistence import atomic_file, write_json
from learned_index.persistence.digest import data_digest, digest
from learned_index.reproduction.answers import best_setting
from learned_index.system.environment import describe_environment
from learned_index.system.threads import limit_threads
from learned_index.system.timing import single_latencies
from learned_index.types import Int64Array

IDEAS = "trained-graph,trained-tree,overlap,slice,glas,ova"
SHOWN = ("P@1", "P@3", "P@5", "R@100", "PSP@1", "PSP@3", "PSP@5")
WIDTH = 100
"""Labels asked for: the largest cut-off."""


class IdeasData(NamedTuple):
    """What all ideas are trained and measured on.

    Attributes:
        vectors_ND: Training points, may be memory-mapped.
        labels_NL: Canonical CSR.
        queries_MD: Points to measure on, float32.
        truth: CSR, M x L or wider: labels without training points stand behind.
    """

    vectors_ND: Any
    labels_NL: sp.csr_matrix
    queries_MD: Any
    truth: sp.csr_matrix


class Run(NamedTuple):
    """One idea trained with one seed.

    Attributes:
        ids_MK: Answers to the queries, M x 100.
        seconds: Of training and building.
        latency_ms: Median time of a query by itself, on one thread.
    """

    ids_MK: Int64Array
    seconds: float
    latency_ms: float


def read_data(
    data: str,
    vectors: str,
    split: Literal["test", "dev"],
    *,
    seed: int,
    cache: str | None,
    quiet: bool,
) -> IdeasData:
    """Fit the encoder on the training points, and encode these and the queries once for all."""
    whole, train, queries = ablation_splits(open_dataset(data), split, None, seed=seed)
    encoder = make_encoder(vectors, has_texts=train.texts is not None, seed=seed)
    fit_encoder(encoder, points_for(encoder, train), whole_split=points_for(encoder, whole))
    if queries.split != "train":
        bind(encoder, queries)

    def encoded(part: Dataset) -> Any:
        points = points_for(encoder, part)
        return encode_points(encoder, points, what="encoding", cache=cache, quiet=quiet)

    return IdeasData(
        encoded(train),
        train.labels,
        np.asarray(encoded(queries), dtype=np.float32),
        renumbered(train.vocabulary, queries),
    )


def train_and_measure(spec: MethodSpec, data: IdeasData) -> Run:
    """Train an idea, answer all queries, and time some of them."""
    method = spec.create()
    start = time.perf_counter()
    method.build(data.vectors_ND, data.labels_NL)
    seconds = time.perf_counter() - start
    knobs = best_setting(method)
    ids_MK = method.search(data.queries_MD, WIDTH, **knobs).ids
    with limit_threads(1):
        queries = method.split_queries(method.prepare_queries(data.queries_MD))
        times = single_latencies(method.bind(WIDTH, **knobs).one, queries)
    return Run(ids_MK, seconds, float(np.median(times)))


def kept_run(spec: MethodSpec, data: IdeasData, known: str, folder: Path) -> Run:
    """Return :func:`train_and_measure`'s run, from the folder if it is there.

    Args:
        spec: The idea, its seed among its options.
        data: What it is trained on.
        known: Digest of that.
        folder: Where runs are kept.
    """
    key = digest({"data": known, "method": spec.method, "options": dict(spec.options)})
    path = folder / f"{spec.method}-{key[:24]}.npz"
    if path.is_file():
        with np.load(path) as kept:
            return Run(kept["ids_MK"], float(kept["seconds"]), float(kept["latency_ms"]))
    run = train_and_measure(spec, data)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **run._asdict())
    return run


def compared(runs: dict[str, list[Run]], data: IdeasData) -> list[dict[str, Any]]:
    """Make a row of each idea: means over the seeds, and differences to the first.

    Returns:
        ``method``, ``metrics`` and ``spread`` (standard deviation over seeds, None of one),
        ``latency_ms``, ``seconds``, and ``differences`` by metric: ``difference``, ``low``,
        ``high``, ``tie``.
    """
    propensities = _propensities(data)
    values = {
        name: [point_values(run.ids_MK, data.truth, propensities=propensities) for run in each]
        for name, each in runs.items()
    }
    first = next(iter(values.values()))
    rows = []
    for name, seeds in values.items():
        rates = {metric: [each[metric].rate for each in seeds] for metric in SHOWN}
        rows.append(
            {
                "method": name,
                "metrics": {metric: float(np.mean(each)) for metric, each in rates.items()},
                "spread": {
                    metric: float(np.std(each, ddof=1)) if len(each) > 1 else None
                    for metric, each in rates.items()
                },
                "latency_ms": float(np.median([run.latency_ms for run in runs[name]])),
                "seconds": float(np.mean([run.seconds for run in runs[name]])),
                "differences": {metric: _difference(seeds, first, metric) for metric in SHOWN},
            }
        )
    return rows


def _difference(seeds: Sequence[Any], first: Sequence[Any], metric: str) -> dict[str, Any]:
    found = paired_bootstrap(
        100.0 * np.stack([each[metric].values_N for each in seeds]),
        100.0 * np.stack([each[metric].values_N for each in first]),
        weights=first[0][metric].weights_N,
    )
    return {**found._asdict(), "tie": found.is_tie}


def _propensities(data: IdeasData) -> Any:
    labels = sp.csr_matrix(data.labels_NL)
    labels.resize(labels.shape[0], data.truth.shape[1])
    return label_propensities(labels)


def tables(rows: Sequence[dict[str, Any]]) -> str:
    """Return both tables in Markdown; ``=`` marks a tie."""
    lines = [f"| index | {' | '.join(SHOWN)} | ms/query | training s |", "|---" * 10 + "|"]
    for row in rows:
        cells = [f"{row['metrics'][name]:.2f}" for name in SHOWN]
        cells += [f"{row['latency_ms']:.2f}", f"{row['seconds']:.0f}"]
        lines.append(f"| {row['method']} | {' | '.join(cells)} |")
    lines += [
        "",
        f"| less {rows[0]['method']} | {' | '.join(SHOWN)} |",
        "|---" * (1 + len(SHOWN)) + "|",
    ]
    for row in rows[1:]:
        cells = []
        for name in SHOWN:
            found = row["differences"][name]
            tie = " =" if found["tie"] else ""
            text = f"{found['difference']:+.2f}{tie} [{found['low']:+.2f}, {found['high']:+.2f}]"
            cells.append(text)
        lines.append(f"| {row['method']} | {' | '.join(cells)} |")
    return "\n".join(lines)


@click.command()
@click.option("--data", required=True, help="Data folder.")
@click.option("--vectors", required=True, help="A folder of vectors, or an encoder, e.g. lsa.")
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--ideas", default=IDEAS, show_default=True, help="As li compare --baselines.")
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--split", type=click.Choice(["test", "dev"]), default="test", show_default=True)
@click.option("--preset", type=click.Choice(list(PRESETS)), default="cpu", show_default=True)
@click.option("--cache", default=None, help="Directory of encoded texts; off keeps nothing.")
@config_options(IndexConfig)
@config_options(TrainingConfig, skip=("fixed_edges", "assignment_rounds"))
@threads_option
@quiet_option
@errors_as_lines()
def main(
    data: str,
    vectors: str,
    out: Path,
    ideas: str,
    seeds: int,
    split: Any,
    preset: str,
    cache: str | None,
    threads: int | None,
    quiet: bool,
    **parameters: Any,
) -> None:
    """Train and compare the ideas; print Markdown tables and write JSON."""
    n_threads = use_threads(threads)
    index, training = (given_values(kind, parameters) for kind in (IndexConfig, TrainingConfig))
    first_seed = int(training.get("seed", 0))
    values = read_data(data, vectors, split, seed=first_seed, cache=cache, quiet=quiet)
    configs = model_configs(
        preset, n_labels=values.labels_NL.shape[1], index=index, training=training
    )
    labelled = int(np.count_nonzero(np.diff(values.labels_NL.indptr)))
    plan = configs.training.resolve_epochs(labelled)
    known = data_digest(
        np.asarray(values.vectors_ND), values.labels_NL, values.queries_MD, values.truth
    )
    runs: dict[str, list[Run]] = {}
    for spec in parse_baselines(ideas):
        budget = with_budget(spec, configs.index, plan)
        for seed in range(first_seed, first_seed + seeds):
            seeded = budget.with_options(seed=seed)
            run = kept_run(seeded, values, known, out.with_suffix(".runs"))
            runs.setdefault(spec.name, []).append(run)
            note(f"{spec.name}, seed {seed}: {run.seconds:.0f} s", quiet=quiet)
    rows = compared(runs, values)
    write_json(
        out,
        {
            "data": data,
            "vectors": vectors,
            "split": split,
            "seeds": seeds,
            "threads": n_threads,
            "index": configs.index.to_dict(),
            "training": plan.to_dict(),
            "rows": rows,
            "environment": describe_environment(),
        },
    )
    click.echo(tables(rows))


if __name__ == "__main__":
    main()
