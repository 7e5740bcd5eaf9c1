"""Evidence and scores of shortlisted labels, row by row (Numba).

Legend: B points, K shortlisted labels, F columns of evidence, V terms, L labels.
"""

from __future__ import annotations

import numba
import numpy as np

P_FLOOR = 1e-8
"""What p counts as at least: also the p of labels that nearest records alone suggest."""


@numba.njit(nogil=True, cache=True, error_model="numpy")
def evidence_rows(
    start, stop, ids_BK, p_BK, q_BK, word_votes_BK, vector_votes_BK, likeness_BK, indptr, indices,
    n_terms, counts_L, name_indptr, name_terms_, name_weights, name_scores, out_BKF,
):  # fmt: skip
    """Evidence of rows start..stop into ``out_BKF``, which must be 0; see ``evidence.EVIDENCE``."""
    present_V = np.zeros(n_terms, np.bool_)
    five = np.float32(5.0)
    for row in range(start, stop):
        for t in range(indptr[row], indptr[row + 1]):
            present_V[indices[t]] = True
        best_p, best_q, best_like = np.float32(P_FLOOR), np.float32(-np.inf), np.float32(0.0)
        for k in range(ids_BK.shape[1]):
            if ids_BK[row, k] >= 0:
                best_p, best_q = max(best_p, p_BK[row, k]), max(best_q, q_BK[row, k])
                best_like = max(best_like, likeness_BK[row, k])
        place, best_name = 0, np.float32(0.0)
        for k in range(ids_BK.shape[1]):
            label = ids_BK[row, k]
            if label < 0:
                continue
            found = p_BK[row, k] > np.float32(0.0)
            log_p = np.log(max(p_BK[row, k], np.float32(P_FLOOR)))
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
            out_BKF[row, k, 2] = np.log1p(five * word_votes_BK[row, k])
            out_BKF[row, k, 3] = np.log1p(five * vector_votes_BK[row, k])
            out_BKF[row, k, 4] = match
            out_BKF[row, k, 5] = likeness_BK[row, k]
            out_BKF[row, k, 6] = np.log1p(np.float32(counts_L[label]))
            out_BKF[row, k, 7] = np.float32(found)
            out_BKF[row, k, 8] = np.float32(place)
            out_BKF[row, k, 9] = np.exp(log_p + log_s)
            out_BKF[row, k, 10] = log_p - np.log(best_p)
            out_BKF[row, k, 11] = q - best_q
            out_BKF[row, k, 12] = likeness_BK[row, k] - best_like
            out_BKF[row, k, 13] = score
            if found:
                place += 1
        for k in range(ids_BK.shape[1]):
            if ids_BK[row, k] >= 0:
                out_BKF[row, k, 14] = out_BKF[row, k, 13] - best_name
        for t in range(indptr[row], indptr[row + 1]):
            present_V[indices[t]] = False


@numba.njit(nogil=True, cache=True, error_model="numpy")
def tree_sums(features_nF, depths, feature, threshold, child, value, bias, out_n):
    """b + sum of the leaves' values of each row, float64, trees added in their order.

    The trees as :class:`~learned_index.ranking.boosting.Slots`; features are numbers, no NaN.
    """
    n = features_nF.shape[0]
    slots = np.empty(n, np.uint32)
    for i in range(n):
        out_n[i] = bias[0]
    for tree in range(depths.shape[0]):
        for i in range(n):
            slots[i] = tree
        for _ in range(depths[tree]):
            for i in range(n):
                # Unsigned numbers index an array without a test for places from its end.
                slot = np.uintp(slots[i])
                value_here = features_nF[np.uintp(i), np.uintp(feature[slot])]
                slots[i] = np.uint32(child[slot]) + np.uint32(value_here > threshold[slot])
        for i in range(n):
            out_n[i] += value[np.uintp(slots[i])]


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _sigmoid(x):
    if x >= 0.0:
        return 1.0 / (1.0 + np.exp(-x))
    return np.exp(x) / (1.0 + np.exp(x))


@numba.njit(nogil=True, cache=True, error_model="numpy")
def score_rows(
    start, stop, evidence_BKF, inside_BK, weights, logistic, n_boosted,
    sieve_depths, sieve_feature, sieve_threshold, sieve_child, sieve_value, sieve_bias,
    depths, feature, threshold, child, value, bias, out_BK,
):  # fmt: skip
    """Scores of rows start..stop in 0 to 1 into ``out_BK``, which must be 0 and stays so at pads.

    Without trees all labels have the log-linear model's. With them the sieve's few small trees
    see all labels, and the ``n_boosted`` best of these get the trees' probability; the others
    follow in the order of the sieve.
    """
    width, n_columns = evidence_BKF.shape[1], evidence_BKF.shape[2]
    first = np.empty(width, np.float64)
    rows_nF = np.empty((n_boosted, n_columns), np.float32)
    sums = np.empty(n_boosted, np.float64)
    for row in range(start, stop):
        if depths.shape[0] == 0:
            for k in range(width):
                if inside_BK[row, k]:
                    total = 0.0
                    for f in range(weights.shape[0]):
                        total += weights[f] * np.float64(evidence_BKF[row, k, f])
                    out_BK[row, k] = np.float32(_sigmoid(logistic[0] * total + logistic[1]))
            continue
        tree_sums(
            evidence_BKF[row], sieve_depths, sieve_feature, sieve_threshold, sieve_child,
            sieve_value, sieve_bias, first,
        )  # fmt: skip
        for k in range(width):
            if inside_BK[row, k]:
                out_BK[row, k] = np.float32(_sigmoid(first[k]))
                first[k] = -first[k]
            else:
                first[k] = np.inf  # pads last, of the negated sums
        order = np.argsort(first, kind="mergesort")
        n = 0
        while n < min(n_boosted, width) and inside_BK[row, order[n]]:
            for f in range(n_columns):
                rows_nF[n, f] = evidence_BKF[row, order[n], f]
            n += 1
        if n == 0:
            continue
        tree_sums(rows_nF[:n], depths, feature, threshold, child, value, bias, sums[:n])
        least = np.float32(1.0)
        for place in range(n):
            out_BK[row, order[place]] = np.float32(_sigmoid(sums[place]))
            least = min(least, out_BK[row, order[place]])
        for place in range(n, width):
            out_BK[row, order[place]] *= least
