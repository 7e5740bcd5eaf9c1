"""Metrics, the comparison harness, reports."""

from learned_index.evaluation.compare import compare
from learned_index.evaluation.comparison import (
    Comparison,
    ComparisonData,
    ComparisonEvent,
    ComparisonSettings,
)
from learned_index.evaluation.metrics import (
    evaluate,
    label_propensities,
    metric_names,
    neighbour_recall,
    propensities_from_counts,
)
from learned_index.evaluation.operating import (
    Target,
    best_point,
    operating_rows,
    pareto_front,
    pareto_rows,
    standard_targets,
)
from learned_index.evaluation.report import (
    write_comparison,
    write_comparison_csv,
    write_comparison_json,
)

__all__ = [
    "Comparison",
    "ComparisonData",
    "ComparisonEvent",
    "ComparisonSettings",
    "Target",
    "best_point",
    "compare",
    "evaluate",
    "label_propensities",
    "metric_names",
    "neighbour_recall",
    "operating_rows",
    "pareto_front",
    "pareto_rows",
    "propensities_from_counts",
    "standard_targets",
    "write_comparison",
    "write_comparison_csv",
    "write_comparison_json",
]
