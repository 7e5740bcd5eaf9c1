"""``li analyse``: what a trained model learned, by label frequency and by edge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from learned_index.cli.shared.common import (
    emit_json,
    progress_bar,
    standard_options,
    use_threads,
    wide_option,
)
from learned_index.cli.shared.help import command
from learned_index.cli.shared.options import (
    cache_option,
    model_option,
    split_option,
)
from learned_index.cli.shared.tables import DataSource, data_option
from learned_index.errors import InputError

RECALL_AT = 100


@command(
    common=(
        *("model_path", "data", "split", "out", "n_groups", "edge_threshold"),
        *("wide", "as_json", "threads"),
    ),
    examples=("li analyse --model model --data my-data --out analysis",),
)
@model_option
@data_option
@split_option
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Directory for analysis.json, groups.csv, edges.csv and analysis.png.",
)
@click.option(
    "--groups",
    "n_groups",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="Groups of labels, by training frequency.",
)
@click.option(
    "--edge-threshold",
    type=click.FloatRange(0, 1),
    default=0.25,
    show_default=True,
    help="An edge above this weight counts as: the label is in the cluster.",
)
@wide_option
@cache_option
@standard_options
def analyse(
    model_path: Path,
    data: DataSource,
    split: Any,
    out: Path | None,
    n_groups: int,
    edge_threshold: float,
    wide: bool,
    cache: str | None,
    threads: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Analyse a trained model: recall@100 and clusters by label frequency, and its edges.

    Labels are sorted by training frequency into groups of equal numbers of labels (deciles). The
    edges of the learned graph are compared with the partition of stage 1, and the distribution of
    their weights is shown. For an ensemble, recall is that of the whole and edges are told for
    each model.
    """
    from learned_index.cli.shared import analysis_tables, sources
    from learned_index.elias.model import ELIAS
    from learned_index.evaluation.analysis import analyse_index
    from learned_index.evaluation.plots import plot_analysis
    from learned_index.evaluation.search import require_points, search_points
    from learned_index.evaluation.truth import truth_of
    from learned_index.persistence import atomic_file, write_csv, write_json

    use_threads(threads)
    model = ELIAS.from_pretrained(model_path)
    if model.label_counts is None:
        raise InputError(
            f"{model_path} does not know how often its labels were trained; train it again"
        )
    indexes = model.trained_members()
    dataset = sources.resolve_data(data, quiet=quiet).read(split)
    require_points(dataset)
    truth = truth_of(model, dataset)
    vectors = sources.model_vectors(model, dataset, cache=cache, quiet=quiet)
    with progress_bar("searching", quiet=quiet) as bar:
        result = search_points(
            model, dataset.points, RECALL_AT, vectors=vectors, progress=bar.count
        )
    analysis = analyse_index(
        indexes,
        result,
        truth,
        model.label_counts,
        k=RECALL_AT,
        n_groups=n_groups,
        edge_threshold=edge_threshold,
    )
    report = {
        "model": str(model_path),
        "data": str(data),
        "split": split,
        "n_points": dataset.n_points,
        "n_labels": len(model.label_counts),
        **analysis.to_dict(),
    }
    if out is not None:
        with atomic_file(out / "analysis.json") as temporary:
            write_json(temporary, report)
        write_csv(out / "groups.csv", analysis.group_rows())
        write_csv(out / "edges.csv", analysis.histogram_rows())
        plot_analysis(analysis, out / "analysis.png")
    if as_json:
        emit_json(report)
        return
    analysis_tables.show(analysis, title=f"{split}: {dataset.n_points:,} points", wide=wide)
    if out is not None:
        click.echo(f"written: {out / 'analysis.json'}, groups.csv, edges.csv, analysis.png")
