"""A trainable bag of words: weighted sums of word vectors, made for CPU.

Legend: B texts, T terms of all B texts together, V rows of the table, D dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Self, Unpack

import numpy as np
import torch

from learned_index.encoders.base import check_texts
from learned_index.encoders.lexical.bags import BagEncoder, Gradient
from learned_index.encoders.lexical.bow_search import BagOfWordsSearchEncoder
from learned_index.encoders.lexical.lsa import truncated_svd
from learned_index.encoders.lexical.summed import Normalise
from learned_index.encoders.lexical.tfidf import WordOptions
from learned_index.errors import InputError


class BagOfWordsEncoder(BagEncoder, BagOfWordsSearchEncoder):
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
        self._take(dim, vocabulary, n_buckets, init, gradient, seed, terms)

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
            drawn_VD = torch.randn(n_rows, self.dim, generator=generator) / self.dim**0.5
            table_VD = drawn_VD.numpy()
        else:
            # Texts may give fewer singular vectors than dimensions; the other columns stay zero.
            table_VD = np.zeros((n_rows, self.dim), np.float32)
            matrix = self._rows(checked).matrix()
            if matrix.nnz:
                rank = min(self.dim, *matrix.shape)
                vectors_VR = truncated_svd(matrix, rank, seed=seed, n_iter=4)
                table_VD[:, :rank] = vectors_VR
        self._make_table(table_VD)
        return self

    def for_search(self) -> BagOfWordsSearchEncoder:
        """This encoder as compiled models hold it: it encodes alike, and needs no torch."""
        return self._for_search(BagOfWordsSearchEncoder, ("_tfidf",))
