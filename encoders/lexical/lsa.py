"""Latent semantic analysis: tf-idf and a truncated singular value decomposition."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp

from learned_index.encoders.base import ARRAYS_FILE, EncoderBase, check_texts, digest_arrays
from learned_index.encoders.lexical.vectoriser import (
    Analyser,
    TextVectoriser,
    VectoriserConfig,
    project_rows,
)
from learned_index.errors import ModelFormatError, NotFittedError
from learned_index.inputs.numbers import whole_number
from learned_index.persistence import save_arrays
from learned_index.persistence.contents import load_finite_arrays, require_layout
from learned_index.types import Float32Array

logger = logging.getLogger(__name__)


def truncated_svd(matrix: sp.csr_matrix, dim: int, *, seed: int, n_iter: int) -> Float32Array:
    """Right singular vectors of a sparse matrix, the largest first (randomised, seeded).

    BLAS runs on one thread meanwhile, and each vector's entry of largest magnitude is made
    positive: the same seed gives the same bits at any thread count. (The sparse products, which
    take most of the time, use one thread anyway.)

    Args:
        matrix: N x V float32 CSR.
        dim: Number of vectors D, at most min(N, V).
        seed: Seed of the random projection.
        n_iter: Power iterations; more of them separate close singular values better.

    Returns:
        V x D float32, orthonormal columns.
    """
    from sklearn.utils.extmath import randomized_svd
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        _, _, rows_DV = randomized_svd(matrix, n_components=dim, n_iter=n_iter, random_state=seed)
    peak_D = np.abs(rows_DV).argmax(axis=1)
    sign_D = np.where(rows_DV[np.arange(len(rows_DV)), peak_D] < 0, -1, 1)
    components: Float32Array = np.ascontiguousarray((rows_DV * sign_D[:, None]).T, np.float32)
    return components


class LSAEncoder(EncoderBase):
    """Texts to dense vectors: tf-idf projected on the leading singular vectors, length 1.

    Fitted on the training texts alone, in seconds. The empty text, and a text of unknown words,
    is the zero vector. A row's bits do not depend on the batch.

    Args:
        dim: Vector length D. With fewer texts or terms than that, their number is used.
        seed: Seed of the randomised decomposition.
        n_iter: Its power iterations.
        analyser: See :class:`~learned_index.encoders.TfidfEncoder`, as all that follow.
        word_ngrams: Longest run of words that is one term.
        char_ngrams: Shortest and longest character n-gram.
        min_df: Drop terms in fewer texts.
        max_df: Drop terms in a larger share of the texts.
        max_features: At most so many terms.
        sublinear_tf: 1 + log(count) in place of the count.
        lowercase: Fold case first.
    """

    kind: ClassVar[str] = "lsa"

    def __init__(
        self,
        dim: int = 256,
        *,
        seed: int = 0,
        n_iter: int = 4,
        analyser: Analyser = "word",
        word_ngrams: int = 1,
        char_ngrams: tuple[int, int] = (3, 5),
        min_df: int | None = None,
        max_df: float = 1.0,
        max_features: int | None = 200_000,
        sublinear_tf: bool = True,
        lowercase: bool = True,
    ) -> None:
        self._requested_dim = whole_number(dim, "dim")
        self.seed = whole_number(seed, "seed", low=0, high=2**32 - 1)
        self.n_iter = whole_number(n_iter, "n_iter", low=0)
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
        self._components_VD: Float32Array | None = None

    @property
    def dim(self) -> int:
        """Vector length: what was asked for, after :meth:`fit` what the texts gave."""
        if self._components_VD is None:
            return self._requested_dim
        return int(self._components_VD.shape[1])

    @property
    def components_(self) -> Float32Array:
        """Right singular vectors, V x D float32, one row a term.

        Raises:
            NotFittedError: Before :meth:`fit`.
        """
        if self._components_VD is None:
            raise NotFittedError("the LSA encoder is not fitted; call fit(train_texts) first")
        return self._components_VD

    def fit(self, texts: Sequence[str]) -> Self:
        """Fit the vocabulary and the decomposition on N texts.

        Raises:
            InputError: No texts, or no term is left.
        """
        checked = check_texts(texts)
        matrix = self._vectoriser.fit(checked).transform(checked)
        dim = min(self._requested_dim, *matrix.shape)
        if dim < self._requested_dim:
            logger.info("LSA: %d x %d texts and terms give %d dimensions", *matrix.shape, dim)
        self._components_VD = truncated_svd(matrix, dim, seed=self.seed, n_iter=self.n_iter)
        return self

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Return B x D float32, rows of length 1 or zero."""
        components_VD = self.components_
        return project_rows(self._vectoriser.transform(check_texts(texts)), components_VD)

    def _config(self) -> dict[str, Any]:
        own = {"dim": self._requested_dim, "seed": self.seed, "n_iter": self.n_iter}
        return own | self._vectoriser.config_dict()

    def _arrays(self) -> dict[str, Float32Array]:
        return {**self._vectoriser.arrays(), "components": self.components_}

    def _content_digest(self) -> str:
        return self._vectoriser.content_digest() + digest_arrays({"components": self.components_})

    def _write(self, directory: Path) -> None:
        arrays = self._arrays()
        self._vectoriser.write_vocabulary(directory)
        save_arrays(directory / ARRAYS_FILE, arrays)

    @classmethod
    def _read(cls, directory: Path, config: dict[str, Any]) -> Self:
        encoder = cls(**{**config, "char_ngrams": tuple(config["char_ngrams"])})
        arrays = load_finite_arrays(directory / ARRAYS_FILE)
        lexical = {key: config[key] for key in VectoriserConfig.__dataclass_fields__}
        encoder._vectoriser = TextVectoriser.read(directory, lexical, arrays)
        shape = (encoder._vectoriser.n_terms, *arrays["components"].shape[1:])
        require_layout(arrays, {"components": (np.float32, shape)})
        if len(shape) != 2:
            raise ModelFormatError(f"{directory}: the components are no matrix; copy it again")
        encoder._components_VD = arrays["components"]
        return encoder
