"""What a margin of the sparse ranker consists of, of floats and of bytes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from learned_index.ranking.coded_weights import CodedWeights, dense_weights, weights_of
from learned_index.ranking.float_weights import FloatWeights
from learned_index.types import Float32Array, Int64Array


class RankerPoints(NamedTuple):
    """Features of points, in the order in which the kernels take them: a CSR matrix, and N x D."""

    indptr: Any
    indices: Any
    values: Any
    dense: Any


class MarginParts(NamedTuple):
    """What a margin consists of: ``q = sum(parts) + dense + bias``.

    Attributes:
        terms: int64, sparse features that the point has and the label's classifier weighs.
        parts: float32, feature times weight of each.
        dense: Part of the dense features.
        bias: The label's own.
    """

    terms: Int64Array
    parts: Float32Array
    dense: float
    bias: float


def margin_parts(
    weights: FloatWeights | CodedWeights, point: RankerPoints, label: int
) -> MarginParts:
    """Split the margin of one point (N = 1) and one label."""
    if isinstance(weights, CodedWeights):
        found = weights_of(weights, label, point.indices)
        theirs = np.flatnonzero(found)
        terms, values = point.indices[theirs], found[theirs]
        weight_D = dense_weights(weights, [label], point.dense.shape[1])[0]
    else:
        own = slice(weights.label_indptr[label], weights.label_indptr[label + 1])
        terms, ours, theirs = np.intersect1d(
            weights.features[own], point.indices, return_indices=True
        )
        values, weight_D = weights.values[own][ours], weights.weight_LD[label]
    return MarginParts(
        terms.astype(np.int64),
        (values * point.values[theirs]).astype(np.float32),
        float(weight_D @ point.dense[0]),
        float(weights.bias_L[label]),
    )
