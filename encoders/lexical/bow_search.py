"""The bag of words as far as it only encodes: without torch.

Legend: B texts, V rows of the table, D dimension.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, Unpack

import numpy as np
import scipy.sparse as sp

from learned_index.encoders.base import check_choice, digest_arrays
from learned_index.encoders.lexical.summed import Normalise, SummedEncoder
from learned_index.encoders.lexical.tfidf import TfidfEncoder, WordOptions, scale_to_length_1
from learned_index.encoders.lexical.words import WORDS
from learned_index.errors import ModelFormatError
from learned_index.inputs.matrices import SparseRows, sparse_rows
from learned_index.inputs.numbers import whole_number
from learned_index.system.extras import require
from learned_index.types import Float32Array


class BagOfWordsSearchEncoder(SummedEncoder):
    """What a compiled model keeps of a :class:`~learned_index.encoders.BagOfWordsEncoder`.

    One with a hashed vocabulary needs scikit-learn, which hashes.

    Args:
        **settings: As of that.
    """

    kind: ClassVar[str] = "bow"

    def __init__(
        self,
        dim: int,
        *,
        vocabulary: Literal["fitted", "hashed"],
        n_buckets: int,
        init: Literal["svd", "random"],
        gradient: Literal["dense", "sparse"],
        normalise: Normalise,
        seed: int,
        **terms: Unpack[WordOptions],
    ) -> None:
        super().__init__(normalise=normalise)
        self._take(dim, vocabulary, n_buckets, init, gradient, seed, terms)

    def _take(
        self,
        dim: int,
        vocabulary: str,
        n_buckets: int,
        init: str,
        gradient: str,
        seed: int,
        terms: WordOptions,
    ) -> None:
        """Check and keep the arguments of the constructor."""
        self._settings = {
            "dim": whole_number(dim, "dim"),
            "vocabulary": check_choice("vocabulary", vocabulary, ("fitted", "hashed")),
            "n_buckets": whole_number(n_buckets, "n_buckets"),
            "init": check_choice("init", init, ("svd", "random")),
            "gradient": gradient,
            "normalise": self._normalise,
            "seed": whole_number(seed, "seed", low=0, high=2**32 - 1),
        }
        self._tfidf = TfidfEncoder(**terms)
        self._is_hashed = vocabulary == "hashed"
        self._hasher: Any = None

    @property
    def dim(self) -> int:
        """Vector length D."""
        return int(self._settings["dim"])

    def _n_rows(self) -> int:
        return int(self._settings["n_buckets"]) if self._is_hashed else self._tfidf.dim

    def _rows(self, texts: list[str]) -> SparseRows:
        """Weights of the terms, B x V, rows of length 1 or empty."""
        if self._is_hashed:
            return sparse_rows(self._hashed(texts))
        return self._tfidf.encode_rows(texts)

    def _hashed(self, texts: list[str]) -> sp.csr_matrix:
        if self._hasher is None:
            self._hasher = require("sklearn.feature_extraction.text").HashingVectorizer(
                n_features=self._settings["n_buckets"],
                token_pattern=WORDS,
                ngram_range=(1, self._tfidf.terms.word_ngrams),
                alternate_sign=False,
                norm=None,
                dtype=np.float32,
            )
        if not texts:
            return sp.csr_matrix((0, self._settings["n_buckets"]), dtype=np.float32)
        matrix = sp.csr_matrix(self._hasher.transform(texts), dtype=np.float32)
        matrix.sum_duplicates()
        matrix.data = 1 + np.log(matrix.data)
        scale_to_length_1(matrix)
        return matrix

    def _config(self) -> dict[str, Any]:
        terms = self._tfidf.terms
        words = {name: getattr(terms, name) for name in WordOptions.__annotations__}
        return self._settings | words

    def _arrays(self) -> dict[str, Float32Array]:
        words = {} if self._is_hashed else self._tfidf._arrays()
        return {**words, "table": self._table_array()}

    def _restore(self, directory: Path, arrays: dict[str, Any]) -> None:
        if not self._is_hashed:
            self._tfidf._restore(directory, arrays)
        table_VD, expected = arrays["table"], (self._n_rows(), self.dim)
        if table_VD.shape != expected:
            raise ModelFormatError(
                f"{directory}: the table has shape {table_VD.shape}, expected {expected}; save the "
                "encoder again"
            )
        self._make_table(table_VD)

    def _content_digest(self) -> str:
        words = "" if self._is_hashed else self._tfidf._content_digest()
        return words + digest_arrays({"table": self._table_array()})

    def _save_into(self, directory: Path) -> None:
        self._table_array()
        if not self._is_hashed:
            self._tfidf.write_vocabulary(directory)
        super()._save_into(directory)
