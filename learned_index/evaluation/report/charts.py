"""The charts of a report, made of what it tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from learned_index.evaluation.report.svg import BOTTOM, TOP, WIDTH, Axis, Chart, series, spanning

LEAST_RECALL = 2.0
"""Percentage points that an axis of metrics shows at least, so that noise looks like noise."""
SHOWN_METRICS = ("P@1", "P@5", "R@10", "R@100")
"""Metrics whose course is drawn where they were measured."""


def courses(curves: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows of each model's training, with ``at``: the steps of all its stages so far.

    A stage of an ensemble is called ``model 1/3: stage 1``.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    ended: dict[str, dict[str, int]] = {}
    for row in curves:
        before, colon, stage = str(row["stage"]).rpartition(": ")
        name = before if colon else ""
        stages = ended.setdefault(name, {})
        if stage not in stages:
            stages[stage] = found[name][-1]["at"] if found.get(name) else 0
        at = stages[stage] + int(row["step"])
        found.setdefault(name, []).append({**row, "stage": stage, "at": at})
    return found


def loss_chart(curves: Sequence[dict[str, Any]]) -> str | None:
    """Loss by step, a line for each stage; None where no loss was recorded."""
    models = courses([row for row in curves if row.get("loss") is not None])
    rows = [row for each in models.values() for row in each]
    if not rows:
        return None
    chart = Chart(
        Axis(0, max(row["at"] for row in rows), "steps"),
        spanning([row["loss"] for row in rows], "mean loss", zero=True),
        "Training loss by step",
    )
    _stages(chart, next(iter(models.values())))
    for number, each in enumerate(models.values()):
        for stage in dict.fromkeys(row["stage"] for row in each):
            points = [(row["at"], row["loss"]) for row in each if row["stage"] == stage]
            chart.line(points, series(number))
            if len(points) == 1:
                chart.dot(*points[0], series(number), radius=2)
    return chart.to_text()


def _stages(chart: Chart, rows: Sequence[dict[str, Any]]) -> None:
    """Mark where the stages of one model begin, and name them."""
    start = 0
    for stage in dict.fromkeys(row["stage"] for row in rows):
        end = max(row["at"] for row in rows if row["stage"] == stage)
        if start:
            at = chart.at_x(start)
            chart.segment((at, TOP), (at, chart.height - BOTTOM), "divider")
        chart.text(stage, chart.at_x((start + end) / 2), 24, "tick middle")
        start = end


def course_chart(curves: Sequence[dict[str, Any]]) -> str | None:
    """Metrics on the held-out points by step; None where none was recorded."""
    models = courses(curves)
    rows = [row for each in models.values() for row in each if row.get("metrics")]
    names = [name for name in SHOWN_METRICS if any(name in row["metrics"] for row in rows)]
    if not names:
        return None
    values = [row["metrics"][name] for row in rows for name in names if name in row["metrics"]]
    end = max(row["at"] for each in models.values() for row in each)
    chart = Chart(
        Axis(0, end * 1.12, "steps"),
        spanning(values, "percent, held-out points", zero=True),
        "Metrics on held-out points by step, index alone",
    )
    for each in models.values():
        for number, name in enumerate(names):
            points = [
                (row["at"], row["metrics"][name])
                for row in each
                if name in (row.get("metrics") or {})
            ]
            if not points:
                continue
            chart.line(points, series(number))
            for x, y in points:
                chart.dot(x, y, series(number), radius=2, told=f"{name} {y:.2f} after {x} steps")
            x, y = points[-1]
            chart.text(name, chart.at_x(x) + 5, chart.at_y(y) + 4, f"name {series(number)}")
    return chart.to_text()


def metric_chart(rows: Sequence[dict[str, Any]]) -> str:
    """Metrics as dots with their intervals, one a row; those of the index alone below them."""
    both = any(row["index"] is not None for row in rows)
    height = 60.0 + 24 * len(rows)
    labels = [(float(len(rows) - number), row["name"]) for number, row in enumerate(rows)]
    chart = Chart(
        Axis(0, 100, "percent, with 95 % intervals"),
        Axis(0.4, len(rows) + 0.6, "", labels=labels),
        "Metrics with their intervals",
        height=height,
        left=62,
    )
    for (at, name), row in zip(labels, rows, strict=True):
        parts = [("whole", row, 0, 0.17 if both else 0.0)]
        if row["index"] is not None:
            parts.append(("index alone", row["index"], 1, -0.17))
        for what, values, number, shift in parts:
            y = chart.at_y(at + shift)
            start, end = (chart.at_x(values["low"]), y), (chart.at_x(values["high"]), y)
            chart.segment(start, end, f"whisker {series(number)}")
            told = f"{name}, {what}: {values['value']:.2f} ({values['low']:.2f} to "
            chart.dot(
                values["value"], at + shift, series(number), told=told + f"{values['high']:.2f})"
            )
    return chart.to_text()


def reliability_chart(bins: Sequence[dict[str, Any]], what: str) -> str:
    """Probability against the share of right answers; the area of a dot is the number of pairs."""
    chart = Chart(
        Axis(0, 1, "probability told"), Axis(0, 1, "share that is right"), f"Calibration, {what}"
    )
    corner = (chart.at_x(1.0), chart.at_y(1.0))
    chart.segment((chart.at_x(0.0), chart.at_y(0.0)), corner, "divider")
    chart.line([(each["predicted"], each["observed"]) for each in bins], series(0))
    total = sum(each["count"] for each in bins)
    for each in bins:
        told = (
            f"{each['count']:,} pairs: told {each['predicted']:.2f}, right {each['observed']:.2f}"
        )
        radius = 2.5 + 12 * (each["count"] / total) ** 0.5
        chart.dot(
            each["predicted"], each["observed"], f"{series(0)} thin", radius=radius, told=told
        )
    return chart.to_text()


def group_chart(rows: Sequence[dict[str, Any]]) -> str:
    """Recall by label frequency as bars with intervals."""
    labels = [(float(row["group"]), _range(row["low"], row["high"])) for row in rows]
    chart = Chart(
        Axis(
            0.4, len(rows) + 0.6, "training points of a label, most frequent first", labels=labels
        ),
        Axis(0, 105, "R@100, percent", labels=[(v, str(v)) for v in range(0, 101, 20)]),
        "Recall by label frequency",
    )
    width = 0.72 * (WIDTH - 70) / len(rows)
    for row in rows:
        x = float(row["group"])
        if row["recall"] is None:
            chart.text("none", chart.at_x(x), chart.height - BOTTOM - 6, "tick middle")
            continue
        told = (
            f"group {row['group']}: {row['n_labels']:,} labels, {row['n_pairs']:,} pairs, "
            f"{row['recall']:.1f} % ({row['recall_low']:.1f} to {row['recall_high']:.1f})"
        )
        chart.bar(x, row["recall"], series(0), width=width, told=told)
        chart.whisker(x, row["recall_low"], row["recall_high"])
    return chart.to_text()


def _range(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,}-\n{high:,}"


def frequency_chart(frequencies: Sequence[Sequence[int]]) -> str | None:
    """Training points of the labels by their rank, both logarithmic."""
    if not frequencies:
        return None
    ranks, counts = zip(*frequencies, strict=True)
    chart = Chart(
        Axis(1, max(ranks[-1], 2), "labels, most frequent first", log=True),
        Axis(0.8, max(counts) * 1.3, "training points", log=True),
        "Label frequencies",
    )
    chart.line(list(zip(ranks, counts, strict=True)), series(0))
    return chart.to_text()


def labels_chart(histogram: Sequence[dict[str, Any]]) -> str:
    """How many points of the split have so many labels."""
    first = next((n for n, row in enumerate(histogram) if row["points"]), 0)
    histogram = histogram[first:]
    labels = [(float(number), row["labels"]) for number, row in enumerate(histogram)]
    chart = Chart(
        Axis(-0.6, len(histogram) - 0.4, "labels of a point", labels=labels),
        spanning([row["points"] for row in histogram], "points", zero=True),
        "Labels of a point",
    )
    width = 0.72 * (WIDTH - 70) / len(histogram)
    for number, row in enumerate(histogram):
        told = f"{row['points']:,} points with {row['labels']} labels"
        chart.bar(float(number), row["points"], series(0), width=width, told=told)
    return chart.to_text()


def comparison_chart(comparison: dict[str, Any]) -> str | None:
    """Time of a query against recall: a numbered dot for each method, and its front as a line."""
    rows = numbered(comparison)
    kept = [row for row in rows if row["R@100"] is not None and row["latency_ms_p50"]]
    if not kept:
        return None
    methods = {row["method"]: row for row in kept}
    fronts = [p for p in comparison["fronts"] if p["method"] in methods and p["ms"]]
    least = min(row["R@100"] for row in kept)
    # Quick settings that find little would squeeze the differences that matter.
    fronts = [point for point in fronts if point["recall"] >= 0.7 * least]
    recalls = [row["R@100"] for row in kept] + [point["recall"] for point in fronts]
    times = [row["latency_ms_p50"] for row in kept] + [point["ms"] for point in fronts]
    chart = Chart(
        spanning(recalls, "R@100, percent", least=LEAST_RECALL),
        spanning(times, "one query, median (ms)", log=True),
        "Recall and time of a query",
        height=330,
    )
    for method, row in methods.items():
        points = [(point["recall"], point["ms"]) for point in fronts if point["method"] == method]
        if len(points) > 1:
            chart.line(sorted(points), f"{series(row['number'] - 1)} thin")
    for row in kept:
        x, y = row["R@100"], row["latency_ms_p50"]
        kind = series(row["number"] - 1)
        chart.dot(x, y, kind, radius=8, told=f"{row['method']}: {x:.2f} %, {y:.3f} ms")
        chart.text(str(row["number"]), chart.at_x(x), chart.at_y(y) + 4, "number middle")
    return chart.to_text()


def numbered(comparison: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a comparison with the numbers that chart and table share."""
    return [{**row, "number": number} for number, row in enumerate(comparison["rows"], start=1)]
