"""A trainable bag of words: weighted sums of word vectors, made for CPU.

Legend: B texts, T terms of all B texts together, V rows of the table, D dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, Unpack

import numpy as np
import scipy.sparse as sp
import torch

from learned_index.encoders.base import check_choice, check_texts, digest_arrays
from learned_index.encoders.lexical.bags import BagEncoder, Gradient, Normalise
from learned_index.encoders.lexical.lsa import truncated_svd
from learned_index.encoders.lexical.tfidf import TfidfEncoder, WordOptions, scale_to_length_1
from learned_index.encoders.lexical.words import WORDS
from learned_index.errors import InputError, ModelFormatError
from learned_index.inputs.matrices import SparseRows, sparse_rows
from learned_index.inputs.numbers import whole_number
from learned_index.system.extras import require
from learned_index.types import Float32Array


class BagOfWordsEncoder(BagEncoder):
    """Texts to dense vectors: x = Σ_t weight_t · E_t, then length 1; E is trained.

    ``fit`` collects the terms and initialises the table E; with the SVD warm start the encoder
    then gives the vectors of :class:`~learned_index.encoders.LSAEncoder`, and training goes
    on from there. The empty text, and a text of unknown words, is the zero vector. A row's bits
    do not depend on the batch.

    Args:
        dim: Vector length D.
        vocabulary: ``"fitted"``: one row of E for each term of the training texts, unknown
            words are dropped. ``"hashed"``: words share ``n_buckets`` rows by a hash, so no
            vocabulary is kept and no word is unknown; every word weighs 1 + log(count).
        n_buckets: Rows of E with ``"hashed"``.
        init: ``"svd"``: singular vectors of the training texts; ``"random"``: normal numbers of
            standard deviation 1/√D.
        gradient: Type of the table's gradient, ``"sparse"`` touches only the rows in the batch
            (for ``torch.optim.SparseAdam``).
        normalise: ``"l2"`` or ``"none"``.
        seed: Seed of the initialisation.
        **terms: ``word_ngrams``, ``min_df`` and ``max_features``; see
            :class:`~learned_index.encoders.lexical.tfidf.Terms`.

    Inputs of ``forward``: texts, or :class:`Bags` from :meth:`tokenize`. Output: B x D float32.

    Example:
        >>> encoder = BagOfWordsEncoder(dim=2).fit(["a red fox", "a blue sky"])
        >>> x_BD = encoder(encoder.tokenize(["red sky"]))
        >>> x_BD.shape, x_BD.requires_grad
        (torch.Size([1, 2]), True)
    """

    kind: ClassVar[str] = "bow"

    def __init__(
        self,
        dim: int = 256,
        *,
        vocabulary: Literal["fitted", "hashed"] = "fitted",
        n_buckets: int = 2**17,
        init: Literal["svd", "random"] = "svd",
        gradient: Gradient = "dense",
        normalise: Normalise = "l2",
        seed: int = 0,
        **terms: Unpack[WordOptions],
    ) -> None:
        super().__init__(gradient=gradient, normalise=normalise)
        self._settings: dict[str, Any] = {
            "dim": whole_number(dim, "dim"),
            "vocabulary": check_choice("vocabulary", vocabulary, ("fitted", "hashed")),
            "n_buckets": whole_number(n_buckets, "n_buckets"),
            "init": check_choice("init", init, ("svd", "random")),
            "gradient": gradient,
            "normalise": normalise,
            "seed": whole_number(seed, "seed", low=0, high=2**32 - 1),
        }
        self._tfidf = TfidfEncoder(**terms)
        self._is_hashed = vocabulary == "hashed"
        self._hasher: Any = None

    @property
    def dim(self) -> int:
        """Vector length D."""
        return int(self._settings["dim"])

    def fit(self, texts: Sequence[str]) -> Self:
        """Collect the terms of N texts and initialise the table (again).

        Make the optimiser afterwards: the table is a new parameter.

        Raises:
            InputError: No texts, or no term is left.
        """
        checked = check_texts(texts)
        if not checked:
            raise InputError("got no texts to fit the encoder on; expected 1 or more")
        if not self._is_hashed:
            self._tfidf.fit(checked)
        n_rows = self._n_rows()
        seed = self._settings["seed"]
        if self._settings["init"] == "random":
            generator = torch.Generator().manual_seed(seed)
            table_VD = torch.randn(n_rows, self.dim, generator=generator) / self.dim**0.5
        else:
            # Texts may give fewer singular vectors than dimensions; the other columns stay zero.
            table_VD = torch.zeros(n_rows, self.dim)
            matrix = self._rows(checked).matrix()
            if matrix.nnz:
                rank = min(self.dim, *matrix.shape)
                vectors_VR = truncated_svd(matrix, rank, seed=seed, n_iter=4)
                table_VD[:, :rank] = torch.from_numpy(vectors_VR)
        self._make_table(table_VD)
        return self

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
        self._make_table(torch.from_numpy(table_VD))

    def _content_digest(self) -> str:
        words = "" if self._is_hashed else self._tfidf._content_digest()
        return words + digest_arrays({"table": self._table_array()})

    def _save_into(self, directory: Path) -> None:
        self._table()
        if not self._is_hashed:
            self._tfidf.write_vocabulary(directory)
        super()._save_into(directory)
