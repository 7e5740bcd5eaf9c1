"""Scores of names by the terms of texts: of all, through inverted lists, or of some (Numba).

Legend: B texts, V terms, L labels, K shortlisted labels, S labels that names add.
"""

from __future__ import annotations

import numba
import numpy as np

from learned_index.kernels.machine.intrinsics import prefetch
from learned_index.ranking.nearest import offer


@numba.njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _ask_for_lists(terms, term_indptr, term_labels, term_weights):
    """Fetch the beginning of the lists of a text's terms, which lie anywhere in memory, at once."""
    offsets_at = np.uintp(term_indptr.ctypes.data)
    labels_at, weights_at = np.uintp(term_labels.ctypes.data), np.uintp(term_weights.ctypes.data)
    for term in terms:
        prefetch(offsets_at + np.uintp(8) * np.uintp(term))
    for term in terms:
        begin = np.uintp(4) * np.uintp(term_indptr[term])
        prefetch(labels_at + begin)
        prefetch(weights_at + begin)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def best_names(
    start, stop, ids_BK, indptr, indices, values, term_indptr, term_labels, term_weights,
    allowed_L, sums, touched, out_BS, scores_BR,
):  # fmt: skip
    """Labels of the best names for rows start..stop of a CSR matrix, but those in ``ids_BK``.

    The scores of these go to ``scores_BR``, R = K + S, which must be 0, and behind them those of
    the labels in ``out_BS``, which must be -1. ``values`` are what the terms of the texts count;
    empty: 1 each. ``allowed_L`` may be empty: all. Scratch for each label: ``sums`` (float32),
    zeros and so again in the end, and ``touched`` (int32).
    """
    once = values.shape[0] == 0
    size, width = out_BS.shape[1], ids_BK.shape[1]
    best, totals = np.empty(size, np.int32), np.empty(size, np.float32)
    for row in range(start, stop):
        n_touched = 0
        _ask_for_lists(
            indices[indptr[row] : indptr[row + 1]], term_indptr, term_labels, term_weights
        )
        for t in range(indptr[row], indptr[row + 1]):
            term, value = indices[t], np.float32(1.0) if once else values[t]
            for j in range(term_indptr[term], term_indptr[term + 1]):
                label, part = term_labels[j], value * term_weights[j]
                if not part > np.float32(0.0):
                    continue  # a sum that stays 0 would be touched twice
                if sums[label] == np.float32(0.0):
                    touched[n_touched] = label
                    n_touched += 1
                sums[label] += part
        for k in range(ids_BK.shape[1]):
            if ids_BK[row, k] >= 0:
                scores_BR[row, k] = sums[ids_BK[row, k]]
        for k in range(ids_BK.shape[1]):
            if ids_BK[row, k] >= 0:
                sums[ids_BK[row, k]] = np.float32(0.0)  # shortlisted: not to be added
        n, least = 0, np.float32(0.0)
        for j in range(n_touched):
            label = touched[j]
            better = sums[label] > np.float32(0.0) and sums[label] >= least
            if better and (allowed_L.shape[0] == 0 or allowed_L[label]):
                n = offer(label, sums[label], n, best, totals)
                if n == size:
                    least = totals[0]
        # Sorted by id first, and then stably by score.
        by_id = np.argsort(best[:n])
        order = by_id[np.argsort(-totals[:n][by_id], kind="mergesort")]
        for place in range(n):
            out_BS[row, place] = best[order[place]]
            scores_BR[row, width + place] = totals[order[place]]
        for j in range(n_touched):
            sums[touched[j]] = np.float32(0.0)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def score_names(
    start, stop, first, ids_BR, indptr, indices, values, label_indptr, terms, weights, value_V,
    scores_BR,
):  # fmt: skip
    """What :func:`best_names` says of the labels in columns from ``first`` on, label by label.

    Terms of a label ascend as those of a text do, so the sums are the same to the last bit.
    ``value_V``: float32, zeros and so again in the end.
    """
    for row in range(start, stop):
        for t in range(indptr[row], indptr[row + 1]):
            value_V[indices[t]] = values[t]
        for k in range(first, ids_BR.shape[1]):
            label, total = ids_BR[row, k], np.float32(0.0)
            if label >= 0:
                for t in range(label_indptr[label], label_indptr[label + 1]):
                    part = value_V[terms[t]] * weights[t]
                    if part > np.float32(0.0):
                        total += part
            scores_BR[row, k] = total
        for t in range(indptr[row], indptr[row + 1]):
            value_V[indices[t]] = np.float32(0.0)
