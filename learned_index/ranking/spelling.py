"""Words that are spelled alike: inflected, compounded, or of the same root in another language.

Legend: U words, W others that they are compared with, G n-grams of these, L labels, V terms.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple
from unicodedata import combining, normalize

import numpy as np
import scipy.sparse as sp

from learned_index.ranking.evidence import NameTerms
from learned_index.types import Float32Array, Int64Array

GRAMS = (3, 5)
"""Shortest and longest n-gram."""
LEAST_ALIKE = 0.2
"""A cosine below it is chance."""
_MOST_COMMON = 0.05
"""N-grams in a larger share of the names' words are passed over: long lists that tell little."""
_FEW = 1000
"""Up to so many words none is."""
_BLOCK = 1000
"""Words that are compared in one go."""
_WORD = re.compile(r"\w+")
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_EDGE = 1
"""Stands before and behind a word; no character of a word is it."""


def folded(text: str) -> str:
    """A text without case and without marks on its letters.

    Example:
        >>> folded("Öffentliche Straßen")
        'offentliche strassen'
    """
    if text.isascii():
        return text.lower()
    return "".join(c for c in normalize("NFKD", text.casefold()) if not combining(c))


class Spelling:
    """Terms as they are spelled, to be compared with names again and again as these change.

    Args:
        terms: V terms of texts; those of several words are no word's like.
    """

    def __init__(self, terms: Sequence[str]) -> None:
        self.n_terms = len(terms)
        self._single = np.array(
            [n for n, term in enumerate(terms) if term and " " not in term and "\n" not in term],
            np.int64,
        )
        self._grams = grams_of([folded(terms[n]) for n in self._single.tolist()])
        self._words: dict[str, tuple[str, ...]] = {}

    def names(self, names: Sequence[str], labels: Any = None) -> NameTerms:
        """The terms that are spelled like words of names (equation 24).

        The name of label l has words w, n_w of the N names have w, and idf_w = ln(1 + (N - n_w +
        1/2) / (n_w + 1/2)). A term t that is a word counts sum_w idf_w a(t, w) / sum_w idf_w, with
        the likeness a of :func:`likeness`. A number is no word here: others that look like it mean
        nothing.

        Args:
            names: L.
            labels: int64 ids; the others get no terms, but count in n and N. None: all.

        Returns:
            Weights above 0, at most 1; a label's do not add up to 1.
        """
        words_of = self._words_of(names)
        numbers: dict[str, int] = {}
        rows = np.repeat(np.arange(len(names)), [len(words) for words in words_of])
        columns = [numbers.setdefault(word, len(numbers)) for words in words_of for word in words]
        has_LW = sp.csr_matrix(
            (np.ones(len(rows), np.float32), (rows, np.array(columns, np.int64))),
            shape=(len(names), len(numbers)),
        )
        asked = np.arange(len(names)) if labels is None else np.asarray(labels, np.int64)
        shape = len(names), self.n_terms
        if not numbers or not len(self._single) or not len(asked):
            return _as_name_terms(sp.csr_matrix(shape, dtype=np.float32))
        n_named = int((np.diff(has_LW.indptr) > 0).sum())
        n_W = np.bincount(has_LW.indices, minlength=len(numbers))
        idf_W = np.log1p((n_named - n_W + 0.5) / (n_W + 0.5)).astype(np.float32)
        sums_L = np.maximum(has_LW @ idf_W, 1e-12)
        share_LW = sp.csr_matrix(sp.diags(1 / sums_L) @ has_LW @ sp.diags(idf_W), dtype=np.float32)
        used_W = np.unique(has_LW[asked].indices)
        alike = likeness(self._grams, list(numbers), used_W)
        found = sp.coo_matrix(share_LW[asked][:, used_W] @ alike.T.tocsr())
        places = asked[found.row], self._single[found.col]
        return _as_name_terms(sp.csr_matrix((found.data, places), shape=shape, dtype=np.float32))

    def _words_of(self, names: Sequence[str]) -> list[tuple[str, ...]]:
        """The distinct words of each name; those of the last time are not read again."""
        known = self._words
        words = {name: known[name] if name in known else _words(name) for name in names}
        self._words = words
        return [words[name] for name in names]


def _words(name: str) -> tuple[str, ...]:
    found = dict.fromkeys(_WORD.findall(folded(name)))
    return tuple(word for word in found if not word.isdigit())


def _as_name_terms(weights_LV: sp.csr_matrix) -> NameTerms:
    weights_LV.eliminate_zeros()
    weights_LV.sort_indices()
    return NameTerms(
        weights_LV.indptr.astype(np.int64),
        weights_LV.indices.astype(np.int32),
        np.minimum(weights_LV.data, np.float32(1.0)),
    )


