"""Texts as words: found once, numbered by the distinct ones.

Legend: B texts, T words of all B texts together, U distinct words.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from learned_index.inputs.matrices import SparseRows
from learned_index.kernels.bags import Pairs, Spelling, WordTable, find_words, term_rows
from learned_index.system.lazy import lazy_property
from learned_index.types import Float32Array, Int64Array

WORDS = r"(?u)\b\w+\b"
"""Runs of letters, digits and underscores; scikit-learn's own pattern drops single ones."""
_MOST_KEPT = 200_000
_CHARACTERS_AT_ONCE = 1 << 23
"""Of which 30 bytes each are held while words are found."""
_NO_WORDS = np.empty(0, np.int64)


class WordLists:
    """The words of texts, in order.

    Args:
        spelling: The U distinct words, in the order in which they first occur.
        ids: int64, T. For each word its place among them, text after text.
        offsets: int64, B + 1. Where each text's words begin.
    """

    def __init__(self, spelling: Spelling, ids: Int64Array, offsets: Int64Array) -> None:
        self.spelling = spelling
        self.ids = ids
        self.offsets = offsets

    @lazy_property
    def distinct(self) -> list[str]:
        """The U distinct words as strings, which a query needs of few."""
        return self.spelling.words()

    @classmethod
    def of(cls, texts: Sequence[str]) -> WordLists:
        """Find the words of B texts, folded to lower case.

        Example:
            >>> WordLists.of(["A red fox.", "red"]).distinct
            ['a', 'red', 'fox']
        """
        if len(texts) == 1:  # a query waits for every microsecond
            alone, words, _ = find_words(texts[0].lower())
            return cls(words, alone, np.array([0, len(alone)], np.int64))
        chunks = list(_chunks(texts))
        if len(chunks) == 1:
            found, words, ends = _words_of(texts)
            return cls(words, found, np.concatenate([np.zeros(1, np.int64), ends]))
        numbers: dict[str, int] = {}
        ids, offsets = [_NO_WORDS], [np.zeros(1, np.int64)]
        n_words = 0
        for start, stop in chunks:
            found, words, ends = _words_of(texts[start:stop])
            number_U = [numbers.setdefault(word, len(numbers)) for word in words.words()]
            ids.append(np.array(number_U, np.int64)[found])
            offsets.append(n_words + ends)
            n_words += len(found)
        return cls(Spelling.of(list(numbers)), np.concatenate(ids), np.concatenate(offsets))

    @property
    def text_of_word(self) -> Int64Array:
        """For each word the text that it stands in: int64, T."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def in_texts(self) -> Int64Array:
        """In how many texts each distinct word stands: int64, U."""
        return texts_of_terms(self.ids, self.text_of_word, len(self.distinct))


def _words_of(texts: Sequence[str]) -> tuple[Int64Array, Spelling, Int64Array]:
    """Numbers of the words, the distinct ones, and where each text's words end."""
    lowered = [text.lower() for text in texts]
    # A word ends where its text does; a line break is no letter that case depends on.
    found, words, begins = find_words("\n".join(lowered))
    text_ends = np.cumsum([len(text) + 1 for text in lowered])
    return found, words, np.searchsorted(begins, text_ends).astype(np.int64)


