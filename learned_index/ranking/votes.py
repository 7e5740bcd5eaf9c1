"""Votes of the nearest training records of a point for labels (Numba).

A record votes for each of its labels with the square of its similarity. A label is like a point as
far as the point's words are those of its own records: the cosine-like product with their mean
(Rocchio's classifier, in Salton, "The SMART retrieval system", 1971).

Legend: B queries, N records, V terms, P bytes of a coded vector, C cells, R rows of a range, T
nearest records that vote, K shortlisted labels, S labels that votes add, M = K + S.
"""

from __future__ import annotations

import numba
import numpy as np

from learned_index.kernels.machine.intrinsics import prefetch
from learned_index.ranking.nearest import offer, sum_words
from learned_index.ranking.nearest_vectors import nearest_by_vectors


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
    start, stop, ids_BK, ids_BM, indptr, indices, values, term_indptr, term_records, term_weights,
    weight_unit, x_BD, centroids_CD, cell_offsets, codes_NP, units_N, n_probed, n_kept,
    label_indptr, label_ids, own_indptr, own_records, own_scales, most_labels, allowed_L,
    sums, near, words_L, vectors_L, seen_L, n_labels, words_BM, vectors_BM, likeness_BM,
):  # fmt: skip
    """Votes for the shortlisted labels of rows start..stop, and the labels that votes add.

    ``ids_BM`` gets the K shortlisted labels, and behind them the labels of the nearest records that
    are not among these, most votes first, of equal ones the smaller id first, and -1 where there
    are fewer. ``words_BM``, ``vectors_BM`` and ``likeness_BM`` (float32) get the votes by
    words and by vectors of both, and their likeness: the scaled sum of the inner products with the
    records that the label owns.
    ``allowed_L``: bool, which labels may be added; empty: all. Scratch, which must be zeros and
    is so again in the end: ``sums`` and ``near`` as in :func:`nearest_by_words`, two float32 and a
    bool for each label.

    Returns -1, or the first row with an id that is none (the rows end there).
    """
    # Compiled into this one: compiled code that is kept knows of a change there by one here.
    vector_ids_RT = np.full((stop - start, n_kept), -1, np.int32)
    vector_similarities_RT = np.zeros((stop - start, n_kept), np.float32)
    nearest_by_vectors(
        start, stop, x_BD, centroids_CD, cell_offsets, codes_NP, units_N, n_probed,
        vector_ids_RT, vector_similarities_RT,
    )  # fmt: skip
    word_ids, word_similarities = np.empty(n_kept, np.int32), np.empty(n_kept, np.float32)
    room = min(seen_L.shape[0], most_labels * 2 * n_kept)
    touched = np.empty(room, np.int32)
    width, n_added = ids_BK.shape[1], ids_BM.shape[1] - ids_BK.shape[1]
    added, totals = np.empty(n_added, np.int32), np.empty(n_added, np.float32)
    for row in range(start, stop):
        for k in range(width):
            if ids_BK[row, k] < -1 or ids_BK[row, k] >= n_labels:
                return np.int64(row)
            ids_BM[row, k] = ids_BK[row, k]
        ids_BM[row, width:] = -1
        words_BM[row], vectors_BM[row] = np.float32(0.0), np.float32(0.0)
        likeness_BM[row] = np.float32(0.0)
        word_ids[:], word_similarities[:] = -1, np.float32(0.0)
        a, b = indptr[row], indptr[row + 1]
        n_near = sum_words(
            indices[a:b], values[a:b], term_indptr, term_records, term_weights, weight_unit,
            sums, near, word_ids, word_similarities,
        )  # fmt: skip
        n_touched = _cast(
            word_ids, word_similarities, label_indptr, label_ids, words_L, touched, np.int64(0),
            seen_L,
        )  # fmt: skip
        n_touched = _cast(
            vector_ids_RT[row - start], vector_similarities_RT[row - start], label_indptr,
            label_ids, vectors_L, touched, n_touched, seen_L,
        )  # fmt: skip
        _ask_for_own(ids_BM[row, :width], own_indptr, own_records, own_scales)
        for k in range(width):
            label = ids_BM[row, k]
            if label >= 0:
                words_BM[row, k], vectors_BM[row, k] = words_L[label], vectors_L[label]
                likeness_BM[row, k] = _likeness(label, own_indptr, own_records, own_scales, sums)
                seen_L[label] = False  # shortlisted: not to be added
        n = np.int64(0)
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
