"""Nearest training records of a point by vectors (Numba).

The int8 codes of the records lie in cells, of which a query scans the nearest (an inverted file,
Sivic and Zisserman, ICCV 2003; Jégou et al., PAMI 2011). Queries that scan the same cell do so
together, while its codes are near: a cell is read from memory once for all of them.

Legend: B queries, R rows of a range, N records, P bytes of a coded vector, C cells, T nearest
records that are kept.
"""

from __future__ import annotations

import numba
import numpy as np

from learned_index.kernels.machine.byte_dots import dot4x2_u8_s8, dot_u8_s8
from learned_index.kernels.machine.dense import dot
from learned_index.kernels.machine.intrinsics import keep_until_here
from learned_index.ranking.nearest import ZERO, offer

_TINY = np.finfo(np.float32).tiny
"""A cosine that is positive is not below it."""


@numba.njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _offer_all(first, offered, floor, places, n, ids_T, scores_T):
    """Offer a heap the numbers from ``first`` on, if their scores are not below the floor.

    ``places`` is scratch, as long as ``offered``. What is below the worst of a full heap is sifted
    out before, without a branch: that is nearly all. Returns how many the heap holds.
    """
    least = scores_T[0] if n == ids_T.shape[0] else floor
    n_places = 0
    for i in range(offered.shape[0]):
        places[n_places] = i
        n_places += offered[i] >= least
    for j in range(n_places):
        i = places[j]
        if offered[i] >= least:
            n = offer(first + i, offered[i], n, ids_T, scores_T)
            if n == ids_T.shape[0]:
                least = scores_T[0]
    return n


@numba.njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def encode(x_D, length, codes):
    """Signed bytes of x / length; returns what one unit of a code is worth."""
    largest = np.float32(0.0)
    for d in range(x_D.shape[0]):
        largest = max(largest, abs(x_D[d]))
    unit = np.float32(127.0) / largest
    for d in range(x_D.shape[0]):
        codes[d] = np.int8(np.rint(x_D[d] * unit))
    return largest / (np.float32(127.0) * length)


@numba.njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _prepared(start, stop, x_BD, centroids_CD, n_probed, codes_RP, units_R, corrections_R):
    """Codes of rows start..stop, and the rows that scan each cell: offsets C + 1, and rows."""
    n_rows, n_cells = stop - start, centroids_CD.shape[0]
    cells_RQ = np.empty((n_rows, n_probed), np.int32)
    scores = np.empty(n_probed, np.float32)
    products_C, places_C = np.empty(n_cells, np.float32), np.empty(n_cells, np.int64)
    offsets = np.zeros(n_cells + 1, np.int64)
    for r in range(n_rows):
        x_D = x_BD[start + r]
        length = np.sqrt(dot(x_D, x_D))
        if not length > np.float32(0.0):
            cells_RQ[r] = -1
            continue
        units_R[r] = encode(x_D, length, codes_RP[r])
        correction = np.int32(0)
        for d in range(codes_RP.shape[1]):
            correction += np.int32(codes_RP[r, d])
        corrections_R[r] = correction * np.int32(ZERO)
        for cell in range(n_cells):
            products_C[cell] = dot(centroids_CD[cell], x_D)
        none = np.int64(0)  # 0 itself would compile _offer_all once more, for this number
        _offer_all(none, products_C, np.float32(-np.inf), places_C, none, cells_RQ[r], scores)
        for cell in cells_RQ[r]:
            offsets[cell + 1] += 1
    for cell in range(n_cells):
        offsets[cell + 1] += offsets[cell]
    rows, ends = np.empty(offsets[n_cells], np.int64), offsets.copy()
    for r in range(n_rows):
        for cell in cells_RQ[r]:
            if cell >= 0:
                rows[ends[cell]] = r
                ends[cell] += 1
    return offsets, rows


@numba.njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _products(base, n_records, first, second, width, sums_R2):
    """Inner products of so many coded records with two coded queries."""
    step, record = np.uintp(width), 0
    while record < n_records:
        at = base + np.uintp(record) * step
        if record + 4 <= n_records:
            found = dot4x2_u8_s8(
                at, at + step, at + step + step, at + step + step + step, first, second, width
            )
            for i in range(4):
                sums_R2[0, record + i], sums_R2[1, record + i] = found[i], found[4 + i]
            record += 4
        else:
            sums_R2[0, record] = dot_u8_s8(at, first, width)
            sums_R2[1, record] = dot_u8_s8(at, second, width)
            record += 1


@numba.njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _cosines(sums, correction, unit, units, cosines):
    """Cosines of a coded query and coded records, whose units are ``units``."""
    for i in range(units.shape[0]):
        cosines[i] = np.float32(sums[i] - correction) * unit * units[i]


@numba.njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def nearest_by_vectors(
    start, stop, x_BD, centroids_CD, cell_offsets, codes_NP, units_N, n_probed,
    ids_RT, similarities_RT,
):  # fmt: skip
    """The T records of largest cosine with rows start..stop, of the ``n_probed`` nearest cells.

    ``ids_RT`` and ``similarities_RT``, of these rows alone, as in
    :func:`~.nearest.nearest_by_words`; only positive cosines count. A row meets its cells in the
    order of their numbers, whatever the other rows.
    """
    n_rows, width = stop - start, codes_NP.shape[1]
    codes_RP = np.zeros((n_rows, width), np.int8)
    units_R, corrections_R = np.empty(n_rows, np.float32), np.empty(n_rows, np.int32)
    counts_R = np.zeros(n_rows, np.int64)
    offsets, rows = _prepared(
        start, stop, x_BD, centroids_CD, n_probed, codes_RP, units_R, corrections_R
    )
    largest = 0
    for cell in range(centroids_CD.shape[0]):
        largest = max(largest, cell_offsets[cell + 1] - cell_offsets[cell])
    sums, cosines = np.empty((2, largest), np.int32), np.empty(largest, np.float32)
    places = np.empty(largest, np.int64)
    base, step = np.uintp(codes_NP.ctypes.data), np.uintp(width)
    asked = np.uintp(codes_RP.ctypes.data)
    for cell in range(centroids_CD.shape[0]):
        first = cell_offsets[cell]
        last = cell_offsets[cell + 1]
        # Two queries at a time; the last one of an odd number stands for both.
        for place in range(offsets[cell], offsets[cell + 1], 2):
            n_asked = min(2, offsets[cell + 1] - place)
            _products(
                base + np.uintp(first) * step, last - first, asked + np.uintp(rows[place]) * step,
                asked + np.uintp(rows[place + n_asked - 1]) * step, width, sums,
            )  # fmt: skip
            for i in range(n_asked):
                r = rows[place + i]
                _cosines(sums[i], corrections_R[r], units_R[r], units_N[first:last], cosines)
                counts_R[r] = _offer_all(
                    first, cosines[: last - first], _TINY, places, counts_R[r], ids_RT[r],
                    similarities_RT[r],
                )  # fmt: skip
    keep_until_here(codes_RP)
