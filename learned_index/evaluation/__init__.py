"""Metrics, the comparison harness, reports."""

from learned_index.evaluation.compare import (
    Comparison,
    ComparisonData,
    ComparisonEvent,
    ComparisonSettings,
    best_point,
    compare,
)
from learned_index.evaluation.metrics import (
    evaluate,
    label_propensities,
    metric_names,
    neighbour_recall,
    propensities_from_counts,
)
from learned_index.evaluation.report import write_comparison_csv, write_comparison_json

__all__ = [
    "Comparison",
    "ComparisonData",
    "ComparisonEvent",
    "ComparisonSettings",
    "best_point",
    "compare",
    "evaluate",
    "label_propensities",
    "metric_names",
    "neighbour_recall",
    "propensities_from_counts",
    "write_comparison_csv",
    "write_comparison_json",
]
