"""Bags and their sums in Numba: a text costs its own words, whatever the vocabulary."""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import scipy.sparse as sp

from learned_index.kernels.machine.dense import add_scaled
from learned_index.kernels.machine.flags import FAST
from learned_index.kernels.machine.parallel import run_ranges, split_by_weight, split_evenly
from learned_index.system.threads import current_threads
from learned_index.types import Float32Array, Int64Array


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
def _one_block(ids, first, last, offsets, terms, weights, sublinear, shift, buffer, out, values, n):
    """Append the terms of one text to ``out`` and ``values`` from ``n`` on; returns their end."""
    found = 0
    for t in range(first, last):
        word = ids[t]
        for s in range(offsets[word], offsets[word + 1]):
            buffer[found] = terms[s]
            found += 1
    ordered = np.sort(buffer[:found])
    begin, squares, s = n, 0.0, 0
    while s < found:
        term, count = ordered[s], 0
        while s < found and ordered[s] == term:
            count += 1
            s += 1
        weight = weights[term] * (
            np.float32(1.0 + np.log(count)) if sublinear else np.float32(count)
        )
        out[n], values[n] = term + shift, weight
        squares += np.float64(weight) * np.float64(weight)
        n += 1
    if squares > 0.0:
        scale = np.float32(1.0 / np.sqrt(squares))
        for i in range(begin, n):
            values[i] *= scale
    return n


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
) -> sp.csr_matrix:
    """Make the bags of texts.

    Args:
        ids: int64, T. The texts' words as numbers of distinct words, text after text.
        offsets: int64, B + 1. Where each text's words begin.
        first: Terms of the first block; of the first ``most_words`` words of a text only.
        second: Terms of the second one.
        most_words: See there.

    Returns:
        float32 CSR B x V, canonical: column 0 the constant, then the terms of both blocks.
    """
    n = len(offsets) - 1
    counts_B = np.zeros(n, np.int64)
    ranges = split_by_weight(offsets, 4 * current_threads()) if n > 1 else [(0, n)]
    results: list[Any] = [None] * len(ranges)

    def work(part: int, start: int, stop: int) -> None:
        results[part] = _bag_rows(start, stop, ids, offsets, most_words, *first, *second, counts_B)

    run_ranges(ranges, work)
    columns, values = (
        results[0]
        if len(results) == 1
        else (np.concatenate(parts) for parts in zip(*results, strict=True))
    )
    indptr = np.zeros(n + 1, np.int64)
    np.cumsum(counts_B, out=indptr[1:])
    shape = (n, 1 + len(first.weights) + len(second.weights))
    matrix = sp.csr_matrix((values, columns, indptr), shape=shape)
    matrix.has_canonical_format = True
    return matrix


@numba.njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
def _sum_bags(start, stop, indptr, indices, values, table_VD, normalise, out_BD):
    for row in range(start, stop):
        total = out_BD[row]
        total[:] = np.float32(0.0)
        for s in range(indptr[row], indptr[row + 1]):
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
    run_ranges(
        split_evenly(len(out), 4 * current_threads() if len(out) > 16 else 1),
        lambda _part, start, stop: _sum_bags(
            start, stop, indptr, indices, values, table_VD, normalise, out
        ),
    )


def sum_bags(
    bags_BV: sp.csr_matrix, table_VD: Float32Array, *, normalise: bool, out: Float32Array
) -> None:
    """Write the sums of the bags' vectors, of length 1 where ``normalise``, into ``out`` B x D.

    A row's bits depend neither on the batch nor on the number of threads.
    """
    sum_rows(bags_BV.indptr, bags_BV.indices, bags_BV.data, table_VD, normalise=normalise, out=out)
