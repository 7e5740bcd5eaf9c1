"""What ``li analyse`` shows on the screen."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import click
from rich.console import RenderableType

from learned_index.cli.shared.common import output_console, plain_table, titled
from learned_index.evaluation.analysis import GraphAnalysis, IndexAnalysis

ABREAST = 3
"""Models whose edges stand in one table of 80 columns."""


def show(analysis: IndexAnalysis, *, title: str, wide: bool = False) -> None:
    """Print the tables, and what they do not hold."""
    console = output_console(wide=wide)
    title = f"{title}, {sum(analysis.group_sizes):,} labels"
    console.print(group_table(analysis, title=title, wide=wide))
    for table in edge_tables(analysis, wide=wide):
        console.print(table)
    if analysis.n_pairs_untrained:
        click.echo(f"{analysis.n_pairs_untrained:,} pairs have a label that was never trained")


def group_table(analysis: IndexAnalysis, *, title: str, wide: bool = False) -> RenderableType:
    """Lay out the groups of labels, most frequent first.

    Args:
        analysis: Of one index, or of those of an ensemble.
        title: Above the table.
        wide: Each index of an ensemble has columns of its own; else the columns tell their means.
    """
    several = len(analysis.graphs) > 1
    means = several and not wide
    caption = (
        f"Labels in groups of equal size, most frequent first. R@{analysis.k}: percent of "
        "the (point, true label) pairs found. clusters: mean number of clusters with an edge of "
        f"weight above {analysis.edge_threshold:g}; edges: with any edge."
        + (f" Means of {len(analysis.graphs)} models; each: --wide, or groups.csv." * means)
    )
    table = plain_table()
    parts = [analysis.graphs] if means else [[graph] for graph in analysis.graphs]
    names = ["group", "labels", "points each", "pairs", f"R@{analysis.k}"]
    for number in range(len(parts)):
        suffix = f" {number + 1}" if len(parts) > 1 else ""
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
        for graphs in parts:
            cells += [
                f"{fmean(graph.clusters_per_label[group] for graph in graphs):.2f}",
                f"{fmean(graph.edges_per_label[group] for graph in graphs):.2f}",
            ]
        table.add_row(*cells)
    return titled(table, title, caption=caption)


def edge_tables(analysis: IndexAnalysis, *, wide: bool = False) -> list[RenderableType]:
    """Lay out what can be said about the edges, one column for each index.

    Args:
        analysis: Of one index, or of those of an ensemble.
        wide: All in one table; else as many tables as 80 columns need.
    """
    numbered = list(enumerate(analysis.graphs, start=1))
    abreast = len(numbered) if wide else ABREAST
    starts = range(0, len(numbered), abreast)
    return [_edge_table(analysis, numbered[start : start + abreast]) for start in starts]


def _edge_table(
    analysis: IndexAnalysis, numbered: Sequence[tuple[int, GraphAnalysis]]
) -> RenderableType:
    graphs = [graph for _, graph in numbered]
    table = plain_table(show_header=len(analysis.graphs) > 1)
    table.add_column("", overflow="fold")
    for number, _ in numbered:
        table.add_column(f"model {number}", justify="right", no_wrap=True)

    spread = [graph.distribution for graph in graphs]
    table.add_row("edges", *(f"{d.n_edges:,}" for d in spread))
    table.add_row("labels without an edge", *(f"{g.n_unreachable:,}" for g in graphs))
    table.add_row("mean weight", *(f"{d.mean:.4f}" for d in spread))
    table.add_row("edges of weight 1", *(f"{100 * d.share_at_1:.1f}%" for d in spread))
    for quantile in (0.05, 0.5, 0.95):
        cells = [f"{d.quantiles.get(quantile, 0):.4f}" for d in spread]
        table.add_row(f"{100 * quantile:g}% of the edges weigh at most", *cells)
    for share in (0.9, 0.99):
        cells = [f"{100 * d.edges_for_weight.get(share, 0):.1f}%" for d in spread]
        table.add_row(f"edges that hold {100 * share:g}% of the weight", *cells)
    overlaps = [graph.overlap for graph in graphs]
    for name, field in (
        ("stage-1 edges that remain", "share_kept"),
        (f"stage-1 edges above {analysis.edge_threshold:g}", "share_above"),
        ("labels whose strongest edge is that of stage 1", "share_strongest"),
        ("weight on stage-1 edges", "weight_share"),
    ):
        cells = ["-" if o is None else f"{100 * getattr(o, field):.1f}%" for o in overlaps]
        table.add_row(name, *cells)
    return titled(table, "edges")
