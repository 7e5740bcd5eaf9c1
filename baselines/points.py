"""What the methods share that learn from points: labels, sparse features, votes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.comparison.features import FeatureKind, PointFeatures
from learned_index.comparison.method import Ids, Inputs, Method
from learned_index.config import parameter
from learned_index.errors import InputError
from learned_index.inputs.matrices import canonical_features, canonical_labels
from learned_index.types import PAD_ID, PAD_SCORE, Float32Array, Int64Array

DEFAULT_BEAM = 10
"""The beam of omikuji and of PECOS unless told otherwise."""


class PointSystem(Method):
    """A system that is trained on sparse features of the points and ranks by itself.

    It sees nothing of the model that it is compared with but, where ``features`` says so, its
    vectors. The knob of a tree is ``beam_size``, nodes kept in each layer.
    """

    inputs: ClassVar[Inputs] = "points"
    arguments: ClassVar[dict[str, type]] = {"beam_size": int}
    sweep: ClassVar[Sequence[float]] = (5, 10, 20, 50, 100)

    features: FeatureKind = parameter(
        "words", "what it learns from: tf-idf of words, vectors of the model, or both joined"
    )
    ngrams: int = parameter(1, "longest run of words that is one feature", high=5)
    min_df: int = parameter(2, "training texts that a word must stand in")

    @property
    def point_features(self) -> PointFeatures:
        """The features that it learns from."""
        if self.features == "vectors":
            return PointFeatures("vectors")  # whatever the words
        return PointFeatures(self.features, self.ngrams, self.min_df)

    def build(self, *data: sp.csr_matrix) -> None:
        """Train on the features, N x F with parts of length 1 or empty, and the labels, N x L."""
        features_NF, labels_NL = data
        x_NF = canonical_features(features_NF, what="training features")
        y_NL = training_labels(labels_NL, n_points=x_NF.shape[0])
        if x_NF.nnz == 0 or y_NL.nnz == 0:
            raise InputError(
                f"{self.name} needs features and labels to learn from, got {x_NF.nnz} entries and "
                f"{y_NL.nnz} labels of {x_NF.shape[0]} points"
            )
        self._n_features = int(x_NF.shape[1])
        self._index = self._train(x_NF, y_NL)

    @abstractmethod
    def _train(self, x_NF: sp.csr_matrix, y_NL: sp.csr_matrix) -> Any:
        """Return the package's trained model."""

    @abstractmethod
    def _ranked(self, answer: Any) -> tuple[Ids, Float32Array]:
        """Return the ids and scores in the package's answer to a batch, best first, padded."""

    def checked_queries(self, queries: Any) -> sp.csr_matrix:
        """Return the queries as canonical CSR."""
        return canonical_features(queries, what="queries", n_columns=self._n_features)

    def _answer(self, rows: Any, k: int, arguments: dict[str, Any]) -> tuple[Ids, Any]:
        return self._ranked(self.bind(k, **arguments).batch(self.prepare_queries(rows)))

    def ids_of(self, answer: Any) -> Ids:
        """Return the ids in the package's answer to a batch; this is not timed."""
        return self._ranked(answer)[0]


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


@dataclass(frozen=True)
class MixedRows:
    """Rows of features with the filled columns apart; slicing gives some of them.

    Attributes:
        sparse: CSR, B x F less the filled columns.
        dense: The filled columns, float32, B x D.
    """

    sparse: sp.csr_matrix
    dense: Float32Array

    @classmethod
    def of(cls, rows_BF: sp.csr_matrix, filled_F: npt.NDArray[np.bool_]) -> Self:
        """Part the columns of rows."""
        if not filled_F.any():
            return cls(rows_BF, np.zeros((rows_BF.shape[0], 0), np.float32))
        by_column = rows_BF.tocsc()
        dense = np.ascontiguousarray(by_column[:, filled_F].toarray(), dtype=np.float32)
        return cls(sp.csr_matrix(by_column[:, ~filled_F]), dense)

    @property
    def shape(self) -> tuple[int]:
        """(B,)."""
        return (len(self.dense),)

    def __getitem__(self, rows: slice) -> Self:
        return type(self)(self.sparse[rows], self.dense[rows])


def filled_columns(x_NF: sp.csr_matrix) -> npt.NDArray[np.bool_]:
    """Tell the columns that at least half of the points fill, bool F: cheaper stored dense."""
    counts_F = np.bincount(x_NF.indices, minlength=x_NF.shape[1])
    return np.asarray(2 * counts_F >= max(x_NF.shape[0], 1))


def neighbour_votes(
    ids_BN: Int64Array, similarities_BN: Float32Array, labels_NL: sp.csr_matrix
) -> sp.csr_matrix:
    """Sum the similarities of the neighbours that have a label.

    Args:
        ids_BN: Neighbours of B queries (rows of ``labels_NL``), negative where there are none.
        similarities_BN: How similar they are.
        labels_NL: Their labels, canonical CSR of ones.

    Returns:
        CSR, B x L.
    """
    kept = ids_BN >= 0
    # The flags select row by row, so these are the ends of the rows in what is selected.
    bounds = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    # A tiny floor keeps labels of dissimilar neighbours in the list, behind all others.
    values = np.maximum(similarities_BN[kept], np.float32(1e-6))
    weights = sp.csr_matrix((values, ids_BN[kept], bounds), shape=(len(ids_BN), labels_NL.shape[0]))
    return sp.csr_matrix(weights @ labels_NL)


def best_of_sparse(scores_BL: sp.csr_matrix, k: int | None = None) -> tuple[Ids, Float32Array]:
    """Return ids and scores of the k largest stored values of each row, ties by smaller id.

    Args:
        scores_BL: CSR, B x L.
        k: Columns of the answer; None: as many as the longest row has. Rows are padded.
    """
    counts_B = np.diff(scores_BL.indptr)
    width = int(counts_B.max(initial=0)) if k is None else k
    rows_T = np.repeat(np.arange(scores_BL.shape[0]), counts_B)
    order_T = np.lexsort((scores_BL.indices, -scores_BL.data, rows_T))
    # `rows_T` is sorted, so after the stable ordering row r still owns the same slice.
    place_T = np.arange(order_T.size) - scores_BL.indptr[:-1][rows_T]
    kept_T = place_T < width
    ids = np.full((scores_BL.shape[0], width), PAD_ID, dtype=np.int64)
    scores = np.full(ids.shape, PAD_SCORE, dtype=np.float32)
    ids[rows_T[kept_T], place_T[kept_T]] = scores_BL.indices[order_T][kept_T]
    scores[rows_T[kept_T], place_T[kept_T]] = scores_BL.data[order_T][kept_T]
    return ids, scores
