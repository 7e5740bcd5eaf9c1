"""Selection in Numba: the k largest of some hundred or thousand scores, in loops that vectorise.

For floats >= 0 the order of the values is the order of their bits read as integers, so the k-th
largest is found by bisection over the bits (:func:`kth_bits`): about thirty counts of "how many are
at least this", each a few dozen vector instructions. On a thousand values that is several times
faster than a radix select or a heap, whose branches cannot be predicted.

What is done with the threshold differs: :func:`select_largest` writes places, for callers with
several arrays beside the values; :func:`keep_k_largest` moves values and items, for those with one;
:func:`rank_best` puts the few results of an engine in order; :func:`largest_of_rows` is called from
Python, and takes values of either sign.

Two have no threshold. :func:`best_rows`: where a few dozen are kept nearly every value fails its
first comparison, and what is left is in order already. :func:`top_k`, a heap, gives what
:func:`rank_best` gives: that one compares all pairs of values that are equal at the edge, of which
an index has any number (softmax and sigmoid reach 0) and an engine next to none (its paths do not).

The same as :mod:`.plain` and :mod:`.cuda`; compared in ``tests/kernels/test_select.py`` and, with
the former, by every search in ``tests/index/test_learned_graph_index.py``.
"""

from __future__ import annotations

import numba
import numpy as np

from learned_index.kernels.machine.intrinsics import bits_of_float
from learned_index.kernels.machine.parallel import run_queries
from learned_index.types import Float32Array, Int64Array

_COUNTED = 1024
"""Up to so many results are ranked by counting; more are sorted."""
_INSERTED = 64
"""Up to so wide a beam is kept sorted by insertion; a wider one is a heap."""


@numba.njit(nogil=True, cache=True)
def _count_at_least(bits, n, threshold):
    # Sums of int32 are int64 to Numba, and of these half as many fit into a vector.
    limit, count = np.int32(threshold), np.int32(0)
    for i in range(n):
        count = np.int32(count + np.int32(bits[i] >= limit))
    return count


@numba.njit(nogil=True, cache=True)
def kth_bits(bits, n, k):
    """A threshold that the k largest reach, 1 <= k <= n, and how many are surely above it.

    Where no tie forbids it exactly k values are at least the threshold; else it is the bits of the
    k-th largest, and the second number how many are larger. ``bits`` are int32 in the order of the
    values.
    """
    # From the least to the largest value and not from 0 to infinity: scores of one query lie close
    # together, and each bit that they share is a count less.
    low, high = np.int32(0x7FFFFFFF), np.int32(-0x80000000)
    for i in range(n):
        low = min(low, bits[i])
        high = max(high, bits[i])
    above = np.int32(0)
    high += np.int32(1)  # at least k are >= low, fewer than k are >= high
    while high - low > 1:
        middle = low + ((high - low) >> np.int32(1))
        count = _count_at_least(bits, n, middle)
        if count == k:
            return middle, above
        if count > k:
            low = middle
        else:
            high = middle
            above = count
    return low, above


@numba.njit(nogil=True, cache=True)
def select_largest(values, n, k, chosen):
    """Places of the k largest of n floats >= 0, in ascending order of place.

    Args:
        values: float32, all >= 0 and below infinity.
        n: How many of them count.
        k: How many to choose; of values equal to the k-th largest the first ones.
        chosen: int32, receives the places; at least min(n, k) + 1 long if n > k.

    Returns:
        How many were chosen, min(n, k).
    """
    if n <= k:
        for i in range(n):
            chosen[i] = i
        return n
    _write_largest(values.view(np.int32), n, k, chosen)
    return k


@numba.njit(nogil=True, cache=True)
def _write_largest(bits, n, k, chosen):
    """Places of the k largest of n > k bits, ascending; of equal ones the first."""
    threshold, above = kth_bits(bits, n, k)
    kept = np.int64(0)
    if _count_at_least(bits, n, threshold) == k:
        for i in range(n):
            chosen[min(kept, k)] = i
            kept += np.int64(bits[i] >= threshold)
        return
    ties = k - above
    for i in range(n):
        if bits[i] > threshold or (bits[i] == threshold and ties > 0):
            ties -= np.int64(bits[i] == threshold)
            chosen[kept] = i
            kept += 1


@numba.njit(nogil=True, cache=True)
def _ordered(values, keys):
    """Whole numbers in the order of floats of either sign."""
    for i in range(len(values)):
        bits = bits_of_float(values[i] + np.float32(0.0))  # -0 becomes 0
        keys[i] = bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))


@numba.njit(nogil=True, cache=True)
def _largest_places(start, stop, values_MN, out_MT):
    n, k = values_MN.shape[1], out_MT.shape[1]
    keys, chosen = np.empty(n, np.int32), np.empty(k + 1, np.int32)
    for row in range(start, stop):
        _ordered(values_MN[row], keys)
        _write_largest(keys, n, k, chosen)
        out_MT[row] = chosen[:k]


