"""Training records laid out for search: inverted lists of words, bytes of vectors, centroids."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.inputs.matrices import by_column
from learned_index.kernels.machine.byte_dots import LANE_BYTES
from learned_index.ranking.nearest import ZERO, heaviest
from learned_index.types import Float32Array, Int64Array

TERMS_PER_RECORD = 32
"""Heaviest terms of a record that are kept."""
MOST_OWN = 64
"""Records of a label whose mean stands for it."""
_MOST_FREQUENT = 0.1
"""Terms in a larger share of the records are dropped: long lists that tell little apart."""
_FEW = 1000
"""Up to so many records no term is dropped for being frequent."""
WEIGHT_UNIT = np.float32(1.0 / 255.0)
"""What one unit of a term's weight is worth."""


def inverted(sparse_NV: sp.csr_matrix) -> tuple[Any, Any, Any]:
    """Lists of records by term, of the heaviest terms of each record and no frequent ones."""
    n_records, n_terms = sparse_NV.shape
    frequency = np.bincount(sparse_NV.indices, minlength=n_terms)
    most = n_records if n_records <= _FEW else int(_MOST_FREQUENT * n_records)
    codes = np.rint(np.clip(sparse_NV.data, 0.0, 1.0) / WEIGHT_UNIT).astype(np.uint8)
    kept = (frequency[sparse_NV.indices] <= most) & (codes > 0)
    chosen = heaviest(sparse_NV.indptr, sparse_NV.data, kept, TERMS_PER_RECORD)
    terms = sparse_NV.indices[chosen]
    rows = np.searchsorted(sparse_NV.indptr, chosen, side="right") - 1
    indptr, by_term = by_column(terms, n_terms)
    return indptr, rows[by_term].astype(np.int32), codes[chosen][by_term]


def coded(vectors_ND: Float32Array) -> tuple[npt.NDArray[np.uint8], Float32Array]:
    """Bytes of the rows, padded, and what a unit is worth where rows have length 1."""
    n_records, dim = vectors_ND.shape
    width = -(-dim // LANE_BYTES) * LANE_BYTES
    codes = np.full((n_records, width), ZERO, np.uint8)
    largest = np.abs(vectors_ND).max(axis=1, initial=0.0)
    scale = np.where(largest > 0, largest, 1.0)[:, None]
    codes[:, :dim] = (np.rint(vectors_ND / scale * 127.0) + ZERO).astype(np.uint8)
    length = np.linalg.norm(codes.astype(np.float32) - ZERO, axis=1)
    return codes, (1.0 / np.maximum(length, 1.0)).astype(np.float32)


def centroids(vectors_ND: Float32Array, offsets: Int64Array) -> Float32Array:
    """Unit vectors of the cells, float32 C x D: the directions of their records, summed."""
    unit = vectors_ND / np.maximum(np.linalg.norm(vectors_ND, axis=1, keepdims=True), 1e-12)
    sums = np.add.reduceat(unit, offsets[:-1], axis=0)
    found: Float32Array = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    return np.ascontiguousarray(found, np.float32)


def owned(
    labels_NL: sp.csr_matrix, term_indptr: Int64Array, term_records: Any, term_weights: Any
) -> tuple[Any, Any, Any]:
    """The records of each label, drawn evenly where there are many, and the scale of their sum.

    Args:
        labels_NL: Canonical CSR, the labels of the records.
        term_indptr: See :func:`inverted`, as the two that follow.
        term_records: int32.
        term_weights: uint8.

    Returns:
        int64 L + 1, where each label's records begin; int32 records, ascending within a label;
        float32 L, one over the length of the sum of their rows, 0 where that is 0.
    """
    by_label = labels_NL.tocsc()
    by_label.sort_indices()
    begin, count_L = by_label.indptr[:-1].astype(np.int64), np.diff(by_label.indptr)
    kept_L = np.minimum(count_L, MOST_OWN)
    indptr = np.concatenate([[0], np.cumsum(kept_L)]).astype(np.int64)
    label_of = np.repeat(np.arange(len(count_L)), kept_L)
    number = np.arange(indptr[-1]) - indptr[label_of]
    chosen = begin[label_of] + number * count_L[label_of] // kept_L[label_of]
    records = by_label.indices[chosen].astype(np.int32)
    weights_VN = sp.csr_matrix(
        (term_weights.astype(np.float32) * WEIGHT_UNIT, term_records, term_indptr),
        shape=(len(term_indptr) - 1, labels_NL.shape[0]),
    )
    ones = np.ones(len(records), np.float32)
    own_NL = sp.csc_matrix((ones, records, indptr), shape=labels_NL.shape)
    sums_VL = (weights_VN @ own_NL).tocsc()
    squares_L = np.asarray(sums_VL.multiply(sums_VL).sum(axis=0), np.float64).ravel()
    scales_L = 1.0 / np.sqrt(np.where(squares_L > 0, squares_L, np.inf))
    return indptr, records, scales_L.astype(np.float32)
