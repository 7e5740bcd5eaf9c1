"""``li analyse``: what a trained model learned, by label frequency and by edge."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from learned_index.cli.shared.common import (
    emit_json,
    handle_errors,
    json_option,
    output_console,
    quiet_option,
    threads_option,
    use_threads,
)
from learned_index.errors import InputError

if TYPE_CHECKING:
    from learned_index.evaluation import IndexAnalysis

RECALL_AT = 100


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of plain values as CSV; missing values are empty; it appears when it is whole."""
    from learned_index.persistence import atomic_file

    columns = list(dict.fromkeys(name for row in rows for name in row))
    with (
        atomic_file(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def group_table(analysis: IndexAnalysis, *, title: str) -> Table:
    """Lay out the groups of labels, most frequent first."""
    table = Table(
        title=title,
        caption=f"Labels in groups of equal size, most frequent first. R@{analysis.k}: percent of "
        "the (point, true label) pairs found. clusters: mean number of clusters with an edge of "
        f"weight above {analysis.edge_threshold:g}; edges: with any edge.",
        title_justify="left",
        caption_justify="left",
    )
    several = len(analysis.graphs) > 1
    names = ["group", "labels", "points each", "pairs", f"R@{analysis.k}"]
    for number in range(len(analysis.graphs)):
        suffix = f" {number + 1}" if several else ""
        names += [f"clusters{suffix}", f"edges{suffix}"]
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for group, size in enumerate(analysis.group_sizes):
        low, high = analysis.group_counts[group]
        recall = analysis.recall[group]
        cells = [
            str(group + 1),
            f"{size:,}",
            f"{low:,}" if low == high else f"{low:,}-{high:,}",
            f"{analysis.n_pairs[group]:,}",
            "-" if recall is None else f"{recall:.2f}",
        ]
        for graph in analysis.graphs:
            cells += [
                f"{graph.clusters_per_label[group]:.2f}",
                f"{graph.edges_per_label[group]:.2f}",
            ]
        table.add_row(*cells)
    return table


def edge_table(analysis: IndexAnalysis) -> Table:
    """Lay out what can be said about the edges, one column for each index."""
    table = Table(title="edges", title_justify="left", show_header=len(analysis.graphs) > 1)
    table.add_column("")
    for number in range(len(analysis.graphs)):
        table.add_column(f"model {number + 1}", justify="right")

    def line(name: str, cells: Sequence[str]) -> None:
        table.add_row(name, *cells)

    graphs = analysis.graphs
    spread = [graph.distribution for graph in graphs]
    line("edges", [f"{d.n_edges:,}" for d in spread])
    line("labels without an edge", [f"{graph.n_unreachable:,}" for graph in graphs])
    line("mean weight", [f"{d.mean:.4f}" for d in spread])
    line("edges of weight 1", [f"{100 * d.share_at_1:.1f}%" for d in spread])
    for quantile in (0.05, 0.5, 0.95):
        name = f"{100 * quantile:g}% of the edges weigh at most"
        line(name, [f"{d.quantiles.get(quantile, 0):.4f}" for d in spread])
    for share in (0.9, 0.99):
        name = f"{100 * share:g}% of the weight is on"
        line(name, [f"{100 * d.edges_for_weight.get(share, 0):.1f}% of the edges" for d in spread])
    overlaps = [graph.overlap for graph in graphs]
    for name, field in (
        ("stage-1 edges that remain", "share_kept"),
        (f"stage-1 edges above {analysis.edge_threshold:g}", "share_above"),
        ("labels whose strongest edge is that of stage 1", "share_strongest"),
        ("weight on stage-1 edges", "weight_share"),
    ):
        cells = ["-" if o is None else f"{100 * getattr(o, field):.1f}%" for o in overlaps]
        line(name, cells)
    return table


@click.command(epilog="Example: li analyse --model model --data my-data --out analysis")
@click.option(
    "--model",
    "model_path",
    required=True,
    type=click.Path(path_type=Path),
    help="Directory of a trained model.",
)
@click.option("--data", required=True, type=str, help="Data folder, or api-docs.")
@click.option(
    "--split",
    type=click.Choice(["train", "dev", "test"]),
    default="test",
    show_default=True,
    help="Part of the data that asks the queries.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
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
@click.option("--cache", default=None, help="Directory of encoded texts; off keeps nothing.")
@threads_option
@quiet_option
@json_option
@handle_errors
def analyse(
    model_path: Path,
    data: str,
    split: Any,
    out: Path | None,
    n_groups: int,
    edge_threshold: float,
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
    from learned_index.cli.shared.measure import (
        model_points,
        model_vectors,
        renumbered,
        search_points,
    )
    from learned_index.cli.shared.sources import resolve_data
    from learned_index.elias.model import ELIAS
    from learned_index.elias.model import ELIAS
    from learned_index.evaluation import analyse_index
    from learned_index.evaluation.plots import plot_analysis
    from learned_index.persistence import atomic_file, write_json
    from learned_index.text_index import trained_index

    use_threads(threads)
    model = ELIAS.from_pretrained(model_path)
    if model.label_counts is None:
        raise InputError(
            f"{model_path} does not know how often its labels were trained; train it again"
        )
    members = model.members if isinstance(model, ELIAS) else [model.index]
    indexes = [trained_index(member) for member in members]
    dataset = resolve_data(data, quiet=quiet).read(split)
    if dataset.n_points == 0:
        raise InputError(f"the {split} split has no points; nothing can be measured")
    truth = renumbered(model.vocabulary, dataset)
    vectors = model_vectors(model, dataset, cache=cache, quiet=quiet)
    points = model_points(model, dataset)
    result = search_points(model, points, RECALL_AT, vectors=vectors, quiet=quiet)
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
        "data": data,
        "split": split,
        "n_points": dataset.n_points,
        "n_labels": len(model.label_counts),
        **analysis.to_dict(),
    }
    if out is not None:
        with atomic_file(out / "analysis.json") as temporary:
            write_json(temporary, report)
        write_csv(out / "groups.csv", analysis.group_rows())
        write_csv(out / "edges.csv", _histogram_rows(analysis))
        plot_analysis(analysis, out / "analysis.png")
    if as_json:
        emit_json(report)
        return
    console = output_console()
    title = f"{split}: {dataset.n_points:,} points, {len(model.label_counts):,} labels"
    console.print(group_table(analysis, title=title))
    console.print(edge_table(analysis))
    if analysis.n_pairs_untrained:
        click.echo(f"{analysis.n_pairs_untrained:,} pairs have a label that was never trained")
    if out is not None:
        click.echo(f"written: {out / 'analysis.json'}, groups.csv, edges.csv, analysis.png")


def _histogram_rows(analysis: IndexAnalysis) -> list[dict[str, Any]]:
    rows = []
    for number, graph in enumerate(analysis.graphs):
        bins = graph.distribution
        for low, high, count in zip(
            bins.bin_edges[:-1], bins.bin_edges[1:], bins.bin_counts, strict=True
        ):
            rows.append(
                {
                    "model": number + 1,
                    "weight_from": round(float(low), 6),
                    "weight_to": round(float(high), 6),
                    "edges": int(count),
                }
            )
    return rows