class Grams(NamedTuple):
    """The distinct character n-grams of words.

    Attributes:
        hashes: uint64, those of one word after those of another.
        word_of: int64, ascending, the number of the word that has each.
        n_words: How many the words are.
    """

    hashes: Any
    word_of: Int64Array
    n_words: int


def likeness(words: Grams, others: Sequence[str], used: Int64Array) -> sp.csr_matrix:
    """How alike words are spelled: CSR float32 U x (used), :data:`LEAST_ALIKE` to 1.

    The cosine of their sets of character n-grams (:data:`GRAMS`; the edges of a word count as
    characters, and the whole word as one more n-gram), each weighted by its idf among the others.
    An n-gram that none of these has makes a word longer, at the largest idf.

    Args:
        words: Of U folded words.
        others: W words, distinct and folded, which tell how common an n-gram is.
        used: int64, ascending. The others that are compared.
    """
    grams_W, rows_W, _ = grams_of(others)
    known, column_W = np.unique(grams_W, return_inverse=True)
    has_WG = sp.csr_matrix(
        (np.ones(len(rows_W), np.float32), (rows_W, column_W)), shape=(len(others), len(known))
    )
    n_G = np.bincount(has_WG.indices, minlength=len(known))
    idf_G = np.log1p((len(others) - n_G + 0.5) / (n_G + 0.5)).astype(np.float32)
    most = len(others) if len(others) <= _FEW else int(_MOST_COMMON * len(others))
    kept = np.flatnonzero(n_G <= most)
    unit_WG = _scaled(has_WG, idf_G, np.zeros(len(others), np.float32))[used][:, kept]
    grams_U, rows_U, n_words = words
    place = np.minimum(np.searchsorted(known, grams_U), len(known) - 1)
    is_known = known[place] == grams_U
    strange_U = np.bincount(rows_U[~is_known], minlength=n_words) * float(idf_G.max()) ** 2
    has_UG = sp.csr_matrix(
        (np.ones(int(is_known.sum()), np.float32), (rows_U[is_known], place[is_known])),
        shape=(n_words, len(known)),
    )
    unit_UG, by_gram = _scaled(has_UG, idf_G, strange_U)[:, kept], unit_WG.T.tocsr()
    parts = []
    for start in range(0, n_words, _BLOCK):
        cosines = unit_UG[start : start + _BLOCK] @ by_gram
        cosines.data[cosines.data < LEAST_ALIKE] = 0
        cosines.eliminate_zeros()
        parts.append(cosines)
    return sp.vstack(parts, format="csr", dtype=np.float32)


def _scaled(has_UG: sp.csr_matrix, idf_G: Float32Array, more_U: Any) -> sp.csr_matrix:
    """Rows weighted by idf, of length 1 with so much of a squared length that they do not show."""
    weighted = sp.csr_matrix(has_UG @ sp.diags(idf_G), dtype=np.float32)
    squares_U = np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel() + more_U
    return sp.csr_matrix(sp.diags(1 / np.sqrt(np.maximum(squares_U, 1e-12))) @ weighted)


def grams_of(words: Sequence[str]) -> Grams:
    """The n-grams of words, their edges among their characters, and whole words."""
    edge = chr(_EDGE)
    joined = "".join(f"{edge}{word}{edge}" for word in words)
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    lengths = np.array([len(word) + 2 for word in words], np.int64)
    begins = np.cumsum(lengths) - lengths
    word_of = np.repeat(np.arange(len(words)), lengths)
    hashes, owners = [], []
    running = np.zeros(len(codes), np.uint64)
    # Sums of products wrap around: each n-gram is the polynomial of its characters, mixed.
    for n in range(1, GRAMS[1] + 1):
        stop = len(codes) - n + 1
        if stop <= 0:
            break
        running = running[:stop] * _FACTOR + codes[n - 1 :] + np.uint64(n)
        if n >= GRAMS[0]:
            inside = word_of[:stop] == word_of[n - 1 :]
            hashes.append(_mixed(running[inside]))
            owners.append(word_of[:stop][inside])
    if len(words):
        powers = np.arange(len(codes)) - begins[word_of] + 1
        terms = _mixed(codes * _FACTOR + powers.astype(np.uint64))
        hashes.append(_mixed(np.add.reduceat(terms, begins)))
        owners.append(np.arange(len(words)))
    found = np.concatenate(hashes) if hashes else np.empty(0, np.uint64)
    owner = np.concatenate(owners) if owners else np.empty(0, np.int64)
    order = np.lexsort((found, owner))
    found, owner = found[order], owner[order]
    first = np.ones(len(found), bool)
    first[1:] = (found[1:] != found[:-1]) | (owner[1:] != owner[:-1])
    return Grams(found[first], owner[first], len(words))


def _mixed(values: Any) -> Any:
    """A bijection that spreads what differs little over all 64 bits (Stafford's mix 13)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
