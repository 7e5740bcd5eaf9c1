"""Evidence and scores of shortlisted labels, row by row (Numba).

Legend: B points, K shortlisted labels, F columns of evidence, V terms, L labels.
"""

from __future__ import annotations

import numba
import numpy as np

from learned_index.kernels.machine.intrinsics import prefetch, trailing_zeros

AT_ONCE = 3
"""Questions of a tree that are asked in one pass over the rows."""
MOST_LEAVES = 32
"""Of a tree: a bit each."""
ALL_LEAVES = (1 << MOST_LEAVES) - 1
LOG_FREQUENCY = 6
"""Column of the evidence: 0 for a label without training points."""
P_FLOOR = 1e-8
"""What p counts as at least: also the p of labels that nearest records alone suggest."""


@numba.njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _ask_for_names(ids_K, counts_L, name_indptr, name_terms_, name_weights):
    """Fetch what is known of shortlisted labels, which lies anywhere in memory, all at once."""
    counts_at, offsets_at = np.uintp(counts_L.ctypes.data), np.uintp(name_indptr.ctypes.data)
    terms_at, weights_at = np.uintp(name_terms_.ctypes.data), np.uintp(name_weights.ctypes.data)
    for label in ids_K:
        prefetch(counts_at + np.uintp(8) * np.uintp(max(label, 0)))
        prefetch(offsets_at + np.uintp(8) * np.uintp(max(label, 0)))
    for label in ids_K:
        begin = np.uintp(name_indptr[max(label, 0)])
        prefetch(terms_at + np.uintp(4) * begin)
        prefetch(weights_at + np.uintp(4) * begin)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def evidence_rows(
    start, stop, ids_BK, p_BK, q_BK, word_votes_BK, vector_votes_BK, likeness_BK, alike_BK,
    indptr, indices, present_V, counts_L, name_indptr, name_terms_, name_weights, name_scores,
    out_BKF,
):  # fmt: skip
    """Evidence of rows start..stop into ``out_BKF``, which must be 0; see ``evidence.EVIDENCE``.

    ``present_V``: bool, all False, and so again in the end.
    """
    five, log_floor = np.float32(5.0), np.log(np.float32(P_FLOOR))
    for row in range(start, stop):
        _ask_for_names(ids_BK[row], counts_L, name_indptr, name_terms_, name_weights)
        for t in range(indptr[row], indptr[row + 1]):
            present_V[indices[t]] = True
        best_p, best_q, best_like = np.float32(P_FLOOR), np.float32(-np.inf), np.float32(0.0)
        best_alike = np.float32(0.0)
        for k in range(ids_BK.shape[1]):
            if ids_BK[row, k] >= 0:
                best_p, best_q = max(best_p, p_BK[row, k]), max(best_q, q_BK[row, k])
                best_like = max(best_like, likeness_BK[row, k])
                best_alike = max(best_alike, alike_BK[row, k])
        log_best, place, best_name = np.log(best_p), 0, np.float32(0.0)
        for k in range(ids_BK.shape[1]):
            label = ids_BK[row, k]
            if label < 0:
                continue
            found = p_BK[row, k] > np.float32(0.0)
            # What most labels have, no votes and no p, needs no logarithm of its own.
            log_p = np.log(max(p_BK[row, k], np.float32(P_FLOOR))) if found else log_floor
            q = q_BK[row, k]
            # log sigmoid(2q) without overflow on either side.
            log_s = min(np.float32(2.0) * q, np.float32(0.0)) - np.log1p(
                np.exp(-abs(np.float32(2.0) * q))
            )
            match, score = np.float32(0.0), np.float32(0.0)
            for t in range(name_indptr[label], name_indptr[label + 1]):
                if present_V[name_terms_[t]]:
                    match += name_weights[t]
                    score += name_scores[t]
            best_name = max(best_name, score)
            out_BKF[row, k, 0] = log_p
            out_BKF[row, k, 1] = log_s
            if word_votes_BK[row, k] != np.float32(0.0):
                out_BKF[row, k, 2] = np.log1p(five * word_votes_BK[row, k])
            if vector_votes_BK[row, k] != np.float32(0.0):
                out_BKF[row, k, 3] = np.log1p(five * vector_votes_BK[row, k])
            out_BKF[row, k, 4] = match
            out_BKF[row, k, 5] = likeness_BK[row, k]
            out_BKF[row, k, 6] = np.log1p(np.float32(counts_L[label]))
            out_BKF[row, k, 7] = np.float32(found)
            out_BKF[row, k, 8] = np.float32(place)
            out_BKF[row, k, 9] = np.exp(log_p + log_s)
            out_BKF[row, k, 10] = log_p - log_best
            out_BKF[row, k, 11] = q - best_q
            out_BKF[row, k, 12] = likeness_BK[row, k] - best_like
            out_BKF[row, k, 13] = score
            out_BKF[row, k, 15] = alike_BK[row, k]
            out_BKF[row, k, 16] = alike_BK[row, k] - best_alike
            if found:
                place += 1
        for k in range(ids_BK.shape[1]):
            if ids_BK[row, k] >= 0:
                out_BKF[row, k, 14] = out_BKF[row, k, 13] - best_name
        for t in range(indptr[row], indptr[row + 1]):
            present_V[indices[t]] = False


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _column_sums(
    columns_Fn, offsets, feature, threshold, kept, leaves, value, bias, masks_n, out_n
):
    """See :func:`tree_sums`; a column a row, and ``masks_n`` (uint32) is scratch."""
    n = columns_Fn.shape[1]
    everything = np.uint32(ALL_LEAVES)
    for i in range(n):
        out_n[i] = bias[0]
    for tree in range(leaves.shape[0]):
        for i in range(n):
            masks_n[i] = everything
        # AT_ONCE questions a pass: most of its time goes into fetching the masks. What does not
        # change in it is fetched before, else the masks that it writes could be what it reads.
        for q in range(offsets[tree], offsets[tree + 1], AT_ONCE):
            column_1, least_1, kept_1 = columns_Fn[feature[q]], threshold[q], kept[q]
            column_2, least_2, kept_2 = columns_Fn[feature[q + 1]], threshold[q + 1], kept[q + 1]
            column_3, least_3, kept_3 = columns_Fn[feature[q + 2]], threshold[q + 2], kept[q + 2]
            for i in range(n):
                masks_n[i] = (
                    masks_n[i]
                    & (kept_1 if column_1[i] > least_1 else everything)
                    & (kept_2 if column_2[i] > least_2 else everything)
                    & (kept_3 if column_3[i] > least_3 else everything)
                )
        first = np.uintp(leaves[tree])
        for i in range(n):
            # Unsigned numbers index an array without a test for places from its end.
            out_n[i] += value[first + np.uintp(trailing_zeros(np.uint64(masks_n[i])))]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def tree_sums(features_nF, offsets, feature, threshold, kept, leaves, value, bias, out_n):
    """b + sum of the leaves' values of each row, float64, trees added in their order.

    The trees as :class:`~learned_index.ranking.boosting.Masks`; features are numbers, no NaN.
    """
    n, n_columns = features_nF.shape
    columns_Fn = np.empty((n_columns, n), np.float32)
    for i in range(n):
        for f in range(n_columns):
            columns_Fn[f, i] = features_nF[i, f]
    masks_n = np.empty(n, np.uint32)
    _column_sums(columns_Fn, offsets, feature, threshold, kept, leaves, value, bias, masks_n, out_n)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def best_first(ids_BK, scores_BK, out_ids_BN, out_scores_BN):
    """The N best labels of each row, best first; of equal ones the first stays first.

    Returns whether each row had so many (-1 is none); where one had not, the rows end there.
    """
    n = out_ids_BN.shape[1]
    for row in range(ids_BK.shape[0]):
        ids, scores, found = out_ids_BN[row], out_scores_BN[row], 0
        for k in range(ids_BK.shape[1]):
            score = scores_BK[row, k]
            if ids_BK[row, k] < 0 or (found == n and not score > scores[n - 1]):
                continue
            place = min(found, n - 1)
            while place > 0 and score > scores[place - 1]:
                ids[place], scores[place] = ids[place - 1], scores[place - 1]
                place -= 1
            ids[place], scores[place] = ids_BK[row, k], score
            found = min(found + 1, n)
        if found < n:
            return False
    return True


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _largest(sums_K, inside_K, places):
    """Places of the largest sums, no pads, largest first; of equal ones the first is the better.

    Returns how many there are, at most as many as ``places`` has room for.
    """
    found, room = 0, places.shape[0]
    for k in range(sums_K.shape[0]):
        if not inside_K[k] or (found == room and not sums_K[k] > sums_K[places[room - 1]]):
            continue
        place = min(found, room - 1)
        while place > 0 and sums_K[k] > sums_K[places[place - 1]]:
            places[place] = places[place - 1]
            place -= 1
        places[place] = k
        found = min(found + 1, room)
    return found


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _sigmoid(x):
    if x >= 0.0:
        return 1.0 / (1.0 + np.exp(-x))
    return np.exp(x) / (1.0 + np.exp(x))


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _log_odds(evidence_F, weights, logistic):
    """Those of the log-linear model."""
    total = 0.0
    for f in range(weights.shape[0]):
        total += weights[f] * np.float64(evidence_F[f])
    return logistic[0] * total + logistic[1]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def score_rows(
    start, stop, evidence_BKF, inside_BK, weights, logistic, n_boosted, linear_share,
    sieve_offsets, sieve_feature, sieve_threshold, sieve_kept, sieve_leaves, sieve_value,
    sieve_bias, offsets, feature, threshold, kept, leaves, value, bias, out_BK,
):  # fmt: skip
    """Scores of rows start..stop in 0 to 1 into ``out_BK``, which must be 0 and stays so at pads.

    Without trees all labels have the log-linear model's. With them the sieve's few small trees
    see all labels, and the ``n_boosted`` best of these get the trees' probability, whose log-odds
    are to ``linear_share`` the log-linear model's; the others follow in the order of the sieve.
    The log-linear model cannot tell a label that has no training points, whose p and votes are 0
    for that reason, from one against which they speak: there the trees are asked alone.
    """
    width, n_columns = evidence_BKF.shape[1], evidence_BKF.shape[2]
    first, best = np.empty(width, np.float64), np.empty(n_boosted, np.int64)
    rows_nF = np.empty((n_boosted, n_columns), np.float32)
    sums = np.empty(n_boosted, np.float64)
    for row in range(start, stop):
        if leaves.shape[0] == 0:
            for k in range(width):
                if inside_BK[row, k]:
                    odds = _log_odds(evidence_BKF[row, k], weights, logistic)
                    out_BK[row, k] = np.float32(_sigmoid(odds))
            continue
        tree_sums(
            evidence_BKF[row], sieve_offsets, sieve_feature, sieve_threshold, sieve_kept,
            sieve_leaves, sieve_value, sieve_bias, first,
        )  # fmt: skip
        n = _largest(first, inside_BK[row], best)
        if n == 0:
            continue
        for place in range(n):
            for f in range(n_columns):
                rows_nF[place, f] = evidence_BKF[row, best[place], f]
        tree_sums(rows_nF[:n], offsets, feature, threshold, kept, leaves, value, bias, sums[:n])
        least = np.float32(1.0)
        for place in range(n):
            if linear_share > 0.0 and rows_nF[place, LOG_FREQUENCY] > np.float32(0.0):
                odds = _log_odds(rows_nF[place], weights, logistic)
                sums[place] += linear_share * (odds - sums[place])
            sums[place] = np.float32(_sigmoid(sums[place]))
            least = min(least, np.float32(sums[place]))
        for k in range(width):
            if inside_BK[row, k]:
                out_BK[row, k] = np.float32(_sigmoid(first[k])) * least
        for place in range(n):
            out_BK[row, best[place]] = np.float32(sums[place])
