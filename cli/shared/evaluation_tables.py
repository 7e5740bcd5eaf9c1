"""What ``li evaluate`` shows on the screen; every table fits 80 columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from learned_index.cli.shared.common import output_console
from learned_index.cli.shared.lines import say
from learned_index.cli.shared.report import print_calibration, print_training_points
from learned_index.evaluation.by_frequency import BAND_METRICS
from learned_index.evaluation.f1 import f1_names
from learned_index.metrics import metric_names
from learned_index.ranking.bands import FREQUENCY_BANDS

ROWS = (*metric_names(), *f1_names())
_COMPARED = ("P@1", "P@5", "PSP@5", "R@10", "R@100")
"""Of these the bands are compared on the screen; the JSON has them all."""


def print_evaluation(values: Mapping[str, Any], *, title: str) -> None:
    """Print all tables of one evaluation."""
    console = output_console()
    console.print(_metrics_table(values, title=title))
    if "by_frequency" in values:
        names = ", ".join(f"{name} {low}" for name, low in FREQUENCY_BANDS[:-1])
        say("", f"by training points of the label ({names} or more): P of the answers with such a "
            "label, PSP and R as if no other labels were true", indent="", width=0)  # fmt: skip
    if "intervals" in values:
        say("", "in brackets: 95 % bootstrap interval over the points", indent="", width=0)
    if "by_threshold" in values:
        console.print()
        console.print(_threshold_table(values["by_threshold"]))
    if "by_training_points" in values:
        console.print()
        print_training_points(values["by_training_points"])
    if "calibration" in values:
        console.print()
        print_calibration(values["calibration"])


def print_comparison(values: Mapping[str, Any], *, title: str) -> None:
    """Print what :func:`~learned_index.evaluation.evaluate.compare_answers` tells."""
    console = output_console()
    table = _compared_table(title)
    for name, metric in values["metrics"].items():
        table.add_row(name, *_compared_cells(metric))
    for band, metrics in values["by_frequency"].items():
        for name in _COMPARED:
            table.add_row(f"{name} {band}", *_compared_cells(metrics[name]))
    console.print(table)
    say("", "percent; 95 % interval of the paired bootstrap over the points, p of the paired "
        f"randomisation test, both of {values['n_resamples']:,} draws; *: p below 0.05, of each "
        "metric by itself", indent="", width=0)  # fmt: skip


def _metrics_table(values: Mapping[str, Any], *, title: str) -> Table:
    """A row a metric, a column for all labels and for each band."""
    bands: Mapping[str, Any] = values.get("by_frequency", {})
    told, told_by_band = values.get("intervals"), values.get("intervals_by_frequency", {})
    # With intervals every column counts: four of 16, and the names.
    between = 2 if told is None else 1
    table = _table(title, between)
    table.add_column("")
    for column in ("all", *bands):
        table.add_column(column, justify="right", no_wrap=True)
    for name in ROWS:
        cells = [_cell(values[name], None if told is None else told[name])]
        for band, metrics in bands.items():
            interval = told_by_band.get(band, {}).get(name)
            cells.append(_cell(metrics[name], interval) if name in BAND_METRICS else "")
        table.add_row(name, *cells)
    if bands:
        for key, heading in (("n_labels", "true labels"), ("n_pairs", "pairs")):
            total = sum(each[key] for each in bands.values())
            table.add_row(heading, f"{total:,}", *(f"{each[key]:,}" for each in bands.values()))
    return table


def _table(title: str, between: int = 2) -> Table:
    return Table(
        title=title,
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, between, 0, 0),
    )


def _cell(value: float, interval: Any) -> str:
    if interval is None:
        return f"{value:.2f}"
    told = ("100" if each >= 99.95 else f"{each:.1f}" for each in (value, *interval))
    return "{} ({}-{})".format(*told)


def _threshold_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(
        title="answers from a probability on, percent", title_justify="left", box=None,
        padding=(0, 1),
    )  # fmt: skip
    names = ("threshold", "labels a point", "precision", "recall", "F1", "macro-F1")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        threshold = row["threshold"]
        shown = threshold if isinstance(threshold, str) else f"{threshold:g}"
        numbers = (row[key] for key in ("answers", "precision", "recall", "f1", "macro_f1"))
        table.add_row(shown, *(f"{number:.2f}" for number in numbers))
    return table


def _compared_table(title: str) -> Table:
    table = _table(title)
    table.add_column("")
    for name in ("A", "B", "B - A", "95 % interval", "p", ""):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    return table


def _compared_cells(metric: Mapping[str, float]) -> list[str]:
    return [
        f"{metric['a']:.2f}",
        f"{metric['b']:.2f}",
        f"{metric['difference']:+.2f}",
        f"{metric['low']:+.2f} to {metric['high']:+.2f}",
        f"{metric['p']:.4f}",
        "*" if metric["p"] < 0.05 else "",
    ]
