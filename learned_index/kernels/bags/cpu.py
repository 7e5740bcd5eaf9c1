"""Bags and their sums in Numba: a text costs its own words, whatever the vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numba
import numpy as np

from learned_index.inputs.matrices import SparseFeatures, SparseRows, kernel_arrays
from learned_index.kernels.machine.dense import add_scaled
from learned_index.kernels.machine.flags import FAST
from learned_index.kernels.machine.intrinsics import prefetch, prefetch_row
from learned_index.kernels.machine.parallel import collect_ranges, run_queries, split_by_weight
from learned_index.system.threads import current_threads
from learned_index.types import Float32Array, Int64Array

_DIGIT_BITS = 9
_DIGITS = 1 << _DIGIT_BITS
_AHEAD = 2
"""Rows of a table that are asked for before they are added."""


class Block(NamedTuple):
    """How distinct words become terms of one block.

    Attributes:
        offsets: int64, U + 1. Where each distinct word's terms begin.
        terms: int64. The terms of the words, from 0.
        weights: float32, one for each term of the block.
    """

    offsets: Int64Array
    terms: Int64Array
    weights: Float32Array


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _in_order(terms, n_terms):
    """The terms in ascending order, by their bits, the lowest first; ``terms`` is overwritten.

    Radix sort (Knuth, "The Art of Computer Programming", 5.2.5): a text's few hundred terms take a
    seventh of the time of comparisons.
    """
    spare, counts, shift = np.empty_like(terms), np.empty(_DIGITS, np.int64), 0
    while n_terms >> shift > 0:
        counts[:] = 0
        for term in terms:
            counts[(term >> shift) & (_DIGITS - 1)] += 1
        total = 0
        for digit in range(_DIGITS):
            count = counts[digit]
            counts[digit] = total
            total += count
        for term in terms:
            digit = (term >> shift) & (_DIGITS - 1)
            spare[counts[digit]] = term
            counts[digit] += 1
        terms, spare = spare, terms
        shift += _DIGIT_BITS
    return terms


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _weigh(terms, weights, sublinear, shift, out, values, n):
    """Append terms, repeats together, as a row of length 1; returns its end."""
    ordered = _in_order(terms, weights.shape[0])
    begin, squares, s = n, 0.0, 0
    while s < ordered.shape[0]:
        term, count = ordered[s], 0
        while s < ordered.shape[0] and ordered[s] == term:
            count += 1
            s += 1
        weight = weights[term]
        if count > 1:
            weight *= np.float32(1.0 + np.log(count)) if sublinear else np.float32(count)
        out[n], values[n] = term + shift, weight
        squares += np.float64(weight) * np.float64(weight)
        n += 1
    if squares > 0.0:
        scale = np.float32(1.0 / np.sqrt(squares))
        for i in range(begin, n):
            values[i] *= scale
    return n


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _one_block(ids, first, last, offsets, terms, weights, sublinear, shift, buffer, out, values, n):
    """Append the terms of one text to ``out`` and ``values`` from ``n`` on; returns their end."""
    found = 0
    for t in range(first, last):
        word = ids[t]
        for s in range(offsets[word], offsets[word + 1]):
            buffer[found] = terms[s]
            found += 1
    return _weigh(buffer[:found], weights, sublinear, shift, out, values, n)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _bag_rows(
    start, stop, ids, offsets, most_words,
    offsets_1, terms_1, weights_1, offsets_2, terms_2, weights_2, counts_B,
):  # fmt: skip
    """Rows start..stop; their lengths go into ``counts_B``, indices and values are returned."""
    total, longest = stop - start, 0
    for row in range(start, stop):
        size = 0
        for t in range(offsets[row], offsets[row + 1]):
            word = ids[t]
            size += offsets_1[word + 1] - offsets_1[word] + offsets_2[word + 1] - offsets_2[word]
        total += size
        longest = max(longest, size)
    buffer = np.empty(longest, np.int64)
    out, values = np.empty(total, np.int32), np.empty(total, np.float32)
    n = 0
    for row in range(start, stop):
        begin = n
        out[n], values[n] = 0, np.float32(1.0)
        n += 1
        first, last = offsets[row], offsets[row + 1]
        cut = min(last, first + most_words)
        n = _one_block(
            ids, first, cut, offsets_1, terms_1, weights_1, False, 1, buffer, out, values, n
        )
        shift = 1 + weights_1.shape[0]
        n = _one_block(
            ids, first, last, offsets_2, terms_2, weights_2, True, shift, buffer, out, values, n
        )
        if n == begin + 1:  # nothing but the constant
            n = begin
        counts_B[row] = n - begin
    return out[:n], values[:n]


def bag_rows(
    ids: Int64Array, offsets: Int64Array, first: Block, second: Block, *, most_words: int
) -> SparseRows:
    """Make the bags of texts.

    Args:
        ids: int64, T. The texts' words as numbers of distinct words, text after text.
        offsets: int64, B + 1. Where each text's words begin.
        first: Terms of the first block; of the first ``most_words`` words of a text only.
        second: Terms of the second one.
        most_words: See there.

    Returns:
        Rows of B x V: column 0 the constant, then the terms of both blocks.
    """
    counts_B = np.zeros(len(offsets) - 1, np.int64)
    return _rows_by_parts(
        lambda start, stop: _bag_rows(
            start, stop, ids, offsets, most_words, *first, *second, counts_B
        ),
        offsets,
        counts_B,
        1 + len(first.weights) + len(second.weights),
    )


@numba.njit(nogil=True, cache=True)
def merge_runs(numbers, known_offsets, known, new_offsets, new):
    """Runs of values by number, and in place of each number -1 the next of the new runs.

    Args:
        numbers: int64, U. Which known run each place has, or -1.
        known_offsets: int64. Where each known run begins, and where the last one ends.
        known: int64.
        new_offsets: int64, likewise of the runs of the places with -1, in their order.
        new: int64.

    Returns:
        int64 U + 1, where the run of each place begins, and int64 values.
    """
    U = len(numbers)
    offsets = np.zeros(U + 1, np.int64)
    offsets_at, known_at = np.uintp(known_offsets.ctypes.data), np.uintp(known.ctypes.data)
    for number in numbers:  # known runs lie anywhere in memory: all are asked for at once
        prefetch(offsets_at + np.uintp(8) * np.uintp(max(number, 0)))
    for number in numbers:
        prefetch(known_at + np.uintp(8) * np.uintp(known_offsets[max(number, 0)]))
    place = 0
    for u in range(U):
        if numbers[u] >= 0:
            size = known_offsets[numbers[u] + 1] - known_offsets[numbers[u]]
        else:
            size = new_offsets[place + 1] - new_offsets[place]
            place += 1
        offsets[u + 1] = offsets[u] + size
    values = np.empty(offsets[U], np.int64)
    place = 0
    for u in range(U):
        if numbers[u] >= 0:
            begin = known_offsets[numbers[u]]
            values[offsets[u] : offsets[u + 1]] = known[begin : begin + offsets[u + 1] - offsets[u]]
        else:
            values[offsets[u] : offsets[u + 1]] = new[new_offsets[place] : new_offsets[place + 1]]
            place += 1
    return offsets, values


@numba.njit(nogil=True, cache=True)
def known_only(numbers):
    """Runs of one value where a number is known and of none where it is -1: offsets, values."""
    offsets = np.zeros(len(numbers) + 1, np.int64)
    values = np.empty(len(numbers), np.int64)
    n = 0
    for u in range(len(numbers)):
        if numbers[u] >= 0:
            values[n] = numbers[u]
            n += 1
        offsets[u + 1] = n
    return offsets, values[:n].copy()


class Pairs(NamedTuple):
    """Pairs of neighbouring words that are terms, by their first word.

    Attributes:
        offsets: int64, W + 1. Where the pairs that begin with each of W words begin.
        second: int64. The second word of each, ascending within a first word.
        terms: int64. The terms.
    """

    offsets: Int64Array
    second: Int64Array
    terms: Int64Array


@numba.njit(nogil=True, cache=True, error_model="numpy", forceinline=True)
def _pair_term(first, second, pair_offsets, pair_second, pair_terms):
    """The term of a pair of words, -1 if it is none."""
    low, high = pair_offsets[first], pair_offsets[first + 1]
    while low < high:
        middle = (low + high) // 2
        if pair_second[middle] < second:
            low = middle + 1
        else:
            high = middle
    if low < pair_offsets[first + 1] and pair_second[low] == second:
        return pair_terms[low]
    return -1


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _term_rows(
    start, stop, ids, offsets, number_U, term_W, pair_offsets, pair_second, pair_terms, weights,
    sublinear, counts_B,
):  # fmt: skip
    """Rows start..stop of :func:`term_rows`; their lengths go into ``counts_B``."""
    total = 2 * (offsets[stop] - offsets[start])  # each word, and the pair that it ends
    buffer = np.empty(total, np.int64)
    pairs_at = np.uintp(pair_second.ctypes.data)
    out, values = np.empty(total, np.int32), np.empty(total, np.float32)
    n = 0
    for row in range(start, stop):
        found, before = 0, -1
        for t in range(offsets[row], offsets[row + 1]):
            # Pairs lie anywhere in memory: those of all words are asked for at once.
            number = number_U[ids[t]]
            if number >= 0:
                middle = (pair_offsets[number] + pair_offsets[number + 1]) // 2
                prefetch(pairs_at + np.uintp(8) * np.uintp(middle))
        for t in range(offsets[row], offsets[row + 1]):
            number = number_U[ids[t]]
            if number >= 0 and term_W[number] >= 0:
                buffer[found] = term_W[number]
                found += 1
            if before >= 0 and number >= 0:
                term = _pair_term(before, number, pair_offsets, pair_second, pair_terms)
                if term >= 0:
                    buffer[found] = term
                    found += 1
            before = number
        begin = n
        n = _weigh(buffer[:found], weights, sublinear, 0, out, values, n)
        counts_B[row] = n - begin
    return out[:n], values[:n]


def term_rows(
    ids: Int64Array,
    offsets: Int64Array,
    number_U: Int64Array,
    term_W: Int64Array,
    pairs: Pairs,
    weights: Float32Array,
    *,
    sublinear: bool,
) -> SparseRows:
    """Weighted terms of texts, single words and pairs of them, each row of length 1 or empty.

    Args:
        ids: int64, T. The texts' words as numbers of distinct words, text after text.
        offsets: int64, B + 1. Where each text's words begin.
        number_U: int64, U. The number of each distinct word among those of the terms, or -1.
        term_W: int64, W. The term that each of those words is by itself, or -1.
        pairs: Terms that are pairs.
        weights: float32, V. Of the terms.
        sublinear: A term that occurs c times weighs 1 + log c instead of c.

    Returns:
        Rows of B x V.
    """
    counts_B = np.zeros(len(offsets) - 1, np.int64)
    return _rows_by_parts(
        lambda start, stop: _term_rows(
            start, stop, ids, offsets, number_U, term_W, *pairs, weights, sublinear, counts_B
        ),
        offsets,
        counts_B,
        len(weights),
    )


def _rows_by_parts(
    make: Callable[[int, int], tuple[Any, Any]],
    offsets: Int64Array,
    counts_B: Int64Array,
    width: int,
) -> SparseRows:
    """Let threads make runs of rows, and put them together."""
    n = len(counts_B)
    ranges = split_by_weight(offsets, 4 * current_threads()) if n > 1 else [(0, n)]
    results = collect_ranges(ranges, make)
    columns, values = (
        results[0]
        if len(results) == 1
        else (np.concatenate(parts) for parts in zip(*results, strict=True))
    )
    indptr = np.zeros(n + 1, np.int64)
    np.cumsum(counts_B, out=indptr[1:])
    return SparseRows(indptr, columns, values, width)


@numba.njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def _sum_bags(start, stop, indptr, indices, values, table_VD, normalise, out_BD):
    at, row_bytes = np.uintp(table_VD.ctypes.data), 4 * table_VD.shape[1]
    for row in range(start, stop):
        total = out_BD[row]
        total[:] = np.float32(0.0)
        for s in range(indptr[row], indptr[row + 1]):
            if s + _AHEAD < indptr[row + 1]:
                ahead = np.uintp(indices[s + _AHEAD])
                prefetch_row(at + ahead * np.uintp(row_bytes), row_bytes)
            add_scaled(total, table_VD[indices[s]], values[s])
        if normalise:
            squares = np.float32(0.0)
            for d in range(total.shape[0]):
                squares += total[d] * total[d]
            if squares > np.float32(0.0):
                scale = np.float32(1.0) / np.sqrt(squares)
                for d in range(total.shape[0]):
                    total[d] *= scale


def sum_rows(
    indptr: Any, indices: Any, values: Any, table_VD: Any, *, normalise: bool, out: Float32Array
) -> None:
    """:func:`sum_bags` of the arrays of a CSR matrix."""
    run_queries(
        len(out),
        lambda start, stop: _sum_bags(
            start, stop, indptr, indices, values, table_VD, normalise, out
        ),
        few=16,
    )


def sum_bags(
    bags_BV: SparseFeatures, table_VD: Float32Array, *, normalise: bool, out: Float32Array
) -> None:
    """Write the sums of the bags' vectors, of length 1 where ``normalise``, into ``out`` B x D.

    A row's bits depend neither on the batch nor on the number of threads.
    """
    rows = bags_BV if isinstance(bags_BV, SparseRows) else kernel_arrays(bags_BV)
    sum_rows(*rows[:3], table_VD, normalise=normalise, out=out)
