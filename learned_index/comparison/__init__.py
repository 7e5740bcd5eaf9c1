"""The comparison harness and its reports, and the metrics it uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from learned_index.system.extras import lazy_attribute

if TYPE_CHECKING:
    from learned_index.comparison.data import Comparison, ComparisonData
    from learned_index.comparison.harness import compare
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
    from learned_index.comparison.settings import ComparisonSettings
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

# Imported when they are first used (PEP 562): li compare --help reads the settings, without scipy.
_HOME = {
    "Comparison": "learned_index.comparison.data",
    "ComparisonData": "learned_index.comparison.data",
    "ComparisonSettings": "learned_index.comparison.settings",
    "Method": "learned_index.comparison.method",
    "MethodSpec": "learned_index.comparison.method",
    "ModelQueries": "learned_index.comparison.method",
    "Target": "learned_index.comparison.operating",
    "best_point": "learned_index.comparison.operating",
    "compare": "learned_index.comparison.harness",
    "evaluate": "learned_index.metrics",
    "label_propensities": "learned_index.metrics",
    "metric_names": "learned_index.metrics",
    "neighbour_recall": "learned_index.metrics",
    "operating_rows": "learned_index.comparison.operating",
    "pareto_front": "learned_index.comparison.operating",
    "pareto_rows": "learned_index.comparison.operating",
    "propensities_from_counts": "learned_index.metrics",
    "standard_targets": "learned_index.comparison.operating",
    "write_comparison": "learned_index.comparison.report",
    "write_comparison_csv": "learned_index.comparison.report",
    "write_comparison_json": "learned_index.comparison.report",
}


def __getattr__(name: str) -> Any:
    return lazy_attribute(__name__, _HOME, name)


def __dir__() -> list[str]:
    return sorted(__all__)
