"""A trainable bag of words: weighted sums of word vectors, made for CPU.

Legend: B texts, T terms of all B texts together, V rows of the table, D dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from learned_index.encoders.base import ARRAYS_FILE, EncoderBase, check_texts, digest_arrays
from learned_index.encoders.lexical.lsa import truncated_svd
from learned_index.encoders.lexical.vectoriser import TextVectoriser, VectoriserConfig
from learned_index.errors import InputError, ModelFormatError, NotFittedError
from learned_index.inputs.numbers import whole_number
from learned_index.persistence import save_arrays
from learned_index.persistence.contents import load_finite_arrays
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
        word_ngrams: Longest run of words that is one term.
        min_df: Drop terms in fewer texts. None: 2, or 1 when fitted on fewer than 1,000 texts.
        max_features: At most so many terms.

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
        word_ngrams: int = 1,
        min_df: int | None = None,
        max_features: int | None = 200_000,
    ) -> None:
        super().__init__()
        for name, value, choices in (
            ("vocabulary", vocabulary, ("fitted", "hashed")),
            ("init", init, ("svd", "random")),
            ("gradient", gradient, ("dense", "sparse")),
            ("normalise", normalise, ("l2", "none")),
        ):
            if value not in choices:
                raise InputError(f"{name} is {value!r}, expected one of {', '.join(choices)}")
        self._settings: dict[str, Any] = {
            "dim": whole_number(dim, "dim"),
            "vocabulary": vocabulary,
            "n_buckets": whole_number(n_buckets, "n_buckets"),
            "init": init,
            "gradient": gradient,
            "normalise": normalise,
            "seed": whole_number(seed, "seed", low=0, high=2**32 - 1),
            "word_ngrams": whole_number(word_ngrams, "word_ngrams"),
            "min_df": min_df,
            "max_features": max_features,
        }
        self._vectoriser = TextVectoriser(
            VectoriserConfig(word_ngrams=word_ngrams, min_df=min_df, max_features=max_features)
        )
        self._hasher: Any = None
        self.bag: nn.EmbeddingBag | None = None

    @property
    def dim(self) -> int:
        """Vector length D."""
        return int(self._settings["dim"])

    def _table(self) -> nn.EmbeddingBag:
        if self.bag is None:
            raise NotFittedError(
                "the bag-of-words encoder is not fitted; call fit(train_texts) first"
            )
        return self.bag

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
        if self._settings["vocabulary"] == "fitted":
            self._vectoriser.fit(checked)
            n_rows = self._vectoriser.n_terms
        else:
            n_rows = self._settings["n_buckets"]
        seed = self._settings["seed"]
        if self._settings["init"] == "random":
            generator = torch.Generator().manual_seed(seed)
            table_VD = torch.randn(n_rows, self.dim, generator=generator) / self.dim**0.5
        else:
            table_VD = torch.zeros(n_rows, self.dim)
            matrix = self._matrix(checked)
            if matrix.nnz:
                rank = min(self.dim, *matrix.shape)
                vectors_VR = truncated_svd(matrix, rank, seed=seed, n_iter=4)
                table_VD[:, :rank] = torch.from_numpy(vectors_VR)
        self._make_table(table_VD)
        return self

    def _matrix(self, texts: list[str]) -> sp.csr_matrix:
        """Weights of the terms, B x V CSR with rows of length 1 or empty."""
        if self._settings["vocabulary"] == "fitted":
            return self._vectoriser.transform(texts)
        if self._hasher is None:
            from sklearn.feature_extraction.text import HashingVectorizer

            self._hasher = HashingVectorizer(
                n_features=self._settings["n_buckets"],
                token_pattern=r"(?u)\b\w+\b",
                ngram_range=(1, self._settings["word_ngrams"]),
                alternate_sign=False,
                norm=None,
                dtype=np.float32,
            )
        if not texts:
            return sp.csr_matrix((0, self._settings["n_buckets"]), dtype=np.float32)
        matrix = sp.csr_matrix(self._hasher.transform(texts), dtype=np.float32)
        matrix.sum_duplicates()
        matrix.data = 1 + np.log(matrix.data)
        norm_B = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1), np.float64)).ravel()
        scale_B = (1.0 / np.where(norm_B > 0, norm_B, 1.0)).astype(np.float32)
        matrix.data *= np.repeat(scale_B, np.diff(matrix.indptr))
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
        """Encode what :meth:`tokenize_all` gave, without gradients.

        Args:
            tokens: N x V CSR.
            out: N x D float32 to write into, may be memory-mapped.

        Returns:
            N x D float32.
        """
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
        return dict(self._settings)

    def _arrays(self) -> dict[str, Float32Array]:
        table: Float32Array = self._table().weight.detach().cpu().numpy()
        fitted = self._settings["vocabulary"] == "fitted"
        return {**(self._vectoriser.arrays() if fitted else {}), "table": table}

    def _content_digest(self) -> str:
        fitted = self._settings["vocabulary"] == "fitted"
        terms = self._vectoriser.content_digest() if fitted else ""
        return terms + digest_arrays({"table": self._arrays()["table"]})

    def _write(self, directory: Path) -> None:
        arrays = self._arrays()
        if self._settings["vocabulary"] == "fitted":
            self._vectoriser.write_vocabulary(directory)
        save_arrays(directory / ARRAYS_FILE, arrays)

    @classmethod
    def _read(cls, directory: Path, config: dict[str, Any]) -> Self:
        encoder = cls(**config)
        arrays = load_finite_arrays(directory / ARRAYS_FILE)
        table_VD = arrays["table"]
        n_rows = encoder._settings["n_buckets"]
        if config["vocabulary"] == "fitted":
            lexical = encoder._vectoriser.config_dict()
            encoder._vectoriser = TextVectoriser.read(directory, lexical, arrays)
            n_rows = encoder._vectoriser.n_terms
        if table_VD.shape != (n_rows, encoder.dim):
            raise ModelFormatError(
                f"{directory}: the table has shape {table_VD.shape}, expected "
                f"{(n_rows, encoder.dim)}; save the encoder again"
            )
        encoder._make_table(torch.from_numpy(table_VD))
        return encoder
