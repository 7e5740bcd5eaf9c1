"""Classifiers of the sparse ranker as bytes, which compiled models keep.

A weight is a signed byte times the scale of its label, of which each label has two: for the sparse
and for the dense features. Labels do not depend on one another, and what was coded is coded alike
again.

Legend: L labels, V sparse features, D dense features, P bytes of a coded classifier.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.inputs.matrices import by_column, kernel_arrays
from learned_index.kernels.machine.byte_dots import LANE_BYTES
from learned_index.persistence.contents import (
    LARGEST_WEIGHT,
    require_layout,
    require_offsets,
    require_range,
)
from learned_index.ranking.nearest import ZERO
from learned_index.types import Float32Array

MOST_LABELS = 1 << 24
"""A sparse weight is 32 bits: 24 of the label, and 8 of the value."""
_LABEL_BITS = np.uint32(8)
_LARGEST_CODE = np.float32(127)
_SPARE_BITS = np.int32(0x7F)


class CodedWeights(NamedTuple):
    """Classifiers as :func:`~.coded_margins.score_coded_rows` takes them, and as they are saved.

    Attributes:
        term_indptr: int64, V + 1. Where the weights of each sparse feature begin.
        term_weights: uint32. Label times 256, plus the byte of the weight; labels ascend.
        sparse_scales_L: float32. What one unit of a label's bytes is worth.
        codes_LP: uint8. Weights of the dense features plus 128, padded with 128.
        dense_scales_L: float32, likewise.
        bias_L: float32.
    """

    term_indptr: Any
    term_weights: Any
    sparse_scales_L: Any
    codes_LP: Any
    dense_scales_L: Any
    bias_L: Any


def coded_weights(
    sparse_LV: sp.csr_matrix, weight_LD: Float32Array, bias_L: Float32Array
) -> CodedWeights:
    """Round each label's weights to bytes, the largest one to 127.

    Args:
        sparse_LV: CSR float32, weights of the sparse features; at most :data:`MOST_LABELS` rows.
        weight_LD: Those of the dense ones.
        bias_L: Kept as they are.
    """
    indptr, features, values = kernel_arrays(sparse_LV)
    n_labels, dim = weight_LD.shape
    label_of = np.repeat(np.arange(n_labels, dtype=np.uint32), np.diff(indptr))
    largest_L = np.zeros(n_labels, np.float32)
    filled = np.flatnonzero(np.diff(indptr))
    if len(filled):
        largest_L[filled] = np.maximum.reduceat(np.abs(values), indptr[filled])
    sparse_scales_L = _scales(largest_L)
    codes = np.rint(values / _divisors(sparse_scales_L)[label_of]).astype(np.int8)
    term_indptr, by_term = by_column(features, sparse_LV.shape[1])
    dense_scales_L = _scales(np.abs(weight_LD).max(axis=1, initial=0.0))
    codes_LP = np.full((n_labels, -(-dim // LANE_BYTES) * LANE_BYTES), ZERO, np.uint8)
    np.add(
        np.rint(weight_LD / _divisors(dense_scales_L)[:, None]), ZERO, out=codes_LP[:, :dim],
        casting="unsafe",
    )  # fmt: skip
    return CodedWeights(
        term_indptr,
        ((label_of << _LABEL_BITS) | codes.view(np.uint8))[by_term],
        sparse_scales_L,
        codes_LP,
        dense_scales_L,
        bias_L,
    )


def _scales(largest_L: Float32Array) -> Float32Array:
    """What a unit of a byte is worth, rounded up to 17 bits: 127 of them are a float32 exactly."""
    bits = (largest_L / _LARGEST_CODE).astype(np.float32).view(np.int32)
    scales: Float32Array = ((bits + _SPARE_BITS) & ~_SPARE_BITS).view(np.float32)
    return scales


def _divisors(scales_L: Float32Array) -> Float32Array:
    return np.where(scales_L > 0, scales_L, np.float32(1))


def sparse_weights(weights: CodedWeights) -> sp.csr_matrix:
    """The weights of the sparse features as floats: CSR float32, L x V, ascending."""
    labels = _labels(weights.term_weights)
    values = _values(weights.term_weights) * weights.sparse_scales_L[labels]
    shape = (len(weights.bias_L), len(weights.term_indptr) - 1)
    by_term = sp.csc_matrix((values, labels.astype(np.int32), weights.term_indptr), shape=shape)
    return by_term.tocsr()


def dense_weights(weights: CodedWeights, labels: Any, dim: int) -> Float32Array:
    """The weights of the D dense features of some labels as floats, n x D; ``slice(None)``: all."""
    codes = weights.codes_LP[labels, :dim].astype(np.float32)
    found: Float32Array = (codes - ZERO) * weights.dense_scales_L[labels, None]
    return found


def weights_of(weights: CodedWeights, label: int, terms: Any) -> Float32Array:
    """What a label's classifier weighs some sparse features with, float32; 0 where it does not."""
    found = np.zeros(len(terms), np.float32)
    for place, term in enumerate(terms):
        words = weights.term_weights[weights.term_indptr[term] : weights.term_indptr[term + 1]]
        mine = words[_labels(words) == label]
        if len(mine):
            found[place] = _values(mine)[0]
    found *= weights.sparse_scales_L[label]
    return found


def _labels(words: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """The labels of sparse weights."""
    return words >> _LABEL_BITS


def _values(words: npt.NDArray[np.uint32]) -> Float32Array:
    """The bytes of sparse weights as numbers."""
    return words.astype(np.uint8).view(np.int8).astype(np.float32)


def check_coded(weights: CodedWeights, n_features: int, dim: int) -> None:
    """The compiled code does not check bounds: arrays from a file are checked here.

    Raises:
        InputError: They are not those of so many features.
    """
    n_labels, n_weights = len(weights.bias_L), len(weights.term_weights)
    width = -(-dim // LANE_BYTES) * LANE_BYTES
    require_layout(
        weights._asdict(),
        {
            "term_indptr": (np.int64, (n_features + 1,)),
            "term_weights": (np.uint32, (n_weights,)),
            "sparse_scales_L": (np.float32, (n_labels,)),
            "codes_LP": (np.uint8, (n_labels, width)),
            "dense_scales_L": (np.float32, (n_labels,)),
            "bias_L": (np.float32, (n_labels,)),
        },
    )
    require_offsets("term_indptr", weights.term_indptr, n_weights)
    require_range("labels of term_weights", _labels(weights.term_weights), 0, n_labels - 1)
    for name in ("sparse_scales_L", "dense_scales_L"):
        require_range(name, getattr(weights, name), 0.0, LARGEST_WEIGHT)
    require_range("bias_L", weights.bias_L, -LARGEST_WEIGHT, LARGEST_WEIGHT)
