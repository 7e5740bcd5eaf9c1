"""Selection: the K largest of n non-negative floats in O(n), and the k best in order."""

from __future__ import annotations

import numba
import numpy as np

_BINS = 2048


@numba.njit(nogil=True, cache=True)
def kth_largest_bits(values, n, k, histogram):
    """Bit pattern of the k-th largest of ``values[:n]`` by a three-pass radix select.

    For floats >= 0 the order of the values is the order of their bits read as integers. Ties cost
    nothing, which matters here: with a fixed partition all labels of a cluster have equal scores.

    Args:
        values: int32 view of float32 values, all >= 0.
        n: How many of them count; n >= k >= 1.
        k: Rank from the top.
        histogram: int32 scratch of 2048.

    Returns:
        (bits, n_above): the k-th largest as int32 bits, how many values are strictly larger.
    """
    prefix = np.int32(0)
    mask = np.int32(0)
    rank = k
    for step in range(3):
        shift = 20 - 10 * step if step < 2 else 0
        width = 11 if step == 0 else 10
        n_bins = 1 << width
        for i in range(n_bins):
            histogram[i] = 0
        for i in range(n):
            value = values[i]
            if (value & mask) == prefix:
                histogram[(value >> shift) & (n_bins - 1)] += 1
        digit = n_bins - 1
        while histogram[digit] < rank:
            rank -= histogram[digit]
            digit -= 1
        prefix |= np.int32(digit << shift)
        mask |= np.int32((n_bins - 1) << shift)
    return prefix, k - rank


@numba.njit(nogil=True, cache=True)
def keep_k_largest(values, items, n, k, histogram):
    """Move the k largest of ``values[:n]`` and their items to the front, in their present order.

    Among values equal to the k-th largest the first ones stay.

    Args:
        values: float32, all >= 0.
        items: What belongs to each value; moved along.
        n: How many of them count.
        k: How many to keep.
        histogram: int32 scratch of 2048.

    Returns:
        How many are kept, min(n, k).
    """
    if n <= k:
        return n
    if k <= 0:
        return 0
    bits = values.view(np.int32)
    threshold, n_above = kth_largest_bits(bits, n, k, histogram)
    ties_left = k - n_above
    kept = 0
    for i in range(n):
        take = bits[i] > threshold
        if bits[i] == threshold and ties_left > 0:
            ties_left -= 1
            take = True
        if take:
            values[kept] = values[i]
            items[kept] = items[i]
            kept += 1
    return kept


@numba.njit(nogil=True, cache=True)
def _precedes(score_a, id_a, score_b, id_b):
    """Order of results: higher score first, then the smaller id."""
    return score_a > score_b or (score_a == score_b and id_a < id_b)


@numba.njit(nogil=True, cache=True)
def _sift_down(scores, ids, start, n):
    """Restore a heap whose root is the worst result."""
    root = start
    while True:
        child = 2 * root + 1
        if child >= n:
            return
        if child + 1 < n and _precedes(
            scores[child], ids[child], scores[child + 1], ids[child + 1]
        ):
            child += 1
        if not _precedes(scores[root], ids[root], scores[child], ids[child]):
            return
        scores[root], scores[child] = scores[child], scores[root]
        ids[root], ids[child] = ids[child], ids[root]
        root = child


@numba.njit(nogil=True, cache=True)
def top_k(values, labels, n, k, out_ids, out_scores):
    """Best k of n (value, label), best first; the outputs double as a bounded heap.

    Args:
        values: Scores, any order.
        labels: Their ids; of equal scores the smaller id comes first.
        n: How many of them count.
        k: How many to find; k <= the length of the outputs.
        out_ids: Written; -1 where n < k.
        out_scores: Written; -inf where n < k.
    """
    size = 0
    for i in range(n):
        if size < k:
            out_scores[size] = values[i]
            out_ids[size] = labels[i]
            size += 1
            if size == k:
                for start in range(k // 2 - 1, -1, -1):
                    _sift_down(out_scores, out_ids, start, k)
        elif _precedes(values[i], labels[i], out_scores[0], out_ids[0]):
            out_scores[0] = values[i]
            out_ids[0] = labels[i]
            _sift_down(out_scores, out_ids, 0, k)
    if size < k:
        for start in range(size // 2 - 1, -1, -1):
            _sift_down(out_scores, out_ids, start, size)
    for last in range(size - 1, 0, -1):
        out_scores[0], out_scores[last] = out_scores[last], out_scores[0]
        out_ids[0], out_ids[last] = out_ids[last], out_ids[0]
        _sift_down(out_scores, out_ids, 0, last)
    for i in range(size, k):
        out_scores[i] = -np.inf
        out_ids[i] = -1
