"""Dense vectors from sparse ones by a truncated singular value decomposition.

Of the tf-idf of texts that is latent semantic analysis (:class:`LSAEncoder`); the same is done to
the features of data that come without texts (:class:`FeatureSvdEncoder`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, Unpack

import numpy as np
import scipy.sparse as sp

from learned_index.encoders.base import EncoderBase, digest_arrays, normalise_rows
from learned_index.encoders.lexical.feature_rows import FeatureRowsEncoder
from learned_index.encoders.lexical.tfidf import TermOptions, TfidfEncoder
from learned_index.errors import ModelFormatError
from learned_index.inputs.numbers import whole_number
from learned_index.persistence.contents import require_layout
from learned_index.system.extras import require
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
    decompose = require("sklearn.utils.extmath").randomized_svd
    with require("threadpoolctl").threadpool_limits(limits=1):
        _, _, rows_DV = decompose(matrix, n_components=dim, n_iter=n_iter, random_state=seed)
    peak_D = np.abs(rows_DV).argmax(axis=1)
    sign_D = np.where(rows_DV[np.arange(len(rows_DV)), peak_D] < 0, -1, 1)
    components: Float32Array = np.ascontiguousarray((rows_DV * sign_D[:, None]).T, np.float32)
    return components


class SvdEncoder(EncoderBase):
    """Points to sparse rows, and these projected on their leading singular vectors, length 1.

    A point whose sparse row is empty (the empty text, unknown words) is the zero vector. A row's
    bits do not depend on the batch.

    Args:
        sparse_rows: Makes the sparse rows; fitted along.
        dim: Vector length D. With fewer points or columns than that, their number is used.
        seed: Seed of the randomised decomposition.
        n_iter: Its power iterations.
    """

    def __init__(
        self, sparse_rows: TfidfEncoder | FeatureRowsEncoder, dim: int, *, seed: int, n_iter: int
    ) -> None:
        self.sparse_rows = sparse_rows
        self._requested_dim = whole_number(dim, "dim")
        self.seed = whole_number(seed, "seed", low=0, high=2**32 - 1)
        self.n_iter = whole_number(n_iter, "n_iter", low=0)
        self._components_VD: Float32Array | None = None

    @property
    def dim(self) -> int:
        """Vector length: what was asked for, after :meth:`fit` what the points gave."""
        components_VD = self._components_VD
        return self._requested_dim if components_VD is None else int(components_VD.shape[1])

    @property
    def components_(self) -> Float32Array:
        """Right singular vectors, V x D float32, one row a term or feature."""
        return self._learned(self._components_VD)

    def fit(self, texts: Sequence[str] | sp.csr_matrix) -> Self:
        """Fit the sparse rows and the decomposition on N points.

        Args:
            texts: What :attr:`sparse_rows` takes: texts, or CSR N x F.

        Raises:
            InputError: Another kind of points, none, or nothing is left of them.
        """
        matrix = self.sparse_rows.fit(texts).encode(texts)
        dim = min(self._requested_dim, *matrix.shape)
        if dim < self._requested_dim:
            logger.info("%s: %d x %d rows give %d dimensions", self.kind, *matrix.shape, dim)
        self._components_VD = truncated_svd(matrix, dim, seed=self.seed, n_iter=self.n_iter)
        return self

    def encode(self, texts: Sequence[str] | sp.csr_matrix) -> Float32Array:
        """Return B x D float32, rows of length 1 or zero.

        Raises:
            InputError: Another kind of points than in :meth:`fit`.
        """
        components_VD = self.components_  # first: the error of an unfitted one names this encoder
        # SciPy sums each row by itself in column order, so the bits of a row do not depend on the
        # other rows of the batch; a BLAS product would not promise that.
        product_BD = self.sparse_rows.encode(texts) @ components_VD
        return normalise_rows(np.asarray(product_BD, dtype=np.float32))

    def _config(self) -> dict[str, Any]:
        return {"dim": self._requested_dim, "seed": self.seed, "n_iter": self.n_iter}

    def _arrays(self) -> dict[str, Float32Array]:
        return {**self.sparse_rows._arrays(), "components": self.components_}

    def _restore(self, directory: Path, arrays: dict[str, Any]) -> None:
        self.sparse_rows._restore(directory, arrays)
        shape = (self.sparse_rows.dim, *arrays["components"].shape[1:])
        require_layout(arrays, {"components": (np.float32, shape)})
        if len(shape) != 2:
            raise ModelFormatError(f"{directory}: the components are no matrix; copy it again")
        self._components_VD = arrays["components"]


class LSAEncoder(SvdEncoder):
    """Texts to dense vectors: tf-idf projected on the leading singular vectors, length 1.

    Fitted on the training texts alone, in seconds. The empty text, and a text of unknown words,
    is the zero vector.

    Args:
        dim: As ``seed`` and ``n_iter`` in :class:`SvdEncoder`.
        **terms: How texts become terms; see :class:`~learned_index.encoders.lexical.tfidf.Terms`.
    """

    kind: ClassVar[str] = "lsa"
    sparse_rows: TfidfEncoder

    def __init__(
        self, dim: int = 256, *, seed: int = 0, n_iter: int = 4, **terms: Unpack[TermOptions]
    ) -> None:
        super().__init__(TfidfEncoder(**terms), dim, seed=seed, n_iter=n_iter)

    def _config(self) -> dict[str, Any]:
        return super()._config() | self.sparse_rows._config()

    def _content_digest(self) -> str:
        return self.sparse_rows._content_digest() + digest_arrays({"components": self.components_})

    def _save_into(self, directory: Path) -> None:
        self.sparse_rows.write_vocabulary(directory)
        super()._save_into(directory)


class FeatureSvdEncoder(SvdEncoder):
    """Sparse feature rows to dense vectors: idf weights, then a truncated SVD, length 1.

    What LSA is for texts, this is for the XMC repository's feature matrices. Its "texts" are rows
    of a scipy CSR matrix.

    Arguments as in :class:`SvdEncoder`.

    Example:
        >>> rows = sp.random(40, 12, density=0.3, format="csr", random_state=0)
        >>> FeatureSvdEncoder(dim=4).fit(rows).encode(rows[:3]).shape
        (3, 4)
    """

    kind: ClassVar[str] = "feature-svd"

    def __init__(self, dim: int = 256, *, seed: int = 0, n_iter: int = 4) -> None:
        super().__init__(FeatureRowsEncoder(), dim, seed=seed, n_iter=n_iter)

    def _arrays(self) -> dict[str, Float32Array]:
        arrays = super()._arrays()
        return {"idf": arrays["weight"], "components": arrays["components"]}

    def _restore(self, directory: Path, arrays: dict[str, Any]) -> None:
        super()._restore(directory, {**arrays, "weight": arrays["idf"]})