def largest_of_rows(values_MN: Float32Array, count: int) -> Int64Array:
    """Columns of the ``count`` largest values of each row, ascending; of equal values the first.

    Args:
        values_MN: float32, M x N, none of them NaN.
        count: T, at most N.

    Returns:
        int64, M x T.
    """
    n_rows, n_columns = values_MN.shape
    if count == n_columns:
        return np.tile(np.arange(n_columns), (n_rows, 1))
    out = np.empty((n_rows, count), np.int64)
    run_queries(n_rows, lambda start, stop: _largest_places(start, stop, values_MN, out))
    return out


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
        # Every value is written, and the next written over it unless it is kept: whether a value
        # is kept cannot be predicted, and a wrong guess costs more than a store.
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


@numba.njit(nogil=True, cache=True)
def best_rows(scores, n, width, beam, beam_scores):
    """The best ``width`` of n scores, best first, ties to the smaller place; returns how many.

    Args:
        scores: float32.
        n: How many of them count.
        width: How many to find.
        beam: Written: their places.
        beam_scores: Written: the scores.
    """
    width = min(width, n)
    if width > _INSERTED:
        top_k(scores, np.arange(n), n, width, beam, beam_scores)
        return width
    size = 0
    for c in range(n):
        score = scores[c]
        if size == width:
            if not score > beam_scores[size - 1]:
                continue
            place = size - 1
        else:
            place = size
            size += 1
        while place > 0 and score > beam_scores[place - 1]:
            beam_scores[place] = beam_scores[place - 1]
            beam[place] = beam[place - 1]
            place -= 1
        beam_scores[place] = score
        beam[place] = c
    return width


@numba.njit(nogil=True, cache=True)
def _ranks_by_counting(bits, order, n, ranks):
    """``ranks[i]``: how many of ``bits[order[:n]]`` are larger than the i-th of them."""
    total = np.int64(0)
    for i in range(n):
        value = bits[i]
        rank = np.int32(0)
        for j in range(n):
            rank = np.int32(rank + np.int32(bits[j] > value))
        ranks[i] = rank
        total += rank
    return total


@numba.njit(nogil=True, cache=True)
def rank_best(values, ids, n, out_ids, out_scores, order, ranks):
    """Write the best ``len(out_ids)`` of n results, best first, equal scores by ascending id.

    Args:
        values: float32, all >= 0 and below infinity; overwritten.
        ids: int32, all different; overwritten.
        n: How many of them count.
        out_ids: int64; -1 where n is smaller.
        out_scores: float32; -inf there.
        order: int32 scratch of n + 1.
        ranks: int32 scratch of n.
    """
    k = out_ids.shape[0]
    for i in range(n, k):
        out_ids[i] = -1
        out_scores[i] = -np.inf
    if n > k:
        n = _keep_best(values, ids, n, k, order)
    if n > _COUNTED:
        _rank_by_sorting(values, ids, n, out_ids, out_scores)
        return
    bits = values.view(np.int32)
    if _ranks_by_counting(bits, order, n, ranks) != n * (n - 1) // 2:  # some are equal
        for i in range(n):
            for j in range(n):
                ranks[i] += np.int32(bits[j] == bits[i] and ids[j] < ids[i])
    for i in range(n):
        out_ids[ranks[i]] = ids[i]
        out_scores[ranks[i]] = values[i]


@numba.njit(nogil=True, cache=True)
def _keep_best(values, ids, n, k, order):
    """Move the k best to the front; of values equal to the k-th largest the smaller ids."""
    bits = values.view(np.int32)
    threshold, above = kth_bits(bits, n, k)
    if _count_at_least(bits, n, threshold) > k:
        # Ties at the edge: an id is taken if fewer than the places left have smaller ids.
        ties = k - above
        kept = np.int64(0)
        for i in range(n):
            order[i] = 0
            if bits[i] == threshold:
                smaller = np.int64(0)
                for j in range(n):
                    smaller += np.int64(bits[j] == threshold and ids[j] < ids[i])
                order[i] = np.int32(smaller < ties)
            elif bits[i] > threshold:
                order[i] = 1
        for i in range(n):
            if order[i]:
                values[kept] = values[i]
                ids[kept] = ids[i]
                kept += 1
        return k
    kept = np.int64(0)
    for i in range(n):
        take = bits[i] >= threshold
        values[kept] = values[i]
        ids[kept] = ids[i]
        kept += np.int64(take)
        if kept == k:
            break
    return k


@numba.njit(nogil=True, cache=True)
def _rank_by_sorting(values, ids, n, out_ids, out_scores):
    bits = values.view(np.int32)
    # One sort of whole numbers: the bits of the score, turned round so that the best come first,
    # above the id.
    keys = np.empty(n, np.uint64)
    places = np.empty(n, np.float32)
    for i in range(n):
        keys[i] = (np.uint64(0x7FFFFFFF - bits[i]) << np.uint64(32)) | np.uint64(ids[i])
    order = np.argsort(keys)
    for r in range(n):
        places[r] = values[order[r]]
        out_ids[r] = ids[order[r]]
        out_scores[r] = places[r]
