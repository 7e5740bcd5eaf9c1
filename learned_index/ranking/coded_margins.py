"""Margins of shortlisted labels under classifiers whose weights are bytes (Numba).

A text reads far fewer bytes than in :mod:`.margins`: a quarter of the dense weights and half of the
sparse ones, anywhere in memory, which is what its time goes into.

Legend: B rows, K shortlisted labels of each, D dense features, P bytes of a coded classifier, L
labels, V sparse features.
"""

from __future__ import annotations

import numba
import numpy as np

from learned_index.kernels.engine.logits import is_finite
from learned_index.kernels.machine.byte_dots import dot4_u8_s8
from learned_index.kernels.machine.intrinsics import keep_until_here, prefetch_row
from learned_index.ranking.nearest import ZERO
from learned_index.ranking.nearest_vectors import encode

_AT_ONCE = 256
"""Weights among which those of shortlisted labels are picked before they are added."""
_TERMS_AHEAD = 2
"""Terms whose weights are asked for before they are read."""
_ROWS_AT_ONCE = 4


@numba.njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _ask_for_rows(ids_K, first, at, width):
    """Fetch the classifiers of the labels from place ``first`` on that are read together."""
    for k in range(first, min(first + _ROWS_AT_ONCE, ids_K.shape[0])):
        prefetch_row(at + np.uintp(max(ids_K[k], 0)) * np.uintp(width), width)


@numba.njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _add_dense(ids_K, query, unit, correction, codes_LP, dense_scales_L, out_K):
    """Add the dense part of the margins of one row, whose codes lie at ``query``."""
    at, width, n = np.uintp(codes_LP.ctypes.data), codes_LP.shape[1], ids_K.shape[0]
    step = np.uintp(width)
    _ask_for_rows(ids_K, 0, at, width)
    for first in range(0, n, _ROWS_AT_ONCE):
        _ask_for_rows(ids_K, first + _ROWS_AT_ONCE, at, width)
        # Pads, and what is missing of the last four, stand in for label 0 and are not looked at.
        sums = dot4_u8_s8(
            at + np.uintp(max(ids_K[first], 0)) * step,
            at + np.uintp(max(ids_K[min(first + 1, n - 1)], 0)) * step,
            at + np.uintp(max(ids_K[min(first + 2, n - 1)], 0)) * step,
            at + np.uintp(max(ids_K[min(first + 3, n - 1)], 0)) * step,
            query, width,
        )  # fmt: skip
        for i in range(min(_ROWS_AT_ONCE, n - first)):
            label = ids_K[first + i]
            if label >= 0:
                scale = dense_scales_L[np.uintp(label)] * unit
                out_K[first + i] += np.float32(sums[i] - correction) * scale


@numba.njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _add_sparse(indices, values, term_indptr, term_weights, listed_L, found, margins_L):
    """Add the sparse part of the margins, in units of the labels' scales, of listed labels."""
    at = np.uintp(term_weights.ctypes.data)
    n_terms = indices.shape[0]
    for t in range(n_terms + _TERMS_AHEAD):
        if t < n_terms:
            begin, end = term_indptr[indices[t]], term_indptr[indices[t] + 1]
            prefetch_row(at + np.uintp(4) * np.uintp(begin), 4 * (end - begin))
        if t < _TERMS_AHEAD:
            continue
        term, x = indices[t - _TERMS_AHEAD], values[t - _TERMS_AHEAD]
        stop = term_indptr[term + 1]
        for first in range(term_indptr[term], stop, _AT_ONCE):
            n = np.uintp(0)
            # Most labels are not listed; without a branch, which would be guessed wrong.
            for s in range(first, min(first + _AT_ONCE, stop)):
                weight = term_weights[np.uintp(s)]
                found[n] = weight
                n += np.uintp(listed_L[np.uintp(weight >> np.uint32(8))])
            for j in range(np.int64(n)):
                weight = found[np.uintp(j)]
                label = np.uintp(weight >> np.uint32(8))
                margins_L[label] += np.float32(np.int8(weight & np.uint32(255))) * x


@numba.njit(nogil=True, cache=True, error_model="numpy")
def score_coded_rows(
    start, stop, indptr, indices, values, dense_BD, ids_BK, term_indptr, term_weights,
    sparse_scales_L, codes_LP, dense_scales_L, bias_L, listed_L, margins_L, out_BK,
):  # fmt: skip
    """Margins of the labels in ``ids_BK`` (0 at pads) for rows start..stop.

    The fields of :class:`~.coded_weights.CodedWeights` stand in the middle. ``listed_L`` (uint8)
    and ``margins_L`` (float32) are scratch: zeros, which are zeros again in the end.

    Returns -1, or the first row with an id that is none, or dense features that are not finite or
    beyond what can be computed with (the rows end there).
    """
    codes, found = np.zeros(codes_LP.shape[1], np.int8), np.empty(_AT_ONCE, np.uint32)
    query = np.uintp(codes.ctypes.data)
    for row in range(start, stop):
        ids_K, x_D, out_K = ids_BK[row], dense_BD[row], out_BK[row]
        for k in range(ids_K.shape[0]):
            if ids_K[k] < -1 or ids_K[k] >= bias_L.shape[0]:
                return np.int64(row)
        if not is_finite(x_D, x_D.shape[0]):
            return np.int64(row)
        for k in range(ids_K.shape[0]):
            if ids_K[k] >= 0:
                listed_L[ids_K[k]] = 1
        a, b = indptr[row], indptr[row + 1]
        _add_sparse(
            indices[a:b], values[a:b], term_indptr, term_weights, listed_L, found, margins_L
        )
        for k in range(ids_K.shape[0]):
            label = np.uintp(max(ids_K[k], 0))
            out_K[k] = np.float32(0.0)
            if ids_K[k] >= 0:
                out_K[k] = margins_L[label] * sparse_scales_L[label] + bias_L[label]
        for k in range(ids_K.shape[0]):  # a label may stand there twice
            if ids_K[k] >= 0:
                margins_L[ids_K[k]], listed_L[ids_K[k]] = np.float32(0.0), 0
        unit = encode(x_D, np.float32(1.0), codes)
        if unit > np.float32(0.0):
            correction = np.int32(0)
            for d in range(codes.shape[0]):
                correction += np.int32(codes[d])
            _add_dense(
                ids_K, query, unit, correction * np.int32(ZERO), codes_LP, dense_scales_L, out_K
            )
    keep_until_here(codes)
    return np.int64(-1)
