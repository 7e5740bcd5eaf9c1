"""Nearest training records of a point by words, and the votes of all nearest ones (Numba).

By words: inverted lists of pruned tf-idf rows, term by term into one sum a record (Zobel and
Moffat, "Inverted files for text search engines", ACM Computing Surveys 2006, section 3). By
vectors: :mod:`.nearest_vectors`. A record votes for each of its labels with the
square of its similarity. A label is like a point as far as the point's words are those of its own
records: the cosine-like product with their mean (Rocchio's classifier, in Salton, "The SMART
retrieval system", 1971).

Legend: B queries, N records, V terms, T nearest records that are kept, K shortlisted labels, S
labels that votes add, M = K + S.
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
def _sum_words(
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
    n, least = 0, np.float32(0.0)
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
        n_touched = _sum_words(
            indices[a:b], values[a:b], term_indptr, term_records, term_weights, weight_unit,
            sums, touched, ids_BT[row], similarities_BT[row],
        )  # fmt: skip
        for j in range(n_touched):
            sums[touched[j]] = np.float32(0.0)


@numba.njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _cast(ids_T, similarities_T, label_indptr, label_ids, votes_L, touched, n_touched, seen_L):
    """Add up squared similarities by label, in the order of the records' numbers."""
    ids_at = np.uintp(label_ids.ctypes.data)
    for record in ids_T:  # their labels lie anywhere in memory: all are asked for at once
        prefetch(ids_at + np.uintp(4) * np.uintp(label_indptr[max(record, 0)]))
    for place in np.argsort(ids_T):
        record = ids_T[place]
        if record < 0:
            continue
        vote = similarities_T[place] * similarities_T[place]
        for j in range(label_indptr[record], label_indptr[record + 1]):
            label = label_ids[j]
            if not seen_L[label]:
                seen_L[label] = True
                touched[n_touched] = label
                n_touched += 1
            votes_L[label] += vote
    return n_touched


@numba.njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _ask_for_own(ids_K, own_indptr, own_records, own_scales):
    """Fetch the records that shortlisted labels own, which lie anywhere in memory, all at once."""
    offsets_at, scales_at = np.uintp(own_indptr.ctypes.data), np.uintp(own_scales.ctypes.data)
    records_at = np.uintp(own_records.ctypes.data)
    for label in ids_K:
        prefetch(offsets_at + np.uintp(8) * np.uintp(max(label, 0)))
        prefetch(scales_at + np.uintp(4) * np.uintp(max(label, 0)))
    for label in ids_K:
        prefetch(records_at + np.uintp(4) * np.uintp(own_indptr[max(label, 0)]))


@numba.njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _likeness(label, own_indptr, own_records, own_scales, sums):
    """Inner product with the mean of the label's own records, scaled to length 1."""
    total = np.float32(0.0)
    for j in range(own_indptr[label], own_indptr[label + 1]):
        total += sums[own_records[j]]
    return total * own_scales[label]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def count_votes(
    start, stop, ids_BM, width, indptr, indices, values, term_indptr, term_records, term_weights,
    weight_unit, vector_ids_BT, vector_similarities_BT, label_indptr, label_ids, own_indptr,
    own_records, own_scales, most_labels, allowed_L, sums, near, words_L, vectors_L, seen_L,
    n_labels, words_BM, vectors_BM, likeness_BM,
):  # fmt: skip
    """Votes for the shortlisted labels of rows start..stop, and the labels that votes add.

    The first ``width`` columns of ``ids_BM`` are the K shortlisted labels. The others, -1, get the
    labels of the nearest records that are not among these, most votes first, of equal ones the
    smaller id first. ``words_BM``, ``vectors_BM`` and ``likeness_BM`` (float32, 0) get the votes by
    words and by vectors of both, and their likeness: the scaled sum of the inner products with the
    records that the label owns.
    ``allowed_L``: bool, which labels may be added; empty: all. Scratch, which must be zeros and
    is so again in the end: ``sums`` and ``near`` as in :func:`nearest_by_words`, two float32 and a
    bool for each label.

    Returns -1, or the first row with an id that is none (the rows end there).
    """
    n_kept = vector_ids_BT.shape[1]
    word_ids, word_similarities = np.empty(n_kept, np.int32), np.empty(n_kept, np.float32)
    room = min(seen_L.shape[0], most_labels * 2 * n_kept)
    touched = np.empty(room, np.int32)
    n_added = ids_BM.shape[1] - width
    added, totals = np.empty(n_added, np.int32), np.empty(n_added, np.float32)
    for row in range(start, stop):
        for k in range(width):
            if ids_BM[row, k] < -1 or ids_BM[row, k] >= n_labels:
                return np.int64(row)
        word_ids[:], word_similarities[:] = -1, np.float32(0.0)
        a, b = indptr[row], indptr[row + 1]
        n_near = _sum_words(
            indices[a:b], values[a:b], term_indptr, term_records, term_weights, weight_unit,
            sums, near, word_ids, word_similarities,
        )  # fmt: skip
        n_touched = _cast(
            word_ids, word_similarities, label_indptr, label_ids, words_L, touched, 0, seen_L
        )
        n_touched = _cast(
            vector_ids_BT[row], vector_similarities_BT[row], label_indptr, label_ids, vectors_L,
            touched, n_touched, seen_L,
        )  # fmt: skip
        _ask_for_own(ids_BM[row, :width], own_indptr, own_records, own_scales)
        for k in range(width):
            label = ids_BM[row, k]
            if label >= 0:
                words_BM[row, k], vectors_BM[row, k] = words_L[label], vectors_L[label]
                likeness_BM[row, k] = _likeness(label, own_indptr, own_records, own_scales, sums)
                seen_L[label] = False  # shortlisted: not to be added
        n = 0
        for j in range(n_touched):
            label = touched[j]
            if seen_L[label] and (allowed_L.shape[0] == 0 or allowed_L[label]):
                n = offer(label, words_L[label] + vectors_L[label], n, added, totals)
        # Sorted by id first, and then stably by votes.
        by_id = np.argsort(added[:n])
        order = by_id[np.argsort(-totals[:n][by_id], kind="mergesort")]
        for place in range(n):
            label = added[order[place]]
            ids_BM[row, width + place] = label
            words_BM[row, width + place] = words_L[label]
            vectors_BM[row, width + place] = vectors_L[label]
            likeness_BM[row, width + place] = _likeness(
                label, own_indptr, own_records, own_scales, sums
            )
        for j in range(n_touched):
            label = touched[j]
            words_L[label], vectors_L[label] = np.float32(0.0), np.float32(0.0)
            seen_L[label] = False
        for j in range(n_near):
            sums[near[j]] = np.float32(0.0)
    return np.int64(-1)


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
        out[n : n + len(places)] = places
        n += len(places)
    return out[:n]
