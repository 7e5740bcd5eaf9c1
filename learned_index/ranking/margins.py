"""Margins of shortlisted labels under their linear classifiers (Numba).

Legend: B rows, K shortlisted labels of each, D dense features, L labels, V sparse features.
"""

from __future__ import annotations

import numba
import numpy as np

from learned_index.kernels.engine.logits import is_finite
from learned_index.kernels.machine.dense import dot
from learned_index.kernels.machine.intrinsics import prefetch, prefetch_row

WEIGHT = np.dtype([("label", np.int32), ("value", np.float32)])
"""A weight of a term: side by side, what is read together comes in one line of memory."""
_AHEAD = 2
"""Labels whose dense weights are asked for before they are read."""
_CLEARED_AT_ONCE = 8
"""Numbers that are set to 0 one after another in the time of one anywhere in memory."""


@numba.njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _add_dense(ids_K, x_D, weight_LD, out_K):
    """Add the dense part of the margins of one row."""
    at, n_bytes = np.uintp(weight_LD.ctypes.data), 4 * weight_LD.shape[1]
    width = ids_K.shape[0]
    for k in range(min(_AHEAD, width)):
        if ids_K[k] >= 0:
            prefetch_row(at + np.uintp(ids_K[k]) * np.uintp(n_bytes), n_bytes)
    for k in range(width):
        if k + _AHEAD < width and ids_K[k + _AHEAD] >= 0:
            prefetch_row(at + np.uintp(ids_K[k + _AHEAD]) * np.uintp(n_bytes), n_bytes)
        if ids_K[k] >= 0:
            out_K[k] += dot(weight_LD[ids_K[k]], x_D)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def score_rows(
    start, stop, indptr, indices, values, dense_BD, ids_BK,
    term_indptr, term_weights, weight_LD, bias_L, margins_L, out_BK,
):  # fmt: skip
    """Margins of the labels in ``ids_BK`` (0 at pads) for rows start..stop.

    Costs the sparse weights of the row's terms, those of all labels, which lie in one piece for
    each term: fewer than the weights of the shortlisted labels, most of whose terms a row has not.
    ``term_weights``: :data:`WEIGHT`, those of each term in one piece.
    ``margins_L``: float32 zeros, which are zeros again in the end.

    Returns -1, or the first row with an id that is none, or dense features that are not finite or
    beyond what can be computed with (the rows end there).
    """
    weights_at = np.uintp(term_weights.ctypes.data)
    n_labels = bias_L.shape[0]
    for row in range(start, stop):
        for k in range(ids_BK.shape[1]):
            if ids_BK[row, k] < -1 or ids_BK[row, k] >= n_labels:
                return np.int64(row)
        if not is_finite(dense_BD[row], dense_BD.shape[1]):
            return np.int64(row)
        a, b = indptr[row], indptr[row + 1]
        # The terms' weights lie anywhere in memory: all are asked for before the first is read.
        n_weights = np.int64(0)
        for t in range(a, b):
            begin = term_indptr[indices[t]]
            n_weights += term_indptr[indices[t] + 1] - begin
            prefetch(weights_at + np.uintp(8) * np.uintp(begin))
        for t in range(a, b):
            term, x = indices[t], values[t]
            for s in range(term_indptr[term], term_indptr[term + 1]):
                margins_L[np.uintp(term_weights[s].label)] += term_weights[s].value * x
        for k in range(ids_BK.shape[1]):
            label = ids_BK[row, k]
            out_BK[row, k] = np.float32(0.0)
            if label >= 0:
                out_BK[row, k] = margins_L[np.uintp(label)] + bias_L[np.uintp(label)]
        if _CLEARED_AT_ONCE * n_weights > n_labels:
            for label in range(n_labels):
                margins_L[label] = np.float32(0.0)
            continue
        for t in range(a, b):
            term = indices[t]
            for s in range(term_indptr[term], term_indptr[term + 1]):
                margins_L[np.uintp(term_weights[s].label)] = np.float32(0.0)
    for row in range(start, stop):
        _add_dense(ids_BK[row], dense_BD[row], weight_LD, out_BK[row])
    return np.int64(-1)
