"""Exact search over the items of a comparison."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.comparison.workspace import Workspace, exact_neighbours
from learned_index.metrics import evaluate, neighbour_recall, scores_of
from learned_index.types import Float32Array

DEPTH = 100
"""Labels asked for in every search: the deepest metric is at 100."""


class Reference:
    """Exact search over the classifiers: what neighbours and recall are measured against.

    Args:
        workspace: Holds items and queries.
        truth_NL: Labels of the queries, CSR.
        propensities: As many as ``truth_NL`` has columns.

    Attributes:
        metrics: Of the exact search, in percent.
    """

    def __init__(
        self, workspace: Workspace, truth_NL: sp.csr_matrix, propensities: npt.ArrayLike
    ) -> None:
        self.workspace = workspace
        self.truth_NL = truth_NL
        self.propensities = propensities
        self.items_LE: Float32Array = workspace.load("items")
        self.queries_NE: Float32Array = np.array(workspace.load("lifted"))
        ids, self.scores_NK = exact_neighbours(self.queries_NE, self.items_LE, DEPTH)
        wide = np.full((len(ids), DEPTH), -1, dtype=np.int64)
        wide[:, : ids.shape[1]] = ids
        self.metrics = evaluate(wide, truth_NL, propensities=propensities)

    def neighbours(self, ids_NK: npt.NDArray[np.int64]) -> float:
        """Return the neighbour recall of ids found over the classifiers."""
        found = scores_of(ids_NK, self.queries_NE, self.items_LE)
        return neighbour_recall(found, self.scores_NK, k=DEPTH)
