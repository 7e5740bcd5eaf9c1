"""Pareto fronts, and the cheapest setting of each method that reaches a target.

Fronts are those of all queries; settings are chosen on one half of them and told on the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from learned_index.comparison.halves import HALVES, half_key

NEIGHBOUR_RECALL = "neighbour_recall@100"
TARGET_METRIC = "R@100"

Load: TypeAlias = Literal["single", "batch"]
"""One query at a time on one thread, or batches on all threads."""
COSTS: Mapping[Load, Callable[[Mapping[str, Any]], float]] = {
    "single": lambda point: float(point["latency_ms_p50"]),
    "batch": lambda point: 1e3 / float(point["qps"]),
}
"""Milliseconds a query: the median latency, and the wall time of a batch over its queries."""
SPREADS: Mapping[Load, str] = {"single": "latency_spread", "batch": "qps_spread"}


@dataclass(frozen=True, kw_only=True)
class Target:
    """A recall to be reached, on the half of the queries that settings are chosen on.

    Attributes:
        name: A few words for the table.
        metric: Key of the measurement over all queries.
        least: Smallest value that reaches it, in percent.
    """

    name: str
    metric: str
    least: float


def standard_targets(
    exact_recalls: Mapping[str, float], *, slack: float, neighbour_recalls: Sequence[float]
) -> list[Target]:
    """Return the targets of the operating table.

    Args:
        exact_recalls: R@100 of scoring all labels exactly, in percent, on the half that settings
            are chosen on; by the name of the label classifiers.
        slack: Points of it that may be lost.
        neighbour_recalls: Recalls of the exact 100 best, in percent.
    """
    labels = []
    for name, exact_recall in exact_recalls.items():
        least = exact_recall - slack
        whose = f" (exact of {name})" if len(exact_recalls) > 1 else ""
        text = f"{TARGET_METRIC} >= {least:.2f}{whose}"
        labels.append(Target(name=text, metric=TARGET_METRIC, least=least))
    return labels + [
        Target(name=f"exact 100 >= {recall:g}", metric=NEIGHBOUR_RECALL, least=recall)
        for recall in neighbour_recalls
    ]


def pareto_front(
    points: Sequence[Mapping[str, Any]], *, metric: str, load: Load
) -> list[Mapping[str, Any]]:
    """Return the points that no other is better than, by rising cost and recall.

    A point is dominated where another reaches at least its recall at no more cost, and is not its
    equal in both. Points without the metric or with an error are left out; of equal points the
    first is kept.
    """
    usable = [
        point for point in points if point.get("error") is None and point.get(metric) is not None
    ]
    front: list[Mapping[str, Any]] = []
    for point in sorted(usable, key=lambda p: (COSTS[load](p), -p[metric])):
        if not front or point[metric] > front[-1][metric]:
            front.append(point)
    return front


def pareto_rows(curves: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the Pareto front of each method, metric and load as rows.

    Args:
        curves: Measured points of all methods.

    Returns:
        Rows with ``method``, ``load``, ``metric``, ``recall``, ``ms`` and ``query_arguments``.
    """
    rows = []
    for method in dict.fromkeys(point["method"] for point in curves):
        points = [point for point in curves if point["method"] == method]
        for load in COSTS:
            for metric in (TARGET_METRIC, NEIGHBOUR_RECALL):
                rows += [
                    {
                        "method": method,
                        "load": load,
                        "metric": metric,
                        "recall": point[metric],
                        "ms": COSTS[load](point),
                        "query_arguments": point["query_arguments"],
                    }
                    for point in pareto_front(points, metric=metric, load=load)
                ]
    return rows


def operating_rows(
    curves: Sequence[Mapping[str, Any]],
    targets: Sequence[Target],
    *,
    reference: str | None = None,
) -> list[dict[str, Any]]:
    """Return the cheapest point of each method that reaches each target, apart for each load.

    Points are chosen by their recall on the choosing half of the queries; the recall in the rows
    is theirs on the reporting half. Costs are those of all queries.

    Args:
        curves: Measured points of all methods.
        targets: What is to be reached.
        reference: The method that the others are set against; None: the first.

    Returns:
        One row for each target and method that has the target's metric: ``target``, ``metric``,
        ``least``, ``method``, ``best`` (recall of the point with the highest) and, for both loads,
        ``<load>_ms``, ``<load>_recall``, ``<load>_spread``, ``<load>_arguments`` (null where the
        target was not reached) and ``<load>_times``, its cost over that of the reference.
    """
    methods = list(dict.fromkeys(point["method"] for point in curves))
    reference = reference if reference is not None else next(iter(methods), None)
    rows = []
    for target in targets:
        has = [point for point in curves if point.get(target.metric) is not None]
        curve_of = {name: [p for p in has if p["method"] == name] for name in methods}
        found = [_operating_row(points, target) for points in curve_of.values() if points]
        base: Mapping[str, Any] = next((r for r in found if r["method"] == reference), {})
        for row in found:
            for load in COSTS:
                ms, other = row[f"{load}_ms"], base.get(f"{load}_ms")
                row[f"{load}_times"] = None if ms is None or other is None else ms / other
        rows += found
    return rows


def _operating_row(points: Sequence[Mapping[str, Any]], target: Target) -> dict[str, Any]:
    """Return the cheapest points of one method for a target."""
    choosing, reporting = (half_key(target.metric, half) for half in HALVES)
    row: dict[str, Any] = {
        "target": target.name,
        "metric": target.metric,
        "least": target.least,
        "method": points[0]["method"],
        "best": max(points, key=lambda point: point[choosing])[reporting],
    }
    # What equals the target but for rounding reaches it.
    reaching = [point for point in points if point[choosing] >= target.least - 1e-9]
    for load, cost in COSTS.items():
        point = min(reaching, key=cost, default=None)
        known = point or {}
        row[f"{load}_ms"] = None if point is None else cost(point)
        row[f"{load}_recall"] = known.get(reporting)
        row[f"{load}_arguments"] = known.get("query_arguments")
        row[f"{load}_spread"] = known.get(SPREADS[load])
    return row


def best_point(points: Sequence[Mapping[str, Any]], *, target: float) -> dict[str, Any]:
    """Choose the setting that a method is shown at.

    Args:
        points: The method's curve.
        target: R@100 asked for, in percent.

    Returns:
        A copy of the fastest point (median single-query latency) that reaches the target; if none
        does, of the one with the highest R@100. ``reached_target`` tells which.
    """
    if points[0]["error"] is not None:
        return {**points[0], "reached_target": False}
    reaching = [point for point in points if point[TARGET_METRIC] >= target - 1e-9]
    best = (
        min(reaching, key=COSTS["single"])
        if reaching
        else max(points, key=lambda p: (p[TARGET_METRIC], -COSTS["single"](p)))
    )
    return {**best, "reached_target": bool(reaching)}
