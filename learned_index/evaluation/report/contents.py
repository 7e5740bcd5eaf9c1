"""What a report tells, as numbers and texts: every figure of the page comes from here."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np

import learned_index
from learned_index.data.dataset import Dataset
from learned_index.elias.model import ELIAS
from learned_index.errors import InputError
from learned_index.evaluation.description import describe_model
from learned_index.evaluation.probabilities import CALIBRATION_CUTOFFS, probability_quality
from learned_index.evaluation.report.answers import example_answers
from learned_index.evaluation.report.measured import Measured, group_rows, metric_rows
from learned_index.evaluation.training_points import recall_by_training_points
from learned_index.inputs.numbers import shown
from learned_index.metrics import hit_matrix
from learned_index.ranking.reliability import reliability_bins
from learned_index.types import PAD_ID, Int64Array

MOST_OF_A_CURVE = 200
"""Points of the curve of label frequencies."""
COMPARED = (
    *("P@1", "P@5", "R@10", "R@100", "neighbour_recall@100"),
    *("latency_ms_p50", "qps", "build_s", "disk_bytes"),
)
"""Measurements of a comparison that the report shows."""


def report_contents(
    model: ELIAS,
    dataset: Dataset,
    measured: Measured,
    *,
    directory: Path,
    data: str,
    training: dict[str, Any] | None = None,
    comparison: dict[str, Any] | None = None,
    n_examples: int = 4,
    seed: int = 0,
) -> dict[str, Any]:
    """Collect what the page tells.

    Args:
        model: The model.
        dataset: The split that it was measured on.
        measured: What it answered.
        directory: Where the model lies.
        data: What the data are called.
        training: The report that the training wrote beside the model; None: there is none.
        comparison: The parts of a comparison (``compare.json``); None: there was none.
        n_examples: Points of each kind of answers.
        seed: Of the choice of examples.

    Returns:
        JSON-able: ``model``, ``data``, ``split``, ``written``, ``version``, and the sections
        ``points``, ``training``, ``metrics``, ``calibration``, ``groups``, ``bands``,
        ``comparison``, ``examples``, ``card``; those of which nothing is known are None or empty.
    """
    counts = measured.counts_L
    known = bool(counts.any())
    return {
        "model": str(directory),
        "data": data,
        "split": dataset.split,
        "written": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "version": learned_index.__version__,
        "points": _points(model, dataset, measured),
        "training": None if training is None else _training(training),
        "metrics": metric_rows(measured),
        "calibration": _calibration(measured) if measured.is_calibrated else None,
        "groups": group_rows(measured, model.n_labels),
        "bands": recall_by_training_points(measured.result, measured.truth_NL, counts)
        if known
        else {},
        "comparison": None if comparison is None else _comparison(comparison),
        "examples": example_answers(model, dataset, measured, n=n_examples, seed=seed),
        "is_calibrated": measured.is_calibrated,
        "search_ms": 1e3 * measured.search_seconds / dataset.n_points,
        "card": {
            "holds": describe_model(model, directory),
            "trained": None if training is None else _trained(training),
        },
    }


def read_json_report(path: Path) -> dict[str, Any]:
    """Read a report that a command wrote, such as ``model.report.json`` or ``compare.json``.

    Raises:
        InputError: There is no such file, or it holds no JSON object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path} is no JSON ({error}); expected a report that li wrote") from None
    if not isinstance(found, dict):
        raise InputError(f"{path} is no report that li wrote: got {shown(found)}")
    return found


def _points(model: ELIAS, dataset: Dataset, measured: Measured) -> dict[str, Any]:
    """What can be said of the data: of the split, and of what the model was trained on."""
    per_point = np.diff(measured.truth_NL.indptr)
    counts = measured.counts_L[: model.n_labels]
    used = np.unique(measured.truth_NL.indices)
    texts = dataset.texts
    return {
        "n_points": dataset.n_points,
        "n_pairs": int(measured.truth_NL.nnz),
        "n_labels_used": len(used),
        "n_labels_unseen": int((measured.counts_L[used] == 0).sum()) if counts.any() else 0,
        "n_unlabelled": int((per_point == 0).sum()),
        "n_unanswered": int((np.asarray(measured.result.ids)[:, 0] == PAD_ID).sum()),
        "labels_per_point": _summary(per_point),
        "labels_histogram": _histogram(per_point),
        "words_per_text": None
        if texts is None
        else _summary(np.array([len(text.split()) for text in texts])),
        "training": {
            "n_points": model.n_points,
            "n_labels": model.n_labels,
            "n_labels_trained": int((counts > 0).sum()),
            "points_per_label": _summary(counts) if counts.any() else None,
            "frequencies": _frequencies(counts),
        },
    }


