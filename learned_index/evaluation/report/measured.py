"""A model asked all points of a split, for a report: answers, truth, metrics with intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from learned_index.data.dataset import Dataset
from learned_index.data.propensities import DEFAULT_CONSTANTS
from learned_index.elias.model import ELIAS
from learned_index.evaluation.answers import DEPTH, answers_of
from learned_index.evaluation.deciles import frequency_groups
from learned_index.evaluation.evaluate import propensities_of
from learned_index.evaluation.search import require_points
from learned_index.evaluation.significance import bootstrap_intervals
from learned_index.metrics import (
    PointValues,
    hit_matrix,
    point_values,
)
from learned_index.types import PAD_ID, Int64Array, SearchResult

N_GROUPS = 10
"""Groups of labels by training frequency."""


@dataclass(frozen=True)
class Measured:
    """What a model answered on a split, and what is right.

    Attributes:
        result: The best labels of the N points with their scores: probabilities where the model is
            calibrated.
        truth_NL: True labels under the model's ids; labels that it does not know come behind.
        counts_L: Training points of each label of ``truth_NL``.
        values: The metrics, point by point.
        index_values: Those of the index alone; None where nothing else ranks.
        is_calibrated: Whether scores are probabilities.
        search_seconds: Time of the search of all points whose vectors were known.
    """

    result: SearchResult
    truth_NL: sp.csr_matrix
    counts_L: Int64Array
    values: dict[str, PointValues]
    index_values: dict[str, PointValues] | None
    is_calibrated: bool
    search_seconds: float


def measure(
    model: ELIAS,
    dataset: Dataset,
    *,
    vectors: Any | None = None,
    propensity: tuple[float, float] = DEFAULT_CONSTANTS,
    progress: Callable[[int, int], None] | None = None,
) -> Measured:
    """Ask a model all points of a split.

    Args:
        model: The model.
        dataset: The split, whose labels are matched by key.
        vectors: N x D vectors of the points; None: encode them.
        propensity: Constants of PSP.
        progress: Called with the points that are done and all.

    Raises:
        InputError: The split has no points, or the two share no label.
    """
    has_ranker = model.ranker_ is not None
    rounds = 2 if has_ranker else 1

    def tell(done: int, total: int) -> None:
        if progress is not None:
            progress(done, rounds * total)

    require_points(dataset)
    ask_one = dataset.points[:1]
    model.search(ask_one, DEPTH, vectors=None if vectors is None else vectors[:1])  # compiles
    seconds: dict[str, float] = {}
    answers = answers_of(model, dataset, vectors=vectors, progress=tell, seconds=seconds)
    propensities = propensities_of(answers, propensity)
    index_values = None
    if has_ranker:
        of_index = answers_of(
            model,
            dataset,
            vectors=vectors,
            query={"score": "index"},
            progress=lambda done, total: tell(total + done, total),
        )
        index_values = point_values(of_index.result, answers.truth, propensities=propensities)
    return Measured(
        result=answers.result,
        truth_NL=answers.truth,
        counts_L=answers.counts,
        values=point_values(answers.result, answers.truth, propensities=propensities),
        index_values=index_values,
        is_calibrated=answers.calibrated,
        search_seconds=seconds["search"],
    )


def metric_rows(measured: Measured) -> list[dict[str, Any]]:
    """Each metric in percent with its 95 % interval, and that of the index alone."""
    whole, index = _rows(measured.values), _rows(measured.index_values or {})
    return [{"name": name, **row, "index": index.get(name)} for name, row in whole.items()]


def _rows(values: dict[str, PointValues]) -> dict[str, dict[str, float]]:
    if not values:
        return {}
    intervals = bootstrap_intervals(values)
    return {
        name: {"value": point.rate, **intervals[name]._asdict()} for name, point in values.items()
    }


def group_rows(measured: Measured, n_labels: int, *, k: int = 100) -> list[dict[str, Any]]:
    """Recall@k of labels by training frequency, most frequent first, with 95 % intervals.

    Args:
        measured: The answers.
        n_labels: Labels of the model; others, which it does not know, are in no group.
        k: Cut-off.

    Returns:
        A row for each of at most :data:`N_GROUPS` groups of equal numbers of labels: ``low`` and
        ``high`` training counts, ``n_labels``, ``n_pairs`` and ``recall`` (None without a pair)
        with ``recall_low`` and ``recall_high``. Empty for a model that does not know its counts.
    """
    counts = measured.counts_L[:n_labels]
    if not counts.any():
        return []
    groups = frequency_groups(counts, n_groups=N_GROUPS)
    n_groups = int(groups.max()) + 1
    of_label = np.full(measured.truth_NL.shape[1], n_groups)  # unknown labels: a group of their own
    of_label[:n_labels] = groups
    pairs_NG = _per_group(measured.truth_NL, of_label, n_groups)
    ids_NK = np.asarray(measured.result.ids)[:, :k].astype(np.int64)
    hits_NK = hit_matrix(ids_NK, measured.truth_NL)
    found_NG = np.zeros_like(pairs_NG)
    rows, places = np.nonzero(hits_NK & (ids_NK != PAD_ID))
    np.add.at(found_NG, (rows, of_label[ids_NK[rows, places]]), 1.0)
    points = {g: PointValues(found_NG[:, g], pairs_NG[:, g]) for g in range(n_groups)}
    intervals = bootstrap_intervals(points)
    found = []
    for group, point in points.items():
        low, high = intervals[group]
        inside, n_pairs = counts[groups == group], int(point.weights_N.sum())
        found.append(
            {
                "group": group + 1,
                "n_labels": len(inside),
                "low": int(inside.min()),
                "high": int(inside.max()),
                "n_pairs": n_pairs,
                "recall": point.rate if n_pairs else None,
                "recall_low": low if n_pairs else None,
                "recall_high": high if n_pairs else None,
            }
        )
    return found


def _per_group(truth_NL: sp.csr_matrix, of_label: Int64Array, n_groups: int) -> Any:
    """(point, true label) pairs of each point in each group, N x G (+1 for unknown labels)."""
    n_points = truth_NL.shape[0]
    rows = np.repeat(np.arange(n_points), np.diff(truth_NL.indptr))
    pairs_NG = np.zeros((n_points, n_groups + 1))
    np.add.at(pairs_NG, (rows, of_label[truth_NL.indices]), 1.0)
    return pairs_NG
