"""The comparison harness and its reports, and the metrics it uses."""

from learned_index.comparison.compare import compare
from learned_index.comparison.data import Comparison, ComparisonData, ComparisonSettings
from learned_index.comparison.method import Method, MethodSpec, ModelQueries
from learned_index.comparison.operating import (
    Target,
    best_point,
    operating_rows,
    pareto_front,
    pareto_rows,
    standard_targets,
)
from learned_index.comparison.report import (
    write_comparison,
    write_comparison_csv,
    write_comparison_json,
)
from learned_index.metrics import (
    evaluate,
    label_propensities,
    metric_names,
    neighbour_recall,
    propensities_from_counts,
)

__all__ = [
    "Comparison",
    "ComparisonData",
    "ComparisonSettings",
    "Method",
    "MethodSpec",
    "ModelQueries",
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
