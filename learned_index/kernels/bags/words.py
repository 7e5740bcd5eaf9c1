"""Words of texts in Numba: runs of word characters, numbered by the distinct ones.

Legend: T characters, W words, U distinct words.
"""

from __future__ import annotations

import functools
import sys

import numba
import numpy as np
import numpy.typing as npt

from learned_index.types import Int64Array

_OFFSET, _PRIME = np.uint64(14695981039346656037), np.uint64(1099511628211)
_FEWEST_SLOTS = 1024


@functools.cache
def _in_words() -> npt.NDArray[np.bool_]:
    r"""For each character whether ``\w`` of Python's regular expressions matches it."""
    characters = map(chr, range(sys.maxunicode + 1))
    return np.fromiter((c.isalnum() or c == "_" for c in characters), np.bool_)


def find_words(text: str) -> tuple[Int64Array, list[str], Int64Array]:
    r"""The runs of word characters of a text, what ``re.findall(r"\w+", text)`` finds.

    Returns:
        For each of W words its number among the distinct ones, int64; the U distinct words, in
        the order in which they first occur; and the place in the text where each of the W words
        begins, int64.
    """
    codes_T = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    ids, starts, firsts, ends = _find_words(codes_T, _in_words())
    distinct = [text[a:b] for a, b in zip(firsts.tolist(), ends.tolist(), strict=True)]
    return ids, distinct, starts


@numba.njit(nogil=True, cache=True)
def _is_same(codes_T, one, other, length):
    same = True
    for i in range(length):
        same = same and codes_T[one + i] == codes_T[other + i]
    return same


@numba.njit(nogil=True, cache=True)
def _grown(slots, hashes):
    """A table of twice the size with the same distinct words."""
    larger = np.full(2 * len(slots), -1, np.int64)
    mask = np.uint64(len(larger) - 1)
    for u in range(len(hashes)):
        slot = hashes[u] & mask
        while larger[np.int64(slot)] >= 0:
            slot = (slot + np.uint64(1)) & mask
        larger[np.int64(slot)] = u
    return larger


@numba.njit(nogil=True, cache=True)
def _find_words(codes_T, in_words):
    """Number words by a table with open addressing, keyed by their FNV-1a hash."""
    most = (len(codes_T) + 1) // 2
    ids, starts = np.empty(most, np.int64), np.empty(most, np.int64)
    firsts, ends = np.empty(most, np.int64), np.empty(most, np.int64)
    hashes = np.empty(most, np.uint64)
    slots = np.full(_FEWEST_SLOTS, -1, np.int64)
    n, n_distinct, place, T = 0, 0, 0, len(codes_T)
    while place < T:
        if not in_words[codes_T[place]]:
            place += 1
            continue
        start, value = place, _OFFSET
        while place < T and in_words[codes_T[place]]:
            value = (value ^ np.uint64(codes_T[place])) * _PRIME
            place += 1
        value ^= value >> np.uint64(32)
        mask = np.uint64(len(slots) - 1)
        slot = value & mask
        word = slots[np.int64(slot)]
        while word >= 0 and not (
            hashes[word] == value
            and ends[word] - firsts[word] == place - start
            and _is_same(codes_T, firsts[word], start, place - start)
        ):
            slot = (slot + np.uint64(1)) & mask
            word = slots[np.int64(slot)]
        if word < 0:
            word = n_distinct
            firsts[word], ends[word], hashes[word] = start, place, value
            slots[np.int64(slot)] = word
            n_distinct += 1
            if 2 * n_distinct > len(slots):
                slots = _grown(slots, hashes[:n_distinct])
        ids[n], starts[n] = word, start
        n += 1
    return ids[:n].copy(), starts[:n].copy(), firsts[:n_distinct].copy(), ends[:n_distinct].copy()
