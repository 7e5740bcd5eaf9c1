"""Nearest training records of a point by words (Numba).

By words: inverted lists of pruned tf-idf rows, term by term into one sum a record (Zobel and
Moffat, "Inverted files for text search engines", ACM Computing Surveys 2006, section 3). By
vectors: :mod:`.nearest_vectors`. What they vote for: :mod:`.votes`.

Legend: B queries, N records, V terms, T nearest records that are kept.
"""

from __future__ import annotations

import numba
import numpy as np

from learned_index.kernels.machine.intrinsics import prefetch

ZERO = 128
"""The byte that stands for 0 in the codes of records, which are unsigned."""


@numba.njit(nogil=True, cache=True, forceinline=True)
def offer(record, similarity, n, ids, similarities):
    """Put a record into the T best, a heap whose root is the worst; returns how many it holds.

    Of equally similar records the one with the smaller number is the better.
    """
    size = ids.shape[0]
    if n < size:
        place = n
        n += 1
        while place > 0:
            parent = (place - 1) // 2
            worse = similarity < similarities[parent] or (
                similarity == similarities[parent] and record > ids[parent]
            )
            if not worse:
                break
            ids[place], similarities[place] = ids[parent], similarities[parent]
            place = parent
    else:
        better = similarity > similarities[0] or (similarity == similarities[0] and record < ids[0])
        if not better:
            return n
        place = 0
        while 2 * place + 1 < size:
            child = 2 * place + 1
            right = child + 1
            if right < size and (
                similarities[right] < similarities[child]
                or (similarities[right] == similarities[child] and ids[right] > ids[child])
            ):
                child = right
            worse = similarities[child] < similarity or (
                similarities[child] == similarity and ids[child] > record
            )
            if not worse:
                break
            ids[place], similarities[place] = ids[child], similarities[child]
            place = child
    ids[place], similarities[place] = record, similarity
    return n


@numba.njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def sum_words(
    indices, values, term_indptr, term_records, term_weights, weight_unit, sums, touched,
    ids_T, similarities_T,
):  # fmt: skip
    """Inner products of one row with all records into ``sums``; returns how many are touched.

    The T best go to ``ids_T`` and ``similarities_T``. The caller sets what is touched to 0 again.
    """
    # The lists lie anywhere in memory: all are asked for before the first is read.
    records_at, weights_at = np.uintp(term_records.ctypes.data), np.uintp(term_weights.ctypes.data)
    for t in range(indices.shape[0]):
        begin = np.uintp(term_indptr[indices[t]])
        prefetch(records_at + np.uintp(4) * begin)
        prefetch(weights_at + begin)
    n_touched = 0
    for t in range(indices.shape[0]):
        term, value = indices[t], values[t] * weight_unit
        # A sum that is not 0 stays so: each record is touched once, and there is room for it.
        if not value > np.float32(0.0):
            continue
        for j in range(term_indptr[term], term_indptr[term + 1]):
            record = np.uintp(term_records[j])
            before = sums[record]
            touched[n_touched] = term_records[j]
            n_touched += before == np.float32(0.0)
            sums[record] = before + value * np.float32(term_weights[j])
    # Not 0: a function would be compiled for the number 0 and again for any number.
    n, least = np.int64(0), np.float32(0.0)
    for j in range(n_touched):
        record = touched[j]
        similarity = sums[record]
        if similarity >= least:
            n = offer(record, similarity, n, ids_T, similarities_T)
            if n == ids_T.shape[0]:
                least = similarities_T[0]
    return n_touched


@numba.njit(nogil=True, cache=True, error_model="numpy")
def nearest_by_words(
    start, stop, indptr, indices, values, term_indptr, term_records, term_weights, weight_unit,
    sums, touched, ids_BT, similarities_BT,
):  # fmt: skip
    """The T records of largest inner product with rows start..stop of a CSR matrix B x V.

    ``ids_BT`` (int32) and ``similarities_BT`` (float32) must hold -1 and 0; they are written in
    the order of a heap. Records without a common term are never found. Scratch: ``sums`` (float32,
    N zeros, which are zeros again in the end) and ``touched`` (int32, N + 1).
    """
    for row in range(start, stop):
        a, b = indptr[row], indptr[row + 1]
        n_touched = sum_words(
            indices[a:b], values[a:b], term_indptr, term_records, term_weights, weight_unit,
            sums, touched, ids_BT[row], similarities_BT[row],
        )  # fmt: skip
        for j in range(n_touched):
            sums[touched[j]] = np.float32(0.0)


@numba.njit(nogil=True, cache=True)
def heaviest(indptr, values, kept, most):
    """Places of the heaviest kept entries of each row, ascending; of equals the first."""
    out = np.empty(len(values), np.int64)
    n = 0
    for row in range(len(indptr) - 1):
        places = np.empty(indptr[row + 1] - indptr[row], np.int64)
        found = 0
        for s in range(indptr[row], indptr[row + 1]):
            if kept[s]:
                places[found] = s
                found += 1
        places = places[:found]
        if found > most:
            order = np.argsort(-values[places], kind="mergesort")[:most]
            places = np.sort(places[order])
        for place in places:
            out[n] = place
            n += 1
    return out[:n]
