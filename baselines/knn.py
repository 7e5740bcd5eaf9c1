"""Nearest training points: the labels of the neighbours, weighted by similarity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from learned_index.baselines.base import Baseline, as_float32, check_k, padded, require_built
from learned_index.baselines.exact import ExactSearch
from learned_index.errors import InputError
from learned_index.inputs.matrices import canonical_labels
from learned_index.types import DenseMatrix, Float32Array, SearchResult


class NeighbourVotes(Baseline):
    """k-nearest-neighbour classifier: cosine similarity, exact search, similarity-weighted votes.

    A label's score is the sum of the cosines of those among the ``neighbours`` most similar
    training points that have it. It searches training points, not label classifiers.
    """

    method = "knn"
    inputs = "training"

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__(name=name)
        self._points: ExactSearch | None = None
        self._labels_NL: sp.csr_matrix | None = None

    def build(self, embeddings_ND: DenseMatrix, labels_NL: sp.csr_matrix) -> None:
        """Normalise and keep the training points and their labels."""
        points_ND = _normalised(as_float32(embeddings_ND, what="embeddings"))
        self._labels_NL = training_labels(labels_NL, n_points=len(points_ND))
        self._points = ExactSearch(name=self.name)
        self._points.build(points_ND)

    def search(
        self, queries: DenseMatrix, k: int, *, neighbours: int = 20, **query_arguments: Any
    ) -> SearchResult:
        """Return the k labels with most votes; rows are padded where fewer labels got any.

        Args:
            queries: B x D.
            k: Labels wanted.
            neighbours: Training points that vote.
            query_arguments: None are known; any is refused.
        """
        require_built(self._points, self.name)
        assert self._points is not None and self._labels_NL is not None
        if query_arguments:
            names = sorted(query_arguments)
            raise InputError(f"{self.name} does not know the query arguments {names}")
        k = check_k(k)
        queries_BD = as_float32(queries, what="queries")
        found = self._points.search(_normalised(queries_BD), neighbours)
        votes_BL = neighbour_votes(found, self._labels_NL)
        return best_of_sparse(votes_BL, k)

    def query_grid(self) -> Sequence[dict[str, Any]]:
        """Return the sweep of ``neighbours``."""
        return [{"neighbours": n} for n in (5, 10, 20, 50, 100, 200)]

    def disk_bytes(self) -> int:
        """Return the bytes of the training vectors and of the CSR label matrix."""
        require_built(self._points, self.name)
        assert self._points is not None and self._labels_NL is not None
        arrays = (self._labels_NL.indices, self._labels_NL.indptr)
        return self._points.disk_bytes() + sum(int(array.nbytes) for array in arrays)


def training_labels(labels_NL: Any, *, n_points: int) -> sp.csr_matrix:
    """Return the training labels as canonical CSR of ones, whatever order they came in.

    Raises:
        InputError: No sparse matrix, or not one row for each point.
    """
    labels = canonical_labels(labels_NL)
    if labels.shape[0] != n_points:
        raise InputError(
            f"labels must be a sparse matrix of {n_points} rows, one for each point, got "
            f"{labels.shape[0]}"
        )
    return labels


def neighbour_votes(found: SearchResult, labels_NL: sp.csr_matrix) -> sp.csr_matrix:
    """Sum the similarities of the neighbours that have a label.

    Args:
        found: Neighbours (rows of ``labels_NL``) and similarities of B queries, padded.
        labels_NL: Their labels, canonical CSR of ones.

    Returns:
        CSR, B x L.
    """
    n_queries = len(found.ids)
    kept = found.ids >= 0
    counts = kept.sum(axis=1)
    weights = sp.csr_matrix(
        (
            # A tiny floor keeps labels of dissimilar neighbours in the list, behind all others.
            np.maximum(found.scores[kept], np.float32(1e-6)),
            found.ids[kept],
            np.concatenate([[0], np.cumsum(counts)]),
        ),
        shape=(n_queries, labels_NL.shape[0]),
    )
    return sp.csr_matrix(weights @ labels_NL)


def best_of_sparse(votes_BL: sp.csr_matrix, k: int) -> SearchResult:
    """Return the k largest stored values of each row, ties by smaller label id."""
    counts_B = np.diff(votes_BL.indptr)
    rows_T = np.repeat(np.arange(votes_BL.shape[0]), counts_B)
    order_T = np.lexsort((votes_BL.indices, -votes_BL.data, rows_T))
    place_T = np.arange(order_T.size) - votes_BL.indptr[:-1][rows_T]
    kept_T = place_T < k
    result = padded(
        np.full((votes_BL.shape[0], 0), -1), np.empty((votes_BL.shape[0], 0), np.float32), k
    )
    # `rows_T` is sorted, so after the stable ordering row r still owns the same slice.
    result.ids[rows_T[kept_T], place_T[kept_T]] = votes_BL.indices[order_T][kept_T]
    result.scores[rows_T[kept_T], place_T[kept_T]] = votes_BL.data[order_T][kept_T]
    return result


def _normalised(matrix_ND: Float32Array) -> Float32Array:
    norms_N1 = np.sqrt(np.einsum("nd,nd->n", matrix_ND, matrix_ND))[:, None]
    return np.asarray(matrix_ND / np.maximum(norms_N1, np.float32(1e-12)))
