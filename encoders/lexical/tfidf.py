"""Sparse tf-idf vectors, and how texts become terms for all encoders that count words."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypedDict, Unpack

import numpy as np
import scipy.sparse as sp

from learned_index.encoders.base import EncoderBase, check_texts, digest_arrays
from learned_index.encoders.lexical.feature_rows import idf_of_counts
from learned_index.encoders.lexical.words import WORDS, WordTerms, choose_terms, word_lists
from learned_index.errors import InputError, ModelFormatError
from learned_index.inputs.matrices import SparseRows, sparse_rows
from learned_index.inputs.numbers import real_number, whole_number
from learned_index.persistence import read_json, write_json
from learned_index.persistence.digest import digest
from learned_index.system.extras import require
from learned_index.types import Float32Array

VOCABULARY_FILE = "vocabulary.json"
Analyser = Literal["word", "char", "word+char"]


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How texts become terms: keyword arguments of every encoder that counts words.

    Attributes:
        analyser: ``"word"``: runs of letters, digits and underscores, also single ones;
            ``"char"``: character n-grams inside words (robust to spelling and inflection, several
            times slower); ``"word+char"``: both side by side.
        word_ngrams: Longest run of words that is one term (1: single words, 2: pairs too).
        char_ngrams: Shortest and longest character n-gram.
        min_df: Terms in fewer training texts are dropped. None: 2, or 1 below 1,000 texts,
            where dropping rare terms costs more than it saves.
        max_df: Terms in a larger share of the training texts are dropped, in (0, 1].
        max_features: At most so many terms of each analyser, the most frequent ones; None: all.
        sublinear_tf: Use 1 + log(count) in place of the count: a word that is repeated ten
            times does not say ten times as much.
        lowercase: Fold case before anything else.
    """

    analyser: Analyser = "word"
    word_ngrams: int = 1
    char_ngrams: tuple[int, int] = (3, 5)
    min_df: int | None = None
    max_df: float = 1.0
    max_features: int | None = 200_000
    sublinear_tf: bool = True
    lowercase: bool = True

    def __post_init__(self) -> None:
        if self.analyser not in ("word", "char", "word+char"):
            raise InputError(
                f"analyser is {self.analyser!r}, expected 'word', 'char' or 'word+char'"
            )
        whole_number(self.word_ngrams, "word_ngrams")
        shortest, longest = (whole_number(n, "char_ngrams") for n in self.char_ngrams)
        object.__setattr__(self, "char_ngrams", (shortest, longest))  # JSON gives a list
        if shortest > longest:
            raise InputError(
                f"n-grams are word_ngrams={self.word_ngrams}, char_ngrams={self.char_ngrams}; "
                "expected 1 or more, and the shortest first"
            )
        if self.min_df is not None:
            whole_number(self.min_df, "min_df")
        if not 0 < real_number(self.max_df, "max_df") <= 1:
            raise InputError(f"max_df is {self.max_df}, expected a share in (0, 1]")
        if self.max_features is not None:
            whole_number(self.max_features, "max_features")


class WordOptions(TypedDict, total=False):
    """Keyword arguments for single words and runs of them; see :class:`Terms`."""

    word_ngrams: int
    min_df: int | None
    max_features: int | None


class TermOptions(WordOptions, total=False):
    """All keyword arguments; see :class:`Terms`."""

    analyser: Analyser
    char_ngrams: tuple[int, int]
    max_df: float
    sublinear_tf: bool
    lowercase: bool


