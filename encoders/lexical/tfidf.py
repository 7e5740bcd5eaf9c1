"""Sparse tf-idf vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import scipy.sparse as sp

from learned_index.encoders.base import ARRAYS_FILE, EncoderBase, check_texts
from learned_index.encoders.lexical.vectoriser import Analyser, TextVectoriser, VectoriserConfig
from learned_index.persistence import save_arrays
from learned_index.persistence.contents import load_finite_arrays


class TfidfEncoder(EncoderBase):
    """Texts to sparse tf-idf rows of length 1: for clustering, nearest neighbours and ranking.

    ``encode`` returns canonical CSR float32. A text without a known word is an empty row, so
    the empty text is the zero vector. A row's bits do not depend on the batch.

    Args:
        analyser: ``"word"``, ``"char"`` (n-grams inside words: robust to spelling and
            inflection, several times slower) or ``"word+char"``.
        word_ngrams: Longest run of words that is one term (2: pairs too).
        char_ngrams: Shortest and longest character n-gram.
        min_df: Drop terms in fewer texts. None: 2, or 1 when fitted on fewer than 1,000 texts.
        max_df: Drop terms in a larger share of the texts, in (0, 1].
        max_features: At most so many terms of each analyser, the most frequent; None: all.
        sublinear_tf: 1 + log(count) in place of the count.
        lowercase: Fold case first.

    Example:
        >>> x = TfidfEncoder().fit(["a red fox", "a blue sky"]).encode(["red sky"])
        >>> x.shape, x.nnz
        ((1, 5), 2)
    """

    kind: ClassVar[str] = "tfidf"
    sparse: ClassVar[bool] = True

    def __init__(
        self,
        *,
        analyser: Analyser = "word",
        word_ngrams: int = 1,
        char_ngrams: tuple[int, int] = (3, 5),
        min_df: int | None = None,
        max_df: float = 1.0,
        max_features: int | None = 200_000,
        sublinear_tf: bool = True,
        lowercase: bool = True,
    ) -> None:
        self._vectoriser = TextVectoriser(
            VectoriserConfig(
                analyser=analyser,
                word_ngrams=word_ngrams,
                char_ngrams=char_ngrams,
                min_df=min_df,
                max_df=max_df,
                max_features=max_features,
                sublinear_tf=sublinear_tf,
                lowercase=lowercase,
            )
        )

    @property
    def dim(self) -> int:
        """Number of terms.

        Raises:
            NotFittedError: Before :meth:`fit`.
        """
        return self._vectoriser.n_terms

    @property
    def terms_(self) -> list[str]:
        """The terms in column order; those of several analysers follow one another."""
        return [term for terms in self._vectoriser.terms_ for term in terms]

    def fit(self, texts: Sequence[str]) -> Self:
        """Collect vocabulary and document frequencies.

        Raises:
            InputError: No texts, or no term is left.
        """
        self._vectoriser.fit(check_texts(texts))
        return self

    def encode(self, texts: Sequence[str]) -> sp.csr_matrix:
        """Return B x V float32 CSR, rows of length 1 or empty."""
        return self._vectoriser.transform(check_texts(texts))

    def _config(self) -> dict[str, Any]:
        return self._vectoriser.config_dict()

    def _content_digest(self) -> str:
        return self._vectoriser.content_digest()

    def _write(self, directory: Path) -> None:
        self._vectoriser.write_vocabulary(directory)
        save_arrays(directory / ARRAYS_FILE, self._vectoriser.arrays())

    @classmethod
    def _read(cls, directory: Path, config: dict[str, Any]) -> Self:
        encoder = cls(**{**config, "char_ngrams": tuple(config["char_ngrams"])})
        arrays = load_finite_arrays(directory / ARRAYS_FILE)
        encoder._vectoriser = TextVectoriser.read(directory, config, arrays)
        return encoder
