"""A trainable bag of words: weighted sums of word vectors, made for CPU.

Legend: B texts, T terms of all B texts together, V rows of the table, D dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self, Unpack

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from learned_index.encoders.base import EncoderBase, check_choice, check_texts, digest_arrays
from learned_index.encoders.lexical.lsa import truncated_svd
from learned_index.encoders.lexical.tfidf import (
    WORDS,
    TfidfEncoder,
    WordOptions,
    scale_to_length_1,
)
from learned_index.errors import InputError, ModelFormatError
from learned_index.inputs.numbers import whole_number
from learned_index.system.extras import require
from learned_index.types import Float32Array, Int64Array

EPSILON = 1e-12
CHUNK_ROWS = 8192


class Bags(NamedTuple):
    """Tokenised texts, what :meth:`BagOfWordsEncoder.forward` takes.

    Attributes:
        ids: int64, T. Rows of the embedding table, text after text.
        offsets: int64, B. Where each text's ids begin.
        weights: float32, T. Tf-idf weight of each id; a text's weights have length 1.
    """

    ids: Tensor
    offsets: Tensor
    weights: Tensor

    def to(self, device: torch.device | str) -> Bags:
        """Return the bags on a device."""
        return Bags(*(part.to(device) for part in self))


class BagOfWordsEncoder(nn.Module, EncoderBase):
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
        gradient: Literal["dense", "sparse"] = "dense",
        normalise: Literal["l2", "none"] = "l2",
        seed: int = 0,
        **terms: Unpack[WordOptions],
    ) -> None:
        super().__init__()
        self._settings: dict[str, Any] = {
            "dim": whole_number(dim, "dim"),
            "vocabulary": check_choice("vocabulary", vocabulary, ("fitted", "hashed")),
            "n_buckets": whole_number(n_buckets, "n_buckets"),
            "init": check_choice("init", init, ("svd", "random")),
            "gradient": check_choice("gradient", gradient, ("dense", "sparse")),
            "normalise": check_choice("normalise", normalise, ("l2", "none")),
            "seed": whole_number(seed, "seed", low=0, high=2**32 - 1),
        }
        self._tfidf = TfidfEncoder(**terms)
        self._is_hashed = vocabulary == "hashed"
        self._hasher: Any = None
        self.bag: nn.EmbeddingBag | None = None

    @property
    def dim(self) -> int:
        """Vector length D."""
        return int(self._settings["dim"])

    def _table(self) -> nn.EmbeddingBag:
        return self._learned(self.bag)

    def _make_table(self, table_VD: Tensor) -> None:
        n_rows, dim = table_VD.shape
        self.bag = nn.EmbeddingBag(
            n_rows, dim, mode="sum", sparse=self._settings["gradient"] == "sparse"
        )
        with torch.no_grad():
            self.bag.weight.copy_(table_VD)

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
            matrix = self._matrix(checked)
            if matrix.nnz:
                rank = min(self.dim, *matrix.shape)
                vectors_VR = truncated_svd(matrix, rank, seed=seed, n_iter=4)
                table_VD[:, :rank] = torch.from_numpy(vectors_VR)
        self._make_table(table_VD)
        return self

    def _n_rows(self) -> int:
        return int(self._settings["n_buckets"]) if self._is_hashed else self._tfidf.dim

    def _matrix(self, texts: list[str]) -> sp.csr_matrix:
        """Weights of the terms, B x V CSR with rows of length 1 or empty."""
        if not self._is_hashed:
            return self._tfidf.encode(texts)
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

    def tokenize(self, texts: Sequence[str]) -> Bags:
        """Return ids (T), offsets (B) and weights (T) of B texts, on the table's device.

        Tokenise once before training; slices of the result are cheap to make again.
        """
        return self._bags(self.tokenize_all(texts))

    def _bags(self, matrix: sp.csr_matrix) -> Bags:
        return Bags(
            torch.from_numpy(matrix.indices.astype(np.int64)),
            torch.from_numpy(matrix.indptr[:-1].astype(np.int64)),
            torch.from_numpy(np.ascontiguousarray(matrix.data, dtype=np.float32)),
        ).to(self._table().weight.device)

    def tokenize_all(self, texts: Sequence[str]) -> sp.csr_matrix:
        """Weights of the terms of N texts, N x V CSR: for :meth:`collate`, made once."""
        self._table()
        return self._matrix(check_texts(texts))

    def collate(self, tokens: sp.csr_matrix, rows: Int64Array) -> Bags:
        """What :meth:`forward` takes for some rows of what :meth:`tokenize_all` gave."""
        return self._bags(tokens[rows])

    def encode_tokens(
        self, tokens: sp.csr_matrix, *, out: Float32Array | None = None
    ) -> Float32Array:
        """Encode what :meth:`tokenize_all` gave, without gradients: N x D float32, into ``out``."""
        vectors = np.empty((tokens.shape[0], self.dim), np.float32) if out is None else out
        with torch.no_grad():
            for start in range(0, len(vectors), CHUNK_ROWS):
                bags = self._bags(tokens[start : start + CHUNK_ROWS])
                vectors[start : start + CHUNK_ROWS] = self.forward(bags).cpu().numpy()
        return vectors

    def forward(self, texts: Sequence[str] | Bags | tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Encode with gradients.

        Args:
            texts: B texts, or their ids (T), offsets (B) and weights (T).

        Returns:
            B x D float32. Gradients flow into the table and into the weights.
        """
        table = self._table()
        tokenised = isinstance(texts, tuple) and len(texts) == 3 and torch.is_tensor(texts[0])
        ids, offsets, weights = texts if tokenised else self.tokenize(texts)  # type: ignore[arg-type]
        if len(offsets) == 0:
            return table.weight.new_zeros(0, self.dim)
        x_BD: Tensor = table(ids, offsets, per_sample_weights=weights)
        if self._settings["normalise"] == "l2":
            x_BD = nn.functional.normalize(x_BD, dim=1, eps=EPSILON)
        return x_BD

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Return B x D float32, without gradients."""
        return self.encode_tokens(self.tokenize_all(texts))

    def _config(self) -> dict[str, Any]:
        terms = self._tfidf.terms
        words = {name: getattr(terms, name) for name in WordOptions.__annotations__}
        return self._settings | words

    def _arrays(self) -> dict[str, Float32Array]:
        table: Float32Array = self._table().weight.detach().cpu().numpy()
        return {**({} if self._is_hashed else self._tfidf._arrays()), "table": table}

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
        return words + digest_arrays({"table": self._arrays()["table"]})

    def _save_into(self, directory: Path) -> None:
        self._table()
        if not self._is_hashed:
            self._tfidf.write_vocabulary(directory)
        super()._save_into(directory)
