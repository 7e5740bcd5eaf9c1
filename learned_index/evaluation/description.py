"""What a saved model holds, in figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from learned_index.elias.model import ELIAS
from learned_index.engine.search_engine import SearchEngine
from learned_index.index.learned_graph_index import LearnedGraphIndex
from learned_index.persistence import directory_bytes
from learned_index.ranking.thresholds import BandThresholds


def describe(directory: Path) -> dict[str, Any]:
    """Load a model and collect what it holds, see :func:`describe_model`."""
    return describe_model(ELIAS.from_pretrained(directory), directory)


def describe_model(model: ELIAS, directory: Path) -> dict[str, Any]:
    """Collect what a model holds.

    Args:
        model: The model.
        directory: Where it is saved.

    Returns:
        JSON-able: encoder kind, sizes, configurations, bytes on disk; of a full model its members,
        ranker and calibration too.
    """
    counts = model.label_counts
    values: dict[str, Any] = {
        "model": str(directory),
        "kind": model.kind,
        "encoder": model.encoder.kind,
        "dim": model.index.dim,
        "n_labels": model.index.n_labels,
        "n_labels_trained": None if counts is None else int((counts > 0).sum()),
        "n_training_points": model.n_points,
    }
    return values | {
        **_full_model(model),
        **_index(model.index),
        "disk_bytes": directory_bytes(directory),
        "n_files": sum(path.is_file() for path in directory.rglob("*")),
    }


def _index(index: LearnedGraphIndex | SearchEngine) -> dict[str, Any]:
    """Shape and configuration of an index, or of the engine of a compiled model."""
    if isinstance(index, SearchEngine):
        return {
            "n_clusters": index.n_clusters,
            "n_regions": index.arrays.n_regions,
            "n_edges": index.arrays.n_edges,
            "n_new_labels": index.n_new_labels,
            "engine_bytes": index.nbytes,
            "engine": index.config.to_dict(),
        }
    return {
        "n_clusters": index.n_clusters,
        "hierarchy": _hierarchy(index),
        "index": index.config.to_dict(),
        "training": index.training_config.to_dict(),
    }


def _hierarchy(index: LearnedGraphIndex) -> dict[str, Any] | str:
    """Numbers of the regions of a deep index; ``flat`` if every cluster is scored."""
    hierarchy = index.hierarchy
    if hierarchy is None:
        return "flat"
    return {
        "n_clusters": hierarchy.n_clusters,
        "n_regions": hierarchy.n_regions,
        "edges_per_region": int(hierarchy.graph.edge_labels_CM.shape[1]),
        "region_beam_width": hierarchy.W0,
        "candidate_clusters": hierarchy.K0,
    }


def _thresholds(thresholds: BandThresholds | None) -> dict[str, Any]:
    return {} if thresholds is None else thresholds.to_dict()


def _full_model(model: ELIAS) -> dict[str, Any]:
    ranker, calibrator = model.ranker_, model.calibrator_
    return {
        "n_models": len(model.members),
        "own_encoders": model.has_own_encoders,
        "removed_labels": len(model.removed_labels),
        "features": None if model.features is None else model.features.kind,
        "ranker": None
        if ranker is None
        else {
            "n_weights": ranker.n_weights,
            "bytes": ranker.nbytes,
            "precision": ranker.precision,
            "n_features": ranker.n_features_,
            **ranker.config.to_dict(),
        },
        "calibration": None
        if calibrator is None
        else {name: value for name, value in calibrator.report_.items() if name != "bins"}
        | {"thresholds": _thresholds(calibrator.thresholds_)},
        "final_ranker": model.report_.get("final_ranker"),
        "validation": model.report_.get("validation"),
        "elias": model.config.to_dict(),
    }
