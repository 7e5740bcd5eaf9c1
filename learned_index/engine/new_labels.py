"""Classifiers of labels that join a trained index or engine, from a few examples.

Legend: N known points, K labels that these have, n examples of all M new labels, D dimension, O
numbers of a classifier: its D weights and the bias.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.errors import InputError
from learned_index.inputs.labels import points_per_label
from learned_index.kernels.select.cpu import largest_of_rows
from learned_index.types import Float32Array, Int64Array

Float64Array = npt.NDArray[np.float64]

MOST_MAPPED = 4096
"""Known labels that tell what classifiers are made of means."""
N_SIMILAR = 20
"""Known labels whose classifiers correct what the map makes of the examples."""
OWN_LOGIT = -4.0
"""Mean logit of the examples at least: regression shrinks what it predicts."""
_TEMPERATURE = 0.05
_RIDGE = 10.0
_BLOCK = 1 << 23
"""Cosines of new and known labels that are looked at in one go."""


class Examples(NamedTuple):
    """Examples of new labels in one table.

    Attributes:
        vectors_nD: float32, as the index or the engine takes them.
        owned_Mn: CSR float64, 1 where a label has an example; each label has one at least.
    """

    vectors_nD: Float32Array
    owned_Mn: sp.csr_matrix

    @classmethod
    def of(cls, vectors_nD: Float32Array, counts_M: Int64Array) -> Examples:
        """Examples in the order of their labels, so many of each."""
        n = len(vectors_nD)
        indptr = np.concatenate([[0], np.cumsum(counts_M)])
        owned = sp.csr_matrix((np.ones(n), np.arange(n), indptr), shape=(len(counts_M), n))
        return cls(vectors_nD, owned)

    @property
    def n_labels(self) -> int:
        """M."""
        return int(self.owned_Mn.shape[0])

    @property
    def counts(self) -> Int64Array:
        """Examples of each label."""
        counts: Int64Array = np.diff(self.owned_Mn.indptr).astype(np.int64)
        return counts


class Known(NamedTuple):
    """What known points and classifiers tell, in the space that the classifiers act on.

    Attributes:
        means_KD: Floats, means of the points of each label.
        counts_K: How many these are.
        classifiers: The weights and biases of some of them by their rows, floats n x O.
    """

    means_KD: npt.NDArray[Any]
    counts_K: Int64Array
    classifiers: Callable[[Int64Array], npt.NDArray[Any]]


def known_means(
    points_ND: Float32Array, labels_NL: sp.csr_matrix
) -> tuple[Int64Array, Float32Array, Int64Array]:
    """Labels that have a point, the means of their points, and how many these are.

    Raises:
        InputError: None has.
    """
    count_L = points_per_label(labels_NL)
    labels_K = np.flatnonzero(count_L)
    if not len(labels_K):
        raise InputError("no known point has a label, so nothing tells what classifiers are")
    sums_KD = labels_NL.T.tocsr()[labels_K] @ points_ND
    means_KD = np.asarray(sums_KD / count_L[labels_K, None].astype(np.float32), np.float32)
    return labels_K, means_KD, count_L[labels_K]


def new_classifiers(known: Known, points_nD: Float32Array, examples: Examples) -> Float64Array:
    """Weights and biases of new labels, float64 M x O.

    (21) A label with examples of mean μ gets the classifier A [μ; 1; log(1 + n)], where A is
    ridge regression of the known labels' classifiers [w; b] onto the means of their points, plus
    the mean residual of the labels with the nearest means (a softmax of their cosines): what the
    training makes of such examples, without the training. A is told from at most
    :data:`MOST_MAPPED` labels, evenly drawn. Its bias is raised where the mean logit
    of the examples would be below :data:`OWN_LOGIT`.

    Args:
        known: Of the index.
        points_nD: The examples' vectors in the same space, of about unit length.
        examples: Which belong to which label.
    """
    counts_M = examples.counts
    means_MD = (examples.owned_Mn @ points_nD.astype(np.float64)) / counts_M[:, None]
    n_known = len(known.counts_K)
    size = min(n_known, MOST_MAPPED)
    features_RF, made_RO = _rows_of(known, np.arange(size) * n_known // size)
    square_FF = features_RF.T @ features_RF + _RIDGE * np.eye(features_RF.shape[1])
    map_FO = np.linalg.solve(square_FF, features_RF.T @ made_RO)
    shares_MK = _shares(_unit(means_MD), _unit(known.means_KD))
    near_U = np.unique(shares_MK.indices)
    shares_MU = shares_MK[:, near_U]
    features_UF, made_UO = _rows_of(known, near_U)
    # Shares of the residuals W - F A: (S W) - (S F) A.
    explained_MF = _features(means_MD, counts_M) - shares_MU @ features_UF
    made_MO: Float64Array = explained_MF @ map_FO + shares_MU @ made_UO
    logits_M = np.einsum("md,md->m", means_MD, made_MO[:, :-1]) + made_MO[:, -1]
    made_MO[:, -1] += np.maximum(0.0, OWN_LOGIT - logits_M)
    return made_MO


def _rows_of(known: Known, rows: Int64Array) -> tuple[Float64Array, Float64Array]:
    """Features and classifiers of some known labels, float64."""
    features = _features(known.means_KD[rows].astype(np.float64), known.counts_K[rows])
    return features, known.classifiers(rows).astype(np.float64)


def _features(means_KD: Float64Array, count_K: Any) -> Float64Array:
    ones = np.ones((len(means_KD), 1))
    return np.concatenate([means_KD, ones, np.log1p(count_K)[:, None]], axis=1)


def _unit(rows: npt.NDArray[Any]) -> Float32Array:
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    unit: Float32Array = rows.astype(np.float32)  # a copy
    unit /= np.maximum(lengths, 1e-12).astype(np.float32)[:, None]
    return unit


def _shares(unit_MD: Float32Array, unit_KD: Float32Array) -> sp.csr_matrix:
    """What the residuals of the nearest known labels count for each new one: CSR M x K."""
    n_known = len(unit_KD)
    kept = min(N_SIMILAR, n_known)
    step = max(1, _BLOCK // n_known)
    parts = []
    for start in range(0, len(unit_MD), step):
        cosine = unit_MD[start : start + step] @ unit_KD.T
        near = largest_of_rows(cosine, kept)
        values = np.take_along_axis(cosine, near, 1).astype(np.float64)
        shares = np.exp((values - values.max(axis=1, keepdims=True)) / _TEMPERATURE)
        shares /= shares.sum(axis=1, keepdims=True)
        indptr = np.arange(len(near) + 1) * kept
        parts.append(
            sp.csr_matrix((shares.ravel(), near.ravel(), indptr), shape=(len(near), n_known))
        )
    return sp.vstack(parts, format="csr")
