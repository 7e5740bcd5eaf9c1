"""Nearest training points: the labels of the neighbours, weighted by similarity."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import scipy.sparse as sp

from learned_index.baselines.exact import ExactSearch
from learned_index.baselines.points import (
    MixedRows,
    PointSystem,
    best_of_sparse,
    filled_columns,
    neighbour_votes,
    training_labels,
)
from learned_index.baselines.registry import register
from learned_index.baselines.vectors import DenseMethod, as_float32
from learned_index.comparison.features import unit_rows
from learned_index.comparison.method import BoundSearch, Ids, Inputs
from learned_index.config import parameter
from learned_index.system.extras import Deferred
from learned_index.types import Float32Array

torch: Any = Deferred("torch", extra="train")

NEIGHBOURS = 20
"""Training points that vote unless told otherwise."""
NEIGHBOUR_SWEEP = (5, 10, 20, 50, 100, 200)


@register("knn", summary="votes of the nearest training vectors", default=True)
class NeighbourVotes(DenseMethod):
    """k-nearest-neighbour classifier: cosine similarity, exact search, similarity-weighted votes.

    A label's score is the sum of the cosines of those among the ``neighbours`` most similar
    training points that have it. It searches training points, not label classifiers.
    """

    inputs: ClassVar[Inputs] = "training"
    arguments: ClassVar[dict[str, type]] = {"neighbours": int}
    sweep = NEIGHBOUR_SWEEP

    def build(self, *data: Any) -> None:
        """Normalise and keep the training points, N x D, and their labels, N x L."""
        points_ND = unit_rows(as_float32(data[0], what="embeddings"))
        self._labels_NL = training_labels(data[1], n_points=len(points_ND))
        self._dim = points_ND.shape[1]
        self._index = ExactSearch(name=self.name)
        self._index.build(points_ND)

    def _answer(self, rows: Any, k: int, arguments: dict[str, Any]) -> tuple[Ids, Any]:
        neighbours = arguments.get("neighbours", NEIGHBOURS)
        found = self._index.search(unit_rows(rows), neighbours)
        return best_of_sparse(neighbour_votes(found.ids, found.scores, self._labels_NL), k)

    def disk_bytes(self) -> int:
        """Return the bytes of the training vectors and of the CSR label matrix."""
        self.require_built()
        arrays = (self._labels_NL.indices, self._labels_NL.indptr)
        return int(self._index.disk_bytes()) + sum(int(array.nbytes) for array in arrays)


@register("tfidf-knn", summary="votes of the nearest training points by words (or joined)")
class TfidfNeighbours(PointSystem):
    """The same votes over features: nearest neighbours by tf-idf, by vectors, or by both joined.

    The similarity of joined features is the mean of both cosines. scipy multiplies sparse matrices
    on one thread; columns that half of the points fill are stored dense.
    """

    arguments: ClassVar[dict[str, type]] = {"neighbours": int}
    sweep = NEIGHBOUR_SWEEP

    weights: Literal["none", "idf"] = parameter(
        "none", "idf: weigh columns; for features that the data bring, without which it is worse"
    )
    votes: Literal["similarity", "equal"] = parameter(
        "similarity", "a neighbour's vote: its similarity, or 1"
    )

    def _train(self, x_NF: sp.csr_matrix, y_NL: sp.csr_matrix) -> Any:
        counts_F = np.bincount(x_NF.indices, minlength=x_NF.shape[1])
        idf_F = (np.log((1 + x_NF.shape[0]) / (1 + counts_F)) + 1).astype(np.float32)
        self._idf_F = idf_F if self.weights == "idf" else np.ones_like(idf_F)
        self._labels_NL = y_NL
        self._filled_F = filled_columns(x_NF)
        points = self.prepare_queries(x_NF)
        # Columns stand for training points: the product with the queries is then row by row.
        return MixedRows(points.sparse.T.tocsr(), points.dense)

    def prepare_queries(self, queries: sp.csr_matrix) -> MixedRows:
        """Weigh the columns and part those that are stored dense."""
        return MixedRows.of(self._weighted(queries), self._filled_F)

    def _weighted(self, queries: sp.csr_matrix) -> sp.csr_matrix:
        """Weigh the columns and scale the rows to length 1; empty rows stay empty."""
        if self.weights == "none":
            return queries
        rows = sp.csr_matrix(queries, dtype=np.float32, copy=True)
        rows.data *= self._idf_F[rows.indices]
        norms = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
        counts = np.diff(rows.indptr)
        rows.data /= np.repeat(np.maximum(norms, 1e-12), counts).astype(np.float32)
        return rows

    def bind(self, k: int, **query_arguments: Any) -> BoundSearch:
        """Fix the neighbours."""
        neighbours = query_arguments.get("neighbours", NEIGHBOURS)

        n_parts = 2 if self.features == "joined" else 1

        def search(rows: MixedRows) -> tuple[Ids, Float32Array]:
            products = (rows.sparse @ self._index.sparse).toarray()
            if self._index.dense.shape[1]:
                products += rows.dense @ self._index.dense.T
            cosines = torch.from_numpy(products / np.float32(n_parts))
            values, places = torch.topk(cosines, min(neighbours, cosines.shape[1]), dim=1)
            # A point without a word in common is no neighbour.
            ids = np.where(values.numpy() > 0, places.numpy(), -1)
            votes = values.numpy()
            if self.votes == "equal":
                votes = np.ones_like(votes)
            return best_of_sparse(neighbour_votes(ids, votes, self._labels_NL), k)

        return BoundSearch(search, search)

    def _ranked(self, answer: Any) -> tuple[Ids, Float32Array]:
        return answer  # type: ignore[no-any-return]

    def _save(self, folder: Path) -> None:
        for name, matrix in (("points", self._index.sparse), ("labels", self._labels_NL)):
            sp.save_npz(folder / f"{name}.npz", matrix, compressed=False)
        np.save(folder / "dense.npy", self._index.dense, allow_pickle=False)
