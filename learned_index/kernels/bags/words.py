"""Words of texts in Numba: runs of word characters, numbered by the distinct ones.

Legend: T characters, W words, U distinct words.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from learned_index.kernels.machine.intrinsics import prefetch
from learned_index.types import Int64Array

_OFFSET, _PRIME = np.uint64(14695981039346656037), np.uint64(1099511628211)
_FEWEST_SLOTS = 1024
_UPPER = np.uint64(0xFFFFFFFF00000000)
_EMPTY = np.uint64(0xFFFFFFFFFFFFFFFF)
"""A slot that holds no word: -1."""


@functools.cache
def _in_words() -> npt.NDArray[np.bool_]:
    r"""For each character whether ``\w`` of Python's regular expressions matches it."""
    # By runs of them in the text of all characters: asking for each one takes ten times as long.
    found = np.zeros(sys.maxunicode + 1, np.bool_)
    for run in re.finditer(r"\w+", _text(np.arange(len(found), dtype=np.uint32))):
        found[slice(*run.span())] = True
    return found


class Spelling(NamedTuple):
    """Words as compiled code compares them.

    Attributes:
        codes: uint32. Their characters, word after word.
        offsets: int64, U + 1. Where each word's begin.
        hashes: uint64, U. FNV-1a of the characters, folded once.
    """

    codes: Any
    offsets: Any
    hashes: Any

    @classmethod
    def of(cls, words: Sequence[str]) -> Spelling:
        """Spell U words."""
        codes = _codes("".join(words))
        offsets = np.zeros(len(words) + 1, np.int64)
        np.cumsum([len(word) for word in words], out=offsets[1:])
        return cls(codes, offsets, _hashes(codes, offsets))

    def words(self) -> list[str]:
        """The words themselves."""
        text, ends = _text(self.codes), self.offsets.tolist()
        return [text[a:b] for a, b in pairwise(ends)]

    def some(self, numbers: Int64Array) -> list[str]:
        """Some of them, a few of many."""
        begins, ends = self.offsets[numbers].tolist(), self.offsets[numbers + 1].tolist()
        return [_text(self.codes[a:b]) for a, b in zip(begins, ends, strict=True)]


def _codes(text: str) -> Any:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _text(codes: Any) -> str:
    return str(codes.tobytes().decode("utf-32-le", "surrogatepass"))


def find_words(text: str) -> tuple[Int64Array, Spelling, Int64Array]:
    r"""The runs of word characters of a text, what ``re.findall(r"\w+", text)`` finds.

    Returns:
        For each of W words its number among the distinct ones, int64; the U distinct words, in
        the order in which they first occur; and the place in the text where each of the W words
        begins, int64.
    """
    ids, starts, *spelled = _find_words(_codes(text), _in_words())
    return ids, Spelling(*spelled), starts


class WordTable:
    """Numbers of known words: a table with open addressing that compiled code reads.

    Args:
        numbers: The number of each word, 0 to 2^31 - 1.
    """

    def __init__(self, numbers: Mapping[str, int]) -> None:
        self._take(Spelling.of(list(numbers)), np.array(list(numbers.values()), np.int64))

    @classmethod
    def spelled(cls, words: Spelling) -> WordTable:
        """A table of U distinct words, whose numbers are their places."""
        table = cls.__new__(cls)
        table._take(words, np.arange(len(words.hashes)))
        return table

    def _take(self, words: Spelling, numbers: Int64Array) -> None:
        self._known, self._numbers = words, numbers
        n_slots = _FEWEST_SLOTS
        while n_slots < 2 * len(numbers):
            n_slots *= 2
        self._slots = _filled(np.full(n_slots, -1, np.int64), words.hashes)

    def words(self) -> list[str]:
        """The words that have a number, in the order in which they were given."""
        return self._known.words()

    def numbers(self, words: Spelling) -> Int64Array:
        """The numbers of U words, int64; -1 for unknown ones."""
        found: Int64Array = _looked_up(*words, self._slots, *self._known[:2], self._numbers)
        return found


