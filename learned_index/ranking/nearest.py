"""Nearest training records of a point, by words and by vectors, and their votes (Numba).

By words: inverted lists of pruned tf-idf rows, term by term into one sum a record (Zobel and
Moffat, "Inverted files for text search engines", ACM Computing Surveys 2006, section 3). By
vectors: int8 codes in cells, of which a query scans the nearest (an inverted file, Sivic and
Zisserman, ICCV 2003; Jégou et al., PAMI 2011). A record votes for each of its labels with the
square of its similarity. A label is like a point as far as the point's words are those of its own
records: the cosine-like product with their mean (Rocchio's classifier, in Salton, "The SMART
retrieval system", 1971).

Legend: B queries, N records, V terms, P bytes of a coded vector, C cells, T nearest records that
are kept, K shortlisted labels, S labels that votes add.
"""

from __future__ import annotations

import numba
import numpy as np

from learned_index.kernels.machine.byte_dots import dot4_u8_s8, dot_u8_s8
from learned_index.kernels.machine.dense import dot

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
    n_touched = 0
    for t in range(indices.shape[0]):
        term, value = indices[t], values[t] * weight_unit
        # A sum that is not 0 stays so: each record is touched once, and there is room for it.
        if not value > np.float32(0.0):
            continue
        for j in range(term_indptr[term], term_indptr[term + 1]):
            record = term_records[j]
            before = sums[record]
            if before == np.float32(0.0):
                touched[n_touched] = record
                n_touched += 1
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
    n_records, ids_BT, similarities_BT,
):  # fmt: skip
    """The T records of largest inner product with rows start..stop of a CSR matrix B x V.

    ``ids_BT`` (int32) and ``similarities_BT`` (float32) must hold -1 and 0; they are written in
    the order of a heap. Records without a common term are never found.
    """
    sums = np.zeros(n_records, np.float32)
    touched = np.empty(n_records, np.int32)
    for row in range(start, stop):
        a, b = indptr[row], indptr[row + 1]
        n_touched = _sum_words(
            indices[a:b], values[a:b], term_indptr, term_records, term_weights, weight_unit,
            sums, touched, ids_BT[row], similarities_BT[row],
        )  # fmt: skip
        for j in range(n_touched):
            sums[touched[j]] = np.float32(0.0)


@numba.njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _probed_cells(x_D, centroids_CD, n_probed, cells, scores):
    """The cells nearest to a query, in the order of a heap; returns their number."""
    n = 0
    for cell in range(centroids_CD.shape[0]):
        n = offer(cell, dot(centroids_CD[cell], x_D), n, cells[:n_probed], scores[:n_probed])
    return n


@numba.njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _encode(x_D, length, codes):
    """Signed bytes of x / length; returns what one unit of a code is worth."""
    largest = np.float32(0.0)
    for d in range(x_D.shape[0]):
        largest = max(largest, abs(x_D[d]))
    unit = np.float32(127.0) / largest
    for d in range(x_D.shape[0]):
        codes[d] = np.int8(np.rint(x_D[d] * unit))
    return largest / (np.float32(127.0) * length)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def nearest_by_vectors(
    start, stop, x_BD, centroids_CD, cell_offsets, codes_NP, units_N, n_probed,
    ids_BT, similarities_BT,
):  # fmt: skip
    """The T records of largest cosine with rows start..stop, of the ``n_probed`` nearest cells.

    ``ids_BT`` and ``similarities_BT`` as in :func:`nearest_by_words`; only positive cosines count.
    """
    width = codes_NP.shape[1]
    codes = np.zeros(width, np.int8)
    cells, scores = np.empty(n_probed, np.int32), np.empty(n_probed, np.float32)
    query, base = np.uintp(codes.ctypes.data), np.uintp(codes_NP.ctypes.data)
    for row in range(start, stop):
        x_D = x_BD[row]
        length = np.sqrt(dot(x_D, x_D))
        if not length > np.float32(0.0):
            continue
        unit = _encode(x_D, length, codes)
        correction = np.int32(0)
        for d in range(width):
            correction += np.int32(codes[d])
        correction *= np.int32(ZERO)
        n = 0
        n_cells = _probed_cells(x_D, centroids_CD, n_probed, cells, scores)
        ids_T, similarities_T = ids_BT[row], similarities_BT[row]
        n, least, step = 0, np.float32(0.0), np.uintp(width)
        for place in range(n_cells):
            record, last = cell_offsets[cells[place]], cell_offsets[cells[place] + 1]
            while record < last:
                at = base + np.uintp(record) * step
                n_rows = 4 if record + 4 <= last else 1
                if n_rows == 4:
                    sums = dot4_u8_s8(
                        at, at + step, at + step + step, at + step + step + step, query, width
                    )
                else:
                    one = dot_u8_s8(at, query, width)
                    sums = (one, one, one, one)
                for i in range(n_rows):
                    similarity = np.float32(sums[i] - correction) * unit * units_N[record + i]
                    if similarity > np.float32(0.0) and similarity >= least:
                        n = offer(record + i, similarity, n, ids_T, similarities_T)
                        if n == ids_T.shape[0]:
                            least = similarities_T[0]
                record += n_rows


