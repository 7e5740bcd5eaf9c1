"""Exact search over the items of a comparison."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.comparison.halves import Half, half_key
from learned_index.comparison.method import padded_ids
from learned_index.comparison.operating import NEIGHBOUR_RECALL, TARGET_METRIC
from learned_index.comparison.workspace import Workspace
from learned_index.metrics import (
    PointValues,
    check_ids,
    most_of_a_point,
    neighbour_recall,
    point_values,
    scores_of,
    without_pairs,
)
from learned_index.system.extras import Deferred
from learned_index.types import Float32Array, Int64Array, SearchResult

torch: Any = Deferred("torch", extra="train")

DEPTH = 100
"""Labels asked for in every search: the deepest metric is at 100."""


class Reference:
    """Exact search over the classifiers: what neighbours and recall are measured against.

    Args:
        workspace: Holds items and queries.
        truth_NL: Labels of the queries, CSR.
        propensities: As many as ``truth_NL`` has columns.
        halves: Queries of each half.
        filtered_NL: Pairs that count neither as answers nor as truth; None: there are none.

    Attributes:
        k: Labels asked for, so that the deepest metric has enough of them without these pairs.
        metrics: Of the exact search, see :meth:`measured`.
    """

    def __init__(
        self,
        workspace: Workspace,
        truth_NL: sp.csr_matrix,
        propensities: npt.ArrayLike,
        halves: Mapping[Half, Int64Array],
        filtered_NL: sp.csr_matrix | None = None,
    ) -> None:
        self.filtered_NL = filtered_NL
        self.k = DEPTH + most_of_a_point(filtered_NL)
        self.truth_NL = truth_NL
        self.propensities = propensities
        self._halves = halves
        self.items_LE: Float32Array = workspace.load("items")
        self.queries_NE: Float32Array = np.array(workspace.load("lifted"))
        ids, self.scores_NK = exact_neighbours(self.queries_NE, self.items_LE, self.k)
        self.metrics = self.measured(padded_ids(ids, self.k), neighbours=True)

    def measured(self, ids_NK: Int64Array, *, neighbours: bool) -> dict[str, float]:
        """Return all metrics of a ranking, in percent; both recalls on each half, too.

        Args:
            ids_NK: Labels found, best first, padded with -1.
            neighbours: Whether they were found over the classifiers, so that the recall of the
                exact best applies.

        Raises:
            LookupError, InputError: Labels twice, or ids out of range.
        """
        counted_NK = ids_NK
        if self.filtered_NL is not None:
            check_ids(ids_NK, self.truth_NL.shape, at_least=DEPTH)
            scores = np.zeros(ids_NK.shape, np.float32)
            counted_NK = without_pairs(SearchResult(ids_NK, scores), self.filtered_NL).ids
        values = point_values(counted_NK, self.truth_NL, propensities=self.propensities)
        metrics = {name: point.rate for name, point in values.items()}
        recall = values[TARGET_METRIC]
        for half, rows in self._halves.items():
            part = PointValues(recall.values_N[rows], recall.weights_N[rows])
            metrics[half_key(TARGET_METRIC, half)] = part.rate
        if neighbours:
            found_NK = scores_of(ids_NK[:, :DEPTH], self.queries_NE, self.items_LE)
            metrics[NEIGHBOUR_RECALL] = neighbour_recall(found_NK, self.scores_NK, k=DEPTH)
            for half, rows in self._halves.items():
                metrics[half_key(NEIGHBOUR_RECALL, half)] = neighbour_recall(
                    found_NK[rows], self.scores_NK[rows], k=DEPTH
                )
        return metrics


def exact_neighbours(
    queries_NE: Float32Array, items_LE: Float32Array, k: int, *, block_floats: int = 2**24
) -> tuple[Int64Array, Float32Array]:
    """Return ids and scores of the k items with the largest inner products, best first.

    Fewer than k items give fewer columns. ``torch.topk`` selects about three times as fast as
    ``numpy.argpartition``.
    """
    width = min(k, len(items_LE))
    with warnings.catch_warnings():  # about a file mapped read-only, which is only read here
        warnings.simplefilter("ignore", UserWarning)
        items = torch.from_numpy(np.ascontiguousarray(items_LE))
    step = max(1, block_floats // max(len(items_LE), 1))
    ids = np.empty((len(queries_NE), width), dtype=np.int64)
    scores = np.empty((len(queries_NE), width), dtype=np.float32)
    for start in range(0, len(queries_NE), step):
        block = torch.from_numpy(np.ascontiguousarray(queries_NE[start : start + step]))
        values, places = torch.topk(block @ items.T, width, dim=1)
        ids[start : start + step], scores[start : start + step] = places.numpy(), values.numpy()
    return ids, scores