@numba.njit(nogil=True, cache=True)
def _is_same(codes_T, one, other, length):
    same = True
    for i in range(length):
        same = same and codes_T[one + i] == codes_T[other + i]
    return same


@numba.njit(nogil=True, cache=True, inline="always")
def _folded(value):
    """The hash of a word of the FNV-1a value of its characters: its low bits choose a slot."""
    return value ^ (value >> np.uint64(32))


@numba.njit(nogil=True, cache=True)
def _hashes(codes, offsets):
    found = np.empty(len(offsets) - 1, np.uint64)
    for u in range(len(found)):
        value = _OFFSET
        for place in range(offsets[u], offsets[u + 1]):
            value = (value ^ np.uint64(codes[place])) * _PRIME
        found[u] = _folded(value)
    return found


@numba.njit(nogil=True, cache=True)
def _filled(slots, hashes):
    """Put words into empty slots: the upper half of each one's hash above its place."""
    mask = np.uint64(len(slots) - 1)
    for u in range(len(hashes)):
        slot = hashes[u] & mask
        while slots[np.int64(slot)] != -1:
            slot = (slot + np.uint64(1)) & mask
        slots[np.int64(slot)] = np.int64(hashes[u] & _UPPER | np.uint64(u))
    return slots


@numba.njit(nogil=True, cache=True)
def _looked_up(codes, offsets, hashes, slots, known_codes, known_offsets, known_numbers):
    """See :meth:`WordTable.numbers`."""
    n, mask = len(hashes), np.uint64(len(slots) - 1)
    numbers = np.full(n, -1, np.int64)
    # Slots and words lie anywhere in memory: those of all words are asked for, step by step,
    # before the first is compared.
    slots_at, offsets_at = np.uintp(slots.ctypes.data), np.uintp(known_offsets.ctypes.data)
    codes_at, numbers_at = np.uintp(known_codes.ctypes.data), np.uintp(known_numbers.ctypes.data)
    for u in range(n):
        prefetch(slots_at + np.uintp(8) * np.uintp(hashes[u] & mask))
    for u in range(n):
        place = np.uintp(np.uint64(slots[np.int64(hashes[u] & mask)]) & ~_UPPER)
        prefetch(offsets_at + np.uintp(8) * place)
        prefetch(numbers_at + np.uintp(8) * place)
    for u in range(n):
        held = np.uint64(slots[np.int64(hashes[u] & mask)])
        if held != _EMPTY:
            begin = known_offsets[np.int64(held & ~_UPPER)]
            prefetch(codes_at + np.uintp(4) * np.uintp(begin))
    for u in range(n):
        slot = hashes[u] & mask
        while slots[np.int64(slot)] != -1:
            held = np.uint64(slots[np.int64(slot)])
            slot = (slot + np.uint64(1)) & mask
            if held & _UPPER != hashes[u] & _UPPER:
                continue
            word = np.int64(held & ~_UPPER)
            if _is_word(codes, offsets[u], offsets[u + 1], known_codes, known_offsets, word):
                numbers[u] = known_numbers[word]
                break
    return numbers


@numba.njit(nogil=True, cache=True)
def _is_word(codes, first, last, known_codes, known_offsets, word):
    begin = known_offsets[word]
    if known_offsets[word + 1] - begin != last - first:
        return False
    same = True
    for i in range(last - first):
        same = same and codes[first + i] == known_codes[begin + i]
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
        value = _folded(value)
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
    offsets = np.zeros(n_distinct + 1, np.int64)
    for u in range(n_distinct):
        offsets[u + 1] = offsets[u] + ends[u] - firsts[u]
    codes = np.empty(offsets[n_distinct], np.uint32)
    for u in range(n_distinct):
        for i in range(ends[u] - firsts[u]):
            codes[offsets[u] + i] = codes_T[firsts[u] + i]
    return ids[:n].copy(), starts[:n].copy(), codes, offsets, hashes[:n_distinct].copy()