class TfidfEncoder(EncoderBase):
    """Texts to sparse tf-idf rows of length 1: for clustering, nearest neighbours and ranking.

    Single words and pairs of words are counted here, each list of texts read once; longer runs and
    characters are scikit-learn's (``TfidfVectorizer``), with the same results. ``encode`` returns
    canonical CSR float32.
    A text without a known word is an empty row, so the empty text is the zero vector. A row's bits
    do not depend on the batch.

    Args:
        **terms: How texts become terms; see :class:`Terms`.

    Attributes:
        terms: The same, with the defaults.

    Example:
        >>> x = TfidfEncoder().fit(["a red fox", "a blue sky"]).encode(["red sky"])
        >>> x.shape, x.nnz
        ((1, 5), 2)
    """

    kind: ClassVar[str] = "tfidf"
    sparse: ClassVar[bool] = True

    def __init__(self, **terms: Unpack[TermOptions]) -> None:
        self.terms = Terms(**terms)
        self._analysers = self.terms.analyser.split("+")
        # For each analyser what counts its terms, and their inverse document frequency.
        self._idf: list[Float32Array] = []
        self._parts: list[Any] | None = None

    @property
    def dim(self) -> int:
        """Number of terms."""
        self._learned(self._parts)
        return sum(map(len, self._idf))

    @property
    def terms_(self) -> list[str]:
        """The terms in column order; those of several analysers follow one another."""
        return [term for terms in self._words() for term in terms]

    def term_of(self, column: int) -> str:
        """The term of one column, without a list of all."""
        first = self._learned(self._parts)[0]
        if isinstance(first, WordTerms) and column < len(first):
            return first.term(column)
        return self.terms_[column]

    def _words(self) -> list[list[str]]:
        """For each analyser the terms in column order."""
        return [
            part.terms() if isinstance(part, WordTerms) else list(part.vocabulary)
            for part in self._learned(self._parts)
        ]

    def _sklearn(self, analyser: str, **extra: Any) -> Any:
        terms = self.terms
        is_word = analyser == "word"
        return require("sklearn.feature_extraction.text").TfidfVectorizer(
            analyzer="word" if is_word else "char_wb",
            token_pattern=WORDS if is_word else None,
            ngram_range=(1, terms.word_ngrams) if is_word else terms.char_ngrams,
            lowercase=terms.lowercase,
            sublinear_tf=terms.sublinear_tf,
            norm="l2",
            dtype=np.float32,
            **extra,
        )

    def fit(self, texts: Sequence[str]) -> Self:
        """Collect vocabulary and document frequencies.

        Raises:
            InputError: No texts, or no term is left.
        """
        checked = check_texts(texts)
        if not checked:
            raise InputError("got no texts to fit the vocabulary on; expected 1 or more")
        terms = self.terms
        min_df = _least_texts(terms, len(checked))
        words, idf = [], []
        for analyser in self._analysers:
            if self._counts_words(analyser):
                found = choose_terms(
                    word_lists(checked),
                    pairs=terms.word_ngrams == 2,
                    min_df=min_df,
                    max_df=terms.max_df,
                    max_features=terms.max_features,
                )
                words.append(found.terms)
                idf.append(idf_of_counts(found.in_texts, n_points=len(checked)))
            else:
                fitted = self._fitted_sklearn(analyser, checked, min_df)
                words.append(sorted(fitted.vocabulary_, key=fitted.vocabulary_.__getitem__))
                idf.append(np.asarray(fitted.idf_, dtype=np.float32))
            if not words[-1]:
                raise InputError(
                    f"{len(checked)} texts give no {analyser} vocabulary with min_df={min_df}, "
                    f"max_df={terms.max_df}; lower min_df or give texts with words"
                )
        self._take(words, idf)
        return self

    def grown(self, texts: Sequence[str], *, n_known: int) -> Self:
        """An encoder with columns for terms that only more texts have; the known ones stay.

        New terms are those that :meth:`fit` would take of these texts and that have no column; at
        most ``max_features`` in all, the most frequent ones first. Their idf is that of terms which
        none of the earlier texts has; known terms keep theirs. Only single words and pairs of words
        grow: with characters, or longer runs, and where nothing is new, it is this encoder.

        Args:
            texts: More texts.
            n_known: How many texts came before.

        Example:
            >>> encoder = TfidfEncoder().fit(["a red fox"]).grown(["a red kite"], n_known=1)
            >>> encoder.terms_
            ['a', 'fox', 'red', 'kite']
        """
        self._learned(self._parts)
        checked, terms = check_texts(texts), self.terms
        if len(self._analysers) > 1 or not self._counts_words(self._analysers[0]) or not checked:
            return self
        n_texts = n_known + len(checked)
        known = self._words()[0]
        room = None if terms.max_features is None else terms.max_features - len(known)
        if room is not None and room <= 0:
            return self
        found = choose_terms(
            word_lists(checked),
            pairs=terms.word_ngrams == 2,
            min_df=_least_texts(terms, n_texts),
            max_df=terms.max_df,
            max_features=room,
            known=known,
        )
        if not found.terms:
            return self
        twin = copy(self)
        idf = idf_of_counts(found.in_texts, n_points=n_texts)
        twin._take([[*known, *found.terms]], [np.concatenate([self._idf[0], idf])])
        return twin

    def _counts_words(self, analyser: str) -> bool:
        """Whether words are counted here; scikit-learn does what is rarely asked for."""
        return analyser == "word" and self.terms.word_ngrams <= 2 and self.terms.lowercase

    def _fitted_sklearn(self, analyser: str, texts: list[str], min_df: int) -> Any:
        terms = self.terms
        part = self._sklearn(
            analyser, min_df=min_df, max_df=terms.max_df, max_features=terms.max_features
        )
        try:
            return part.fit(texts)
        except ValueError as error:
            raise InputError(
                f"{len(texts)} texts give no {analyser} vocabulary with min_df={min_df}, "
                f"max_df={terms.max_df} ({error}); lower min_df or give texts with words"
            ) from None

    def _take(self, words: list[list[str]], idf: list[Float32Array]) -> None:
        """Make what counts of terms and idf alone: fitted or loaded, it is the same."""
        parts: list[Any] = []
        for analyser, terms, weights in zip(self._analysers, words, idf, strict=True):
            if self._counts_words(analyser):
                parts.append(WordTerms(terms))
                continue
            part = self._sklearn(analyser, vocabulary={term: n for n, term in enumerate(terms)})
            part.idf_ = weights
            parts.append(part)
        self._idf, self._parts = idf, parts

    def encode(self, texts: Sequence[str]) -> sp.csr_matrix:
        """Return B x V float32 CSR, rows of length 1 or empty."""
        return self.encode_rows(texts).matrix()

    def encode_rows(self, texts: Sequence[str]) -> SparseRows:
        """What :meth:`encode` gives, as the ranking takes it: no matrix is made and checked."""
        checked, parts = check_texts(texts), self._learned(self._parts)
        if not checked:
            return sparse_rows(sp.csr_matrix((0, self.dim), dtype=np.float32))
        if len(parts) == 1 and isinstance(parts[0], WordTerms):
            words, sublinear = word_lists(checked), self.terms.sublinear_tf
            return parts[0].rows(words, self._idf[0], sublinear=sublinear)
        blocks = [
            part.rows(word_lists(checked), idf, sublinear=self.terms.sublinear_tf).matrix()
            if isinstance(part, WordTerms)
            else sp.csr_matrix(part.transform(checked), dtype=np.float32)
            for part, idf in zip(parts, self._idf, strict=True)
        ]
        matrix = blocks[0]
        if len(blocks) > 1:
            matrix = sp.csr_matrix(sp.hstack(blocks, format="csr", dtype=np.float32))
            scale_to_length_1(matrix)
        matrix.sort_indices()
        matrix.sum_duplicates()
        return sparse_rows(matrix)

    def _config(self) -> dict[str, Any]:
        return asdict(self.terms)

    def _arrays(self) -> dict[str, Float32Array]:
        self._learned(self._parts)
        return {f"idf_{number}": idf for number, idf in enumerate(self._idf)}

    def _restore(self, directory: Path, arrays: dict[str, Any]) -> None:
        words = read_json(directory / VOCABULARY_FILE)
        idf = [arrays.get(f"idf_{number}") for number in range(len(words))]
        fits = len(words) == len(self._analysers) and all(
            values is not None and values.shape == (len(terms),)
            for terms, values in zip(words, idf, strict=True)
        )
        if not fits:
            raise ModelFormatError(
                f"{directory}: vocabulary and idf do not fit together; save the encoder again"
            )
        self._take(words, [values for values in idf if values is not None])

    def _content_digest(self) -> str:
        return digest([self._words(), digest_arrays(self._arrays())])

    def write_vocabulary(self, directory: Path) -> None:
        """Write the terms as JSON: a character n-gram may hold any character, a newline too."""
        write_json(directory / VOCABULARY_FILE, self._words())

    def _save_into(self, directory: Path) -> None:
        self.write_vocabulary(directory)
        super()._save_into(directory)


def _least_texts(terms: Terms, n_texts: int) -> int:
    """In how many of so many texts a term must stand."""
    return terms.min_df if terms.min_df is not None else (2 if n_texts >= 1000 else 1)


def scale_to_length_1(matrix: sp.csr_matrix) -> None:
    """Scale the rows of a float32 CSR matrix to length 1 in place; empty ones stay."""
    norm_B = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1), np.float64)).ravel()
    scale_B = (1.0 / np.where(norm_B > 0, norm_B, 1.0)).astype(np.float32)
    matrix.data *= np.repeat(scale_B, np.diff(matrix.indptr))
