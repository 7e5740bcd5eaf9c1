"""The tables that ``li compare`` prints."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from rich.table import Table

from learned_index.comparison.data import Comparison
from learned_index.comparison.measure import setting_text

COLUMNS = (
    # Heading, key of the row, format, divisor.
    ("P@1", "P@1", ".2f", 1),
    ("P@5", "P@5", ".2f", 1),
    ("PSP@5", "PSP@5", ".2f", 1),
    ("R@10", "R@10", ".2f", 1),
    ("R@100", "R@100", ".2f", 1),
    ("exact 100", "neighbour_recall@100", ".2f", 1),
    ("p50 ms", "latency_ms_p50", ".3f", 1),
    ("p99 ms", "latency_ms_p99", ".3f", 1),
    ("queries/s", "qps", ",.0f", 1),
    ("build s", "build_s", ",.1f", 1),
    ("peak MB", "peak_rss_mb", ",.0f", 1),
    ("disk MB", "disk_bytes", ",.1f", 2**20),
)


def comparison_table(result: Comparison) -> Table:
    """Lay out the rows of a comparison, each method at the setting chosen for it."""
    environment = result.environment
    recalls = {name: metrics["R@100"] for name, metrics in environment["exact"].items()}
    exact = ", ".join(
        f"{recall:.2f}" + (f" ({name})" if len(recalls) > 1 else "")
        for name, recall in recalls.items()
    )
    own = " Methods without exact 100 rank by themselves; vectors and features of words are made "
    own += "before the clock starts"
    if environment.get("encode_ms") is not None:
        own += f" (for the model {environment['encode_ms']:.2f} ms a query, in a batch)"
    table = Table(
        title=f"{environment['n_labels']:,} labels, {environment['n_queries']:,} queries; single "
        f"queries on one thread, batches of {environment['batch_size']} on "
        f"{environment['threads']}",
        caption=f"Each method at its fastest setting with {100 * environment['target_recall']:g}% "
        f"of the best R@100 ({environment['best_recall']:.2f}); ! at its best: not reached. Exact "
        f"search over the same classifiers: {exact}. Metrics in "
        "percent; exact 100: recall of the exact 100 best classifiers." + own + ".",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("method", style="bold", overflow="fold")
    table.add_column("setting")
    for heading, *_ in COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in result.rows:
        if row["error"] is not None:
            table.add_row(escape(row["method"]), "[red]failed[/red]", *("" for _ in COLUMNS))
            continue
        mark = "" if row["reached_target"] else " !"
        cells = [_cell(row[key], pattern, divisor) for _, key, pattern, divisor in COLUMNS]
        table.add_row(
            escape(row["method"]), escape(setting_text(row["query_arguments"])) + mark, *cells
        )
    return table


def operating_table(result: Comparison) -> Table:
    """Lay out the cheapest setting of each method for each target."""
    environment = result.environment
    reference = escape(environment["reference"])
    table = Table(
        title="The cheapest setting that reaches a target",
        caption="Settings are chosen on one half of the queries, recall is that of the other; "
        "times are of all. R@100: true labels, half a point below exact scoring unless told "
        "otherwise; exact 100: recall of the exact 100 best classifiers. Medians of "
        f"{environment['repeats']}, with the spread (largest less smallest) in percent of it; x: "
        f"over {reference}. A dash: no setting reaches it; best tells how near it comes. Batch: "
        "wall time over queries.",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("target")
    table.add_column("method", style="bold", overflow="fold")
    for load in ("single", "batch"):
        for heading in (f"{load} ms", "±%", "x", "recall"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("setting")
    table.add_column("best", justify="right", no_wrap=True)
    target = None
    for row in result.operating:
        if target is not None and row["target"] != target:
            table.add_section()
        cells: list[str] = []
        for load in ("single", "batch"):
            spread = row[f"{load}_spread"]
            cells += [
                _cell(row[f"{load}_ms"], ".4f"),
                _cell(None if spread is None else 100 * spread, ".0f"),
                _cell(row[f"{load}_times"], ".2f"),
                _cell(row[f"{load}_recall"], ".2f"),
                escape(setting_text(row[f"{load}_arguments"] or {})),
            ]
        name = row["target"] if row["target"] != target else ""
        table.add_row(escape(name), escape(row["method"]), *cells, _cell(row["best"], ".2f"))
        target = row["target"]
    return table


def _cell(value: Any, pattern: str, divisor: float = 1) -> str:
    return "-" if value is None else format(value / divisor, pattern)
