"""Selection: the K largest of n non-negative floats in place, and the k best in order."""

from __future__ import annotations

import numba
import numpy as np

from learned_index.kernels.engine_select import kth_bits


@numba.njit(nogil=True, cache=True)
def keep_k_largest(values, items, n, k):
    """Move the k largest of ``values[:n]`` and their items to the front, in their present order.

    Among values equal to the k-th largest the first ones stay.

    Args:
        values: float32, all >= 0.
        items: What belongs to each value; moved along.
        n: How many of them count.
        k: How many to keep.

    Returns:
        How many are kept, min(n, k).
    """
    if n <= k:
        return n
    if k <= 0:
        return 0
    bits = values.view(np.int32)
    threshold, above = kth_bits(bits, n, k)
    ties = k - above
    kept = np.uint64(0)
    for i in range(np.uint64(n)):
        value, item = values[i], items[i]
        equal = np.int64(bits[i] == threshold)
        take = np.uint64(bits[i] > threshold) | np.uint64(equal & np.int64(ties > 0))
        ties -= equal
        values[kept], items[kept] = value, item
        kept += take
    return np.int64(kept)


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
