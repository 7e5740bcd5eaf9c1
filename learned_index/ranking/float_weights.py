"""Classifiers of the sparse ranker as floats, as they are trained and saved.

Compiled models keep them as bytes (:mod:`~learned_index.ranking.coded_weights`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from learned_index.persistence.contents import (
    LARGEST_WEIGHT,
    require_layout,
    require_offsets,
    require_range,
)
from learned_index.types import Int64Array


class FloatWeights(NamedTuple):
    """All classifiers; the kernels take the fields in this order, a saved ranker has their names.

    Attributes:
        label_indptr: int64, L + 1. Where the sparse weights of each label begin.
        features: int32. The features of the sparse weights, ascending within a label.
        values: float32. The sparse weights.
        weight_LD: float32. The weights of the dense features.
        bias_L: float32.
    """

    label_indptr: Any
    features: Any
    values: Any
    weight_LD: Any
    bias_L: Any


def no_weights(n_labels: int, dim: int) -> FloatWeights:
    """Classifiers that weigh nothing."""
    return FloatWeights(
        np.zeros(n_labels + 1, np.int64),
        np.empty(0, np.int32),
        np.empty(0, np.float32),
        np.zeros((n_labels, dim), np.float32),
        np.zeros(n_labels, np.float32),
    )


def taken_rows(weights: FloatWeights, labels_U: Int64Array) -> FloatWeights:
    """The classifiers of some labels, in their order."""
    features_U, values_U = (
        _rows_of(weights.label_indptr, array, labels_U)
        for array in (weights.features, weights.values)
    )
    return FloatWeights(
        row_offsets(np.diff(weights.label_indptr)[labels_U]),
        np.concatenate([weights.features[:0], *features_U]),
        np.concatenate([weights.values[:0], *values_U]),
        weights.weight_LD[labels_U],
        weights.bias_L[labels_U],
    )


def with_rows(old: FloatWeights, touched_U: Int64Array, new: FloatWeights) -> FloatWeights:
    """All classifiers, some of them replaced; what stays is copied in runs, not row by row.

    Args:
        old: Of all labels.
        touched_U: int64, ascending: the labels whose classifiers are new.
        new: Theirs.
    """
    weight_LD, bias_L = old.weight_LD.copy(), old.bias_L.copy()
    weight_LD[touched_U], bias_L[touched_U] = new.weight_LD, new.bias_L
    lengths_L = np.diff(old.label_indptr)
    lengths_L[touched_U] = np.diff(new.label_indptr)
    ends = np.append(old.label_indptr[touched_U], old.label_indptr[-1])
    begins = np.append(old.label_indptr[:1], old.label_indptr[touched_U + 1])
    spliced = []
    for before, after in ((old.features, new.features), (old.values, new.values)):
        rows = _rows_of(new.label_indptr, after, np.arange(len(touched_U)))
        runs = [before[start:stop] for start, stop in zip(begins, ends, strict=True)]
        parts = [part for pair in zip(runs, [*rows, after[:0]], strict=True) for part in pair]
        spliced.append(np.concatenate(parts))
    return FloatWeights(row_offsets(lengths_L), spliced[0], spliced[1], weight_LD, bias_L)


def _rows_of(indptr: Int64Array, values: Any, rows: Int64Array) -> list[Any]:
    """The values of some rows of a compressed matrix."""
    return [values[indptr[row] : indptr[row + 1]] for row in rows.tolist()]


def row_offsets(counts_L: Int64Array) -> Int64Array:
    """Where the part of each label begins in a list of all, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(counts_L)]).astype(np.int64)


def check_floats(arrays: dict[str, Any], n_features: int, dim: int) -> None:
    """The compiled code does not check bounds: arrays from a file are checked here."""
    n_labels, n_weights = len(arrays["bias_L"]), len(arrays["features"])
    require_layout(
        arrays,
        {
            "label_indptr": (np.int64, (n_labels + 1,)),
            "features": (np.int32, (n_weights,)),
            "values": (np.float32, (n_weights,)),
            "weight_LD": (np.float32, (n_labels, dim)),
            "bias_L": (np.float32, (n_labels,)),
        },
    )
    require_offsets("label_indptr", arrays["label_indptr"], n_weights)
    require_range("features", arrays["features"], 0, n_features - 1)
    for name in ("values", "weight_LD", "bias_L"):
        require_range(name, arrays[name], -LARGEST_WEIGHT, LARGEST_WEIGHT)