@numba.njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _cast(ids_T, similarities_T, label_indptr, label_ids, votes_L, touched, n_touched, seen_L):
    """Add up squared similarities by label, in the order of the records' numbers."""
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
def _likeness(label, own_indptr, own_records, own_scales, sums):
    """Inner product with the mean of the label's own records, scaled to length 1."""
    total = np.float32(0.0)
    for j in range(own_indptr[label], own_indptr[label + 1]):
        total += sums[own_records[j]]
    return total * own_scales[label]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def count_votes(
    start, stop, ids_BK, indptr, indices, values, term_indptr, term_records, term_weights,
    weight_unit, vector_ids_BT, vector_similarities_BT, label_indptr, label_ids, own_indptr,
    own_records, own_scales, most_labels, allowed_L, n_records, n_labels, out_ids_BS, votes_BKS3,
):  # fmt: skip
    """Votes for the shortlisted labels of rows start..stop, and the labels that votes add.

    ``out_ids_BS`` must be -1: it gets the labels of the nearest records that are not in
    ``ids_BK``, most votes first, of equal ones the smaller id first. ``votes_BKS3`` (float32, 0)
    gets the votes by words and by vectors of the K shortlisted and the S added labels, and their
    likeness: the scaled sum of the inner products with the records that the label owns.
    ``allowed_L``: bool, which labels may be added; empty: all.
    """
    sums, near = np.zeros(n_records, np.float32), np.empty(n_records, np.int32)
    n_kept = vector_ids_BT.shape[1]
    word_ids, word_similarities = np.empty(n_kept, np.int32), np.empty(n_kept, np.float32)
    words_L, vectors_L = np.zeros(n_labels, np.float32), np.zeros(n_labels, np.float32)
    seen_L = np.zeros(n_labels, np.bool_)
    room = min(n_labels, most_labels * 2 * n_kept)
    touched = np.empty(room, np.int32)
    added = np.empty(out_ids_BS.shape[1], np.int32)
    totals = np.empty(out_ids_BS.shape[1], np.float32)
    for row in range(start, stop):
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
        width = ids_BK.shape[1]
        for k in range(width):
            label = ids_BK[row, k]
            if label >= 0:
                votes_BKS3[row, k, 0], votes_BKS3[row, k, 1] = words_L[label], vectors_L[label]
                votes_BKS3[row, k, 2] = _likeness(label, own_indptr, own_records, own_scales, sums)
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
            out_ids_BS[row, place] = label
            votes_BKS3[row, width + place, 0] = words_L[label]
            votes_BKS3[row, width + place, 1] = vectors_L[label]
            votes_BKS3[row, width + place, 2] = _likeness(
                label, own_indptr, own_records, own_scales, sums
            )
        for j in range(n_touched):
            label = touched[j]
            words_L[label], vectors_L[label] = np.float32(0.0), np.float32(0.0)
            seen_L[label] = False
        for j in range(n_near):
            sums[near[j]] = np.float32(0.0)


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
