"""Tokenising and tf-idf weighting with a fitted vocabulary, shared by the lexical encoders."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import scipy.sparse as sp

from learned_index.encoders.base import digest, digest_arrays, normalise_rows
from learned_index.errors import InputError, ModelFormatError, NotFittedError
from learned_index.inputs.numbers import real_number, whole_number
from learned_index.persistence import read_json, write_json
from learned_index.types import Float32Array

VOCABULARY_FILE = "vocabulary.json"
Analyser = Literal["word", "char", "word+char"]


@dataclass(frozen=True, kw_only=True)
class VectoriserConfig:
    """How texts become terms.

    Attributes:
        analyser: ``"word"``: runs of letters, digits and underscores, also single ones;
            ``"char"``: character n-grams inside words; ``"word+char"``: both side by side.
        word_ngrams: Longest run of words that is one term (1: single words, 2: pairs too).
        char_ngrams: Shortest and longest character n-gram.
        min_df: Terms in fewer training texts are dropped. None: 2, or 1 below 1,000 texts,
            where dropping rare terms costs more than it saves.
        max_df: Terms in a larger share of the training texts are dropped, in (0, 1].
        max_features: At most so many terms of each analyser, the most frequent ones.
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
        object.__setattr__(self, "char_ngrams", (shortest, longest))
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


class TextVectoriser:
    """Texts to L2-normalised tf-idf rows, with a vocabulary fitted once.

    scikit-learn's ``TfidfVectorizer`` fits and tokenises. A text without a known term gives an
    empty row.

    Attributes:
        config: How texts become terms.
        terms_: For each analyser the terms in column order; empty before :meth:`fit`.
        idf_: For each analyser the float32 inverse document frequency of its terms.
    """

    def __init__(self, config: VectoriserConfig) -> None:
        self.config = config
        self.terms_: list[list[str]] = []
        self.idf_: list[Float32Array] = []
        self._parts: list[Any] = []

    @property
    def n_terms(self) -> int:
        """Number of columns.

        Raises:
            NotFittedError: Before :meth:`fit`.
        """
        self._check_fitted()
        return sum(len(terms) for terms in self.terms_)

    def _check_fitted(self) -> None:
        if not self._parts:
            raise NotFittedError("the encoder has no vocabulary yet; call fit(train_texts) first")

    def _analysers(self) -> list[str]:
        return self.config.analyser.split("+")

    def _sklearn(self, analyser: str, **extra: Any) -> Any:
        from sklearn.feature_extraction.text import TfidfVectorizer

        config = self.config
        ngrams = (1, config.word_ngrams) if analyser == "word" else config.char_ngrams
        return TfidfVectorizer(
            analyzer="word" if analyser == "word" else "char_wb",
            token_pattern=r"(?u)\b\w+\b" if analyser == "word" else None,
            ngram_range=ngrams,
            lowercase=config.lowercase,
            sublinear_tf=config.sublinear_tf,
            norm="l2",
            dtype=np.float32,
            **extra,
        )

    def fit(self, texts: list[str]) -> Self:
        """Collect the vocabulary and the document frequencies.

        Raises:
            InputError: No texts, or none of them has a term that the limits keep.
        """
        if not texts:
            raise InputError("got no texts to fit the vocabulary on; expected 1 or more")
        config = self.config
        min_df = config.min_df if config.min_df is not None else (2 if len(texts) >= 1000 else 1)
        parts = []
        for analyser in self._analysers():
            part = self._sklearn(
                analyser, min_df=min_df, max_df=config.max_df, max_features=config.max_features
            )
            try:
                part.fit(texts)
            except ValueError as error:
                raise InputError(
                    f"{len(texts)} texts give no {analyser} vocabulary with min_df={min_df}, "
                    f"max_df={config.max_df} ({error}); lower min_df or give texts with words"
                ) from None
            parts.append(part)
        self.terms_ = [sorted(part.vocabulary_, key=part.vocabulary_.__getitem__) for part in parts]
        self.idf_ = [np.asarray(part.idf_, dtype=np.float32) for part in parts]
        self._rebuild()
        return self

    def _rebuild(self) -> None:
        """Make the transformers anew from terms and idf, the only thing that is saved."""
        self._parts = []
        for analyser, terms, idf in zip(self._analysers(), self.terms_, self.idf_, strict=True):
            part = self._sklearn(
                analyser, vocabulary={term: column for column, term in enumerate(terms)}
            )
            part.idf_ = idf
            self._parts.append(part)

    def transform(self, texts: list[str]) -> sp.csr_matrix:
        """Return B x V float32 CSR: sorted columns, no duplicates, rows of length 1 or empty."""
        self._check_fitted()
        if not texts:
            return sp.csr_matrix((0, self.n_terms), dtype=np.float32)
        blocks = [sp.csr_matrix(part.transform(texts), dtype=np.float32) for part in self._parts]
        matrix = blocks[0]
        if len(blocks) > 1:
            matrix = sp.csr_matrix(sp.hstack(blocks, format="csr", dtype=np.float32))
            norm_B = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1), np.float64)).ravel()
            scale_B = (1.0 / np.where(norm_B > 0, norm_B, 1.0)).astype(np.float32)
            matrix.data *= np.repeat(scale_B, np.diff(matrix.indptr))
        matrix.sort_indices()
        matrix.sum_duplicates()
        return matrix

    def config_dict(self) -> dict[str, Any]:
        """Return the configuration as JSON-able data."""
        return {**asdict(self.config), "char_ngrams": list(self.config.char_ngrams)}

    def arrays(self) -> dict[str, Float32Array]:
        """Return what goes into safetensors: ``idf_0`` and so on."""
        self._check_fitted()
        return {f"idf_{number}": idf for number, idf in enumerate(self.idf_)}

    def content_digest(self) -> str:
        """SHA-256 of vocabulary and idf."""
        return digest([self.terms_, digest_arrays(self.arrays())])

    def write_vocabulary(self, directory: Path) -> None:
        """Write the terms as JSON: a character n-gram may hold any character, a newline too."""
        self._check_fitted()
        write_json(directory / VOCABULARY_FILE, self.terms_)

    @classmethod
    def read(cls, directory: Path, config: dict[str, Any], arrays: dict[str, Float32Array]) -> Self:
        """Build a fitted vectoriser from a saved vocabulary and arrays.

        Raises:
            ModelFormatError: Vocabulary and idf do not fit together.
        """
        vectoriser = cls(
            VectoriserConfig(**{**config, "char_ngrams": tuple(config["char_ngrams"])})
        )
        terms = read_json(directory / VOCABULARY_FILE)
        idf = [arrays.get(f"idf_{number}") for number in range(len(terms))]
        fits = len(terms) == len(vectoriser._analysers()) and all(
            values is not None and values.shape == (len(words),)
            for words, values in zip(terms, idf, strict=True)
        )
        if not fits:
            raise ModelFormatError(
                f"{directory}: vocabulary and idf do not fit together; save the encoder again"
            )
        vectoriser.terms_ = terms
        vectoriser.idf_ = [values for values in idf if values is not None]
        vectoriser._rebuild()
        return vectoriser


def project_rows(matrix: sp.csr_matrix, components_VD: Float32Array) -> Float32Array:
    """Multiply CSR rows with dense components and normalise the rows.

    SciPy sums each row by itself in column order, so the bits of a row do not depend on the
    other rows of the batch; a BLAS product would not promise that.

    Args:
        matrix: B x V float32 CSR.
        components_VD: V x D float32.

    Returns:
        B x D float32, rows of length 1 or zero.
    """
    return normalise_rows(np.asarray(matrix @ components_VD, dtype=np.float32))