def _chunks(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Runs of texts of so many characters."""
    start = size = 0
    for number, text in enumerate(texts):
        size += len(text)
        if size >= _CHARACTERS_AT_ONCE:
            yield start, number + 1
            start, size = number + 1, 0
    if start < len(texts):
        yield start, len(texts)


_recent: deque[tuple[list[str], WordLists]] = deque(maxlen=2)


def word_lists(texts: list[str]) -> WordLists:
    """:meth:`WordLists.of`, which is remembered for the last two lists of texts.

    A training and a prediction ask for the words of the same texts several times: for the features
    of ranker and clusters, and for the vectors. Comparing lists of the same strings costs next to
    nothing.
    """
    for known, words in tuple(_recent):
        if known == texts:
            return words
    words = WordLists.of(texts)
    if len(texts) <= _MOST_KEPT:
        _recent.append((list(texts), words))
    return words


def texts_of_terms(terms: Int64Array, texts: Int64Array, n_terms: int) -> Int64Array:
    """In how many texts each term stands, of T terms and the texts that they stand in."""
    ones = np.ones(len(terms), np.int8)
    n_texts = int(texts[-1]) + 1 if len(texts) else 0
    matrix = sp.csr_matrix((ones, (texts, terms)), shape=(n_texts, n_terms), dtype=np.int32)
    matrix.sum_duplicates()
    return np.bincount(matrix.indices, minlength=n_terms).astype(np.int64)


class WordTerms:
    """Single words, and pairs of neighbouring words, as the columns of a matrix.

    Args:
        terms: The V terms in column order: words, or two words with a space between them.
    """

    def __init__(self, terms: Sequence[str]) -> None:
        words, first_V, second_V = _cut_terms(terms)
        # Not the terms themselves: as strings they would take ten times as much memory.
        self._words = words
        self._first_V, self._second_V = first_V.astype(np.int32), second_V.astype(np.int32)
        n_words = len(words.hashes)
        self._table = WordTable.spelled(words)
        self._columns: Int64Array = np.full(n_words, -1, np.int64)
        is_pair = second_V >= 0
        self._columns[first_V[~is_pair]] = np.flatnonzero(~is_pair)
        columns = np.flatnonzero(is_pair)
        order = np.lexsort((columns, second_V[columns], first_V[columns]))
        columns = columns[order]
        begin = np.searchsorted(first_V[columns], np.arange(n_words + 1)).astype(np.int64)
        self._pairs = Pairs(begin, second_V[columns], columns)

    def __len__(self) -> int:
        """V."""
        return len(self._first_V)

    def terms(self) -> list[str]:
        """The V terms in column order."""
        words = self._words.words()
        return [
            words[first] if second < 0 else f"{words[first]} {words[second]}"
            for first, second in zip(self._first_V.tolist(), self._second_V.tolist(), strict=True)
        ]

    def term(self, column: int) -> str:
        """The term of one column."""
        second = self._second_V[column]
        numbers = [self._first_V[column], *([second] if second >= 0 else [])]
        return " ".join(self._words.some(np.array(numbers, np.int64)))

    def rows(self, words: WordLists, weights_V: Float32Array, *, sublinear: bool) -> SparseRows:
        """Weighted terms of each text, B x V: see :func:`~learned_index.kernels.bags.term_rows`."""
        return term_rows(
            words.ids,
            words.offsets,
            self._table.numbers(words.spelling),
            self._columns,
            self._pairs,
            weights_V,
            sublinear=sublinear,
        )


def _cut_terms(terms: Sequence[str]) -> tuple[Spelling, Int64Array, Int64Array]:
    """Cut V terms at their first space.

    Returns:
        The distinct words; for each term the place among them of what stands before the space, and
        of what stands behind it, -1 where there is none: int64, V each.
    """
    ids, words, begins = find_words("\n".join(terms))
    length_V = np.fromiter(map(len, terms), np.int64, len(terms))
    begin_V = np.cumsum(length_V + 1) - length_V - 1
    at_V = np.searchsorted(begins, begin_V)
    count_V = np.diff(np.append(at_V, len(begins)))
    if len(ids) and ((count_V == 1) | (count_V == 2)).all():
        lengths = np.diff(words.offsets)[ids]
        is_pair = count_V == 2
        behind_V = np.where(is_pair, at_V + 1, at_V)
        covered_V = lengths[at_V] + np.where(is_pair, lengths[behind_V] + 1, 0)
        spaces = sum(map(str.count, terms, [" "] * len(terms)))
        if (covered_V == length_V).all() and spaces == np.count_nonzero(is_pair):
            return words, ids[at_V], np.where(is_pair, ids[behind_V], -1)
    return _cut_others(terms)


def _cut_others(terms: Sequence[str]) -> tuple[Spelling, Int64Array, Int64Array]:
    """:func:`_cut_terms` of any terms, such as those of a Python that knows other letters."""
    numbers: dict[str, int] = {}
    first, second = [], []
    for term in terms:
        before, space, behind = term.partition(" ")
        first.append(numbers.setdefault(before, len(numbers)))
        second.append(numbers.setdefault(behind, len(numbers)) if space else -1)
    return Spelling.of(list(numbers)), np.array(first, np.int64), np.array(second, np.int64)


class TermCounts(NamedTuple):
    """Terms of a collection.

    Attributes:
        terms: Sorted.
        in_texts: int64. In how many texts each stands.
    """

    terms: list[str]
    in_texts: Int64Array


def choose_terms(
    words: WordLists,
    *,
    pairs: bool,
    min_df: int,
    max_df: float,
    max_features: int | None,
    known: Sequence[str] = (),
) -> TermCounts:
    """Collect words, and pairs of neighbouring words, that are neither too rare nor too frequent.

    Args:
        words: Of the training texts.
        pairs: Whether pairs count too.
        min_df: Terms in fewer texts are dropped.
        max_df: Terms in more than this share of the texts are dropped.
        max_features: At most so many, those that occur most often; equals in alphabetical order.
        known: Terms that are left out.
    """
    taken = frozenset(known)
    n_texts = len(words.offsets) - 1
    U, distinct = len(words.distinct), words.distinct
    text_of_word = words.text_of_word
    kinds = [(words.ids, text_of_word, np.arange(U))]
    if pairs and len(words.ids) > 1:
        inside = text_of_word[:-1] == text_of_word[1:]
        keys = words.ids[:-1][inside] * U + words.ids[1:][inside]
        unique, numbers = np.unique(keys, return_inverse=True)
        kinds.append((numbers.astype(np.int64), text_of_word[:-1][inside], unique))
    names: list[str] = []
    frequencies, totals = [], []
    for is_pair, (numbers, texts, keys) in enumerate(kinds):
        in_texts = texts_of_terms(numbers, texts, len(keys))
        kept = np.flatnonzero((in_texts >= min_df) & (in_texts <= max_df * n_texts))
        frequencies.append(in_texts[kept])
        totals.append(np.bincount(numbers, minlength=len(keys))[kept])
        if is_pair:
            chosen = keys[kept].tolist()
            names += [f"{distinct[key // U]} {distinct[key % U]}" for key in chosen]
        else:
            names += [distinct[u] for u in kept.tolist()]
    fresh = [n for n, name in enumerate(names) if name not in taken]
    order = np.array(sorted(fresh, key=names.__getitem__), np.int64)
    in_texts, total = np.concatenate(frequencies)[order], np.concatenate(totals)[order]
    if max_features is not None and len(order) > max_features:
        best = np.sort(np.argsort(-total, kind="stable")[:max_features])
        order, in_texts = order[best], in_texts[best]
    return TermCounts([names[i] for i in order.tolist()], in_texts)