def _summary(values: Any) -> dict[str, float]:
    array = np.asarray(values)
    return {
        "mean": float(array.mean()),
        "median": float(np.median(array)),
        "max": float(array.max()),
    }


def _histogram(per_point: Any, *, most: int = 12) -> list[dict[str, Any]]:
    """How many points have so many labels; ``most`` of them or more are one."""
    counts = np.bincount(np.minimum(per_point, most), minlength=1)
    while len(counts) > 2 and counts[-1] == 0:
        counts = counts[:-1]
    return [
        {"labels": f"{n}+" if n == most else str(n), "points": int(count)}
        for n, count in enumerate(counts)
    ]


def _frequencies(counts_L: Int64Array) -> list[list[int]]:
    """(rank, training points) of labels, most frequent first, at ranks that a log axis shows."""
    ordered = np.sort(counts_L)[::-1]
    ordered = ordered[ordered > 0]
    if not len(ordered):
        return []
    ranks = np.unique(np.geomspace(1, len(ordered), MOST_OF_A_CURVE).astype(np.int64))
    return [[int(rank), int(ordered[rank - 1])] for rank in ranks]


def _training(told: dict[str, Any]) -> dict[str, Any] | None:
    """Curves and seconds of the steps, from what a training wrote; as far as it is there."""
    curves = [row for row in _rows(told.get("curves")) if {"stage", "step"} <= set(row)]
    steps = told.get("step_seconds")
    seconds = {
        str(name): float(value)
        for name, value in (steps.items() if isinstance(steps, dict) else ())
        if isinstance(value, int | float)
    }
    # The file sorts the steps by name; a reader asks first what took longest.
    seconds = dict(sorted(seconds.items(), key=lambda step: -step[1]))
    return {"curves": curves, "seconds": seconds} if curves or seconds else None


def _trained(told: dict[str, Any]) -> dict[str, Any]:
    """How and where a model was trained."""
    names = ("data", "preset", "encoder", "n_held_out", "threads", "peak_rss_mb", "cpu", "versions")
    return {name: told[name] for name in names if told.get(name) is not None}


def _rows(value: Any) -> list[dict[str, Any]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _calibration(measured: Measured) -> dict[str, Any]:
    """Reliability of the best label's probability, and of the best five's."""
    ids_NK = np.asarray(measured.result.ids).astype(np.int64)
    hits_NK = hit_matrix(ids_NK, measured.truth_NL)
    p_NK = np.asarray(measured.result.scores, np.float64)
    inside_NK = ids_NK != PAD_ID
    bins = {}
    for k in CALIBRATION_CUTOFFS:
        inside = inside_NK[:, :k]
        if inside.any():
            bins[str(k)] = reliability_bins(p_NK[:, :k][inside], hits_NK[:, :k][inside], n_bins=10)
    quality = probability_quality(measured.result, measured.truth_NL, measured.counts_L)
    return {"bins": bins, "quality": quality}


def _comparison(parts: dict[str, Any]) -> dict[str, Any]:
    """The rows and fronts of a comparison that have been measured, and how."""
    rows = [row for row in _rows(parts.get("rows")) if "method" in row]
    names = ("method", "error", "reached_target")
    environment = parts.get("environment")
    environment = environment if isinstance(environment, dict) else {}
    return {
        "rows": [{name: row.get(name) for name in (*names, *COMPARED)} for row in rows],
        "fronts": [
            {"method": row["method"], "recall": row["recall"], "ms": row["ms"]}
            for row in _rows(parts.get("pareto"))
            if row.get("load") == "single" and row.get("metric") == "R@100"
        ],
        "environment": {
            name: environment.get(name)
            for name in ("data", "split", "n_queries", "n_labels", "target_recall", "cpu", "model")
        },
    }
