"""The tables that ``li compare`` prints: narrow ones for a terminal, and all columns if asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.markup import escape

from learned_index.cli.shared.common import plain_table, titled

if TYPE_CHECKING:
    from rich.console import RenderableType

    from learned_index.comparison import Comparison

COLUMNS = (
    # Heading, key of the row, format, divisor, whether 80 columns have room for it.
    ("P@1", "P@1", ".2f", 1, True),
    ("P@5", "P@5", ".2f", 1, True),
    ("PSP@5", "PSP@5", ".2f", 1, False),
    ("R@10", "R@10", ".2f", 1, False),
    ("R@100", "R@100", ".2f", 1, True),
    ("exact 100", "neighbour_recall@100", ".2f", 1, False),
    ("p50 ms", "latency_ms_p50", ".3f", 1, True),
    ("p99 ms", "latency_ms_p99", ".3f", 1, False),
    ("queries/s", "qps", ",.0f", 1, True),
    ("build s", "build_s", ",.1f", 1, True),
    ("peak MB", "peak_rss_mb", ",.0f", 1, False),
    ("disk MB", "disk_bytes", ",.1f", 2**20, False),
)
MORE = "More columns: --wide, or {file}."


def comparison_table(result: Comparison, *, wide: bool = False) -> RenderableType:
    """Lay out the rows of a comparison, each method at the setting chosen for it.

    Args:
        result: What was measured.
        wide: All columns; else those that fit into 80.
    """
    from learned_index.comparison.measure import setting_text

    environment = result.environment
    recalls = {name: metrics["R@100"] for name, metrics in environment["exact"].items()}
    exact = ", ".join(
        f"{recall:.2f}" + (f" ({name})" if len(recalls) > 1 else "")
        for name, recall in recalls.items()
    )
    own = "Methods without exact 100 rank by themselves; v" if wide else "V"
    own += "ectors and features of words are made before the clock starts"
    if environment.get("encode_ms") is not None:
        own += f" (for the model {environment['encode_ms']:.2f} ms a query, in a batch)"
    title = (
        f"{environment['n_labels']:,} labels, {environment['n_queries']:,} queries; single "
        f"queries on one thread, batches of {environment['batch_size']} on "
        f"{environment['threads']}"
    )
    caption = (
        f"Each method at its fastest setting with {100 * environment['target_recall']:g}% "
        f"of the best R@100 ({environment['best_recall']:.2f}); ! at its best: not reached. R@100 "
        f"of an exact search over the same classifiers: {exact}. Metrics in percent"
        + ("; exact 100: recall of the exact 100 best classifiers" if wide else "")
        + f". {own}."
        + ("" if wide else f" {MORE.format(file='compare.csv')}")
    )
    table = plain_table()
    columns = [column for column in COLUMNS if wide or column[-1]]
    table.add_column("method", style="bold", overflow="fold")
    if wide:
        table.add_column("setting", overflow="fold")
    for heading, *_ in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in result.rows:
        failed = row["error"] is not None
        mark = "" if failed or row["reached_target"] else " !"
        cells = [] if failed else [_cell(row[key], how, by) for _, key, how, by, _ in columns]
        name = escape(row["method"])
        if failed:
            cells = ["[red]failed[/red]"]
        elif wide:
            cells.insert(0, escape(setting_text(row["query_arguments"])) + mark)
        else:
            name += mark
        table.add_row(name, *cells, *([""] * (len(columns) + wide - len(cells))))
    return titled(table, title, caption=caption)


def operating_table(result: Comparison, *, wide: bool = False) -> RenderableType:
    """Lay out the cheapest setting of each method for each target.

    Args:
        result: What was measured.
        wide: All columns; else those that fit into 80.
    """
    environment = result.environment
    spread = "with the spread (largest less smallest) in percent of it; " if wide else ""
    caption = (
        "Settings are chosen on one half of the queries, recall is that of the other; "
        "times are of all. R@100: true labels, half a point below exact scoring unless told "
        "otherwise; exact 100: recall of the exact 100 best classifiers. Medians of "
        f"{environment['repeats']}, {spread}x: over {environment['reference']}. A dash: no setting "
        "reaches it; best tells how near it comes. Batch: wall time over queries."
        + ("" if wide else f" {MORE.format(file='operating.csv')}")
    )
    table = plain_table()
    table.add_column("method", overflow="fold")
    for load in ("single", "batch"):
        headings = [f"{load} ms", "±%", "x", "recall"] if wide else [f"{load} ms", "x"]
        for heading in headings:
            table.add_column(heading, justify="right", no_wrap=True)
        if wide:
            table.add_column("setting", overflow="fold")
    table.add_column("best", justify="right", no_wrap=True)
    target = None
    for row in result.operating:
        if row["target"] != target:
            if target is not None:
                table.add_row()
            table.add_row(f"[bold]{escape(row['target'])}[/bold]")
        target = row["target"]
        cells = [c for load in ("single", "batch") for c in _load_cells(row, load, wide=wide)]
        table.add_row(f"  {escape(row['method'])}", *cells, _cell(row["best"], ".2f"))
    return titled(table, "The cheapest setting that reaches a target", caption=caption)


def _load_cells(row: dict[str, Any], load: str, *, wide: bool) -> list[str]:
    from learned_index.comparison.measure import setting_text

    took, times = _cell(row[f"{load}_ms"], ".4f"), _cell(row[f"{load}_times"], ".2f")
    if not wide:
        return [took, times]
    spread = row[f"{load}_spread"]
    return [
        took,
        _cell(None if spread is None else 100 * spread, ".0f"),
        times,
        _cell(row[f"{load}_recall"], ".2f"),
        escape(setting_text(row[f"{load}_arguments"] or {})),
    ]


def _cell(value: Any, pattern: str, divisor: float = 1) -> str:
    return "-" if value is None else format(value / divisor, pattern)
