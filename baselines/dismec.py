"""DiSMEC: one sparse linear classifier a label, trained with all points as negatives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from learned_index.baselines.points import MixedRows, PointSystem, filled_columns
from learned_index.baselines.registry import register
from learned_index.comparison.method import BoundSearch, Ids
from learned_index.config import parameter, seed_parameter
from learned_index.types import Float32Array


@register("dismec", summary="a linear classifier a label, all points negatives (DiSMEC)")
class Dismec(PointSystem):
    """DiSMEC (Babbar & Schölkopf, WSDM 2017): brute force over points and labels.

    The classifiers are those of the ranker, by the same dual coordinate descent, but each is
    trained on all points and all of them score every query. Columns that half of the points fill
    are stored dense, which changes the speed and not the problem. No knob: the search is exact.
    """

    arguments: ClassVar[dict[str, type]] = {}
    sweep: ClassVar[Sequence[float]] = ()

    cost: float = parameter(1.0, "C, cost of margin violations", low=1e-9)
    threshold: float = parameter(0.01, "weights below this are dropped", low=0.0)
    max_iterations: int = parameter(10, "passes over the points for each label, at most")
    tolerance: float = parameter(0.1, "violation of optimality at which a label is done", low=1e-9)
    seed: int = seed_parameter("of the order of the coordinates")

    def _train(self, x_NF: sp.csr_matrix, y_NL: sp.csr_matrix) -> Any:
        from learned_index.ranking.one_vs_all import train_all_points

        self._filled_F = filled_columns(x_NF)
        rows = self.prepare_queries(x_NF)
        return train_all_points(
            rows.sparse,
            rows.dense,
            y_NL,
            cost=self.cost,
            threshold=self.threshold,
            max_iterations=self.max_iterations,
            tolerance=self.tolerance,
            seed=self.seed,
            progress=self.progress,
        )

    def prepare_queries(self, queries: sp.csr_matrix) -> MixedRows:
        """Part the columns that are stored dense from the others."""
        return MixedRows.of(queries, self._filled_F)

    def bind(self, k: int, **query_arguments: Any) -> BoundSearch:
        """Fix k; the sparse product runs on one thread, the dense one on all."""
        classifiers = self._index
        weight_VL = classifiers.weight_LV.T.tocsr()

        def search(rows: MixedRows) -> tuple[Ids, Float32Array]:
            scores_BL = (rows.sparse @ weight_VL).toarray()
            scores_BL += rows.dense @ classifiers.weight_LD.T + classifiers.bias_L
            return best_of_dense(scores_BL, k)

        return BoundSearch(search, search)

    def _ranked(self, answer: Any) -> tuple[Ids, Float32Array]:
        return answer  # type: ignore[no-any-return]

    def _save(self, folder: Path) -> None:
        sp.save_npz(folder / "weights.npz", self._index.weight_LV, compressed=False)
        np.save(folder / "dense.npy", self._index.weight_LD, allow_pickle=False)
        np.save(folder / "bias.npy", self._index.bias_L, allow_pickle=False)


def best_of_dense(scores_BL: Float32Array, k: int) -> tuple[Ids, Float32Array]:
    """Return ids and scores of the k largest values of each row, best first."""
    k = min(k, scores_BL.shape[1])
    ids = np.argpartition(-scores_BL, k - 1, axis=1)[:, :k]
    ids.sort(axis=1)  # ties inside the answer go by the smaller id
    found = np.take_along_axis(scores_BL, ids, axis=1)
    order = np.argsort(-found, axis=1, kind="stable")
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(found, order, axis=1)
