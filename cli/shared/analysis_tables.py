"""What ``li analyse`` shows on the screen."""

from __future__ import annotations

import click
from rich.table import Table

from learned_index.cli.shared.common import output_console
from learned_index.evaluation.analysis import IndexAnalysis


def show(analysis: IndexAnalysis, *, title: str) -> None:
    """Print both tables, and what they do not hold."""
    console = output_console()
    title = f"{title}, {sum(analysis.group_sizes):,} labels"
    console.print(_group_table(analysis, title=title))
    console.print(_edge_table(analysis))
    if analysis.n_pairs_untrained:
        click.echo(f"{analysis.n_pairs_untrained:,} pairs have a label that was never trained")


def _group_table(analysis: IndexAnalysis, *, title: str) -> Table:
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


def _edge_table(analysis: IndexAnalysis) -> Table:
    """Lay out what can be said about the edges, one column for each index."""
    table = Table(title="edges", title_justify="left", show_header=len(analysis.graphs) > 1)
    table.add_column("")
    for number in range(len(analysis.graphs)):
        table.add_column(f"model {number + 1}", justify="right")

    spread = [graph.distribution for graph in analysis.graphs]
    table.add_row("edges", *(f"{d.n_edges:,}" for d in spread))
    table.add_row("labels without an edge", *(f"{g.n_unreachable:,}" for g in analysis.graphs))
    table.add_row("mean weight", *(f"{d.mean:.4f}" for d in spread))
    table.add_row("edges of weight 1", *(f"{100 * d.share_at_1:.1f}%" for d in spread))
    for quantile in (0.05, 0.5, 0.95):
        cells = [f"{d.quantiles.get(quantile, 0):.4f}" for d in spread]
        table.add_row(f"{100 * quantile:g}% of the edges weigh at most", *cells)
    for share in (0.9, 0.99):
        cells = [f"{100 * d.edges_for_weight.get(share, 0):.1f}% of the edges" for d in spread]
        table.add_row(f"{100 * share:g}% of the weight is on", *cells)
    overlaps = [graph.overlap for graph in analysis.graphs]
    for name, field in (
        ("stage-1 edges that remain", "share_kept"),
        (f"stage-1 edges above {analysis.edge_threshold:g}", "share_above"),
        ("labels whose strongest edge is that of stage 1", "share_strongest"),
        ("weight on stage-1 edges", "weight_share"),
    ):
        cells = ["-" if o is None else f"{100 * getattr(o, field):.1f}%" for o in overlaps]
        table.add_row(name, *cells)
    return table
