"""Dense vectors for data that come as sparse features rather than texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp

from learned_index.encoders.base import ARRAYS_FILE, EncoderBase, digest_arrays
from learned_index.encoders.lexical.lsa import truncated_svd
from learned_index.encoders.lexical.vectoriser import project_rows
from learned_index.errors import InputError, ModelFormatError, NotFittedError
from learned_index.inputs.matrices import canonical_features
from learned_index.inputs.numbers import whole_number
from learned_index.persistence import save_arrays
from learned_index.persistence.contents import load_finite_arrays
from learned_index.types import Float32Array


class FeatureSvdEncoder(EncoderBase):
    """Sparse feature rows to dense vectors: idf weights, then a truncated SVD, length 1.

    What LSA is for texts, this is for the XMC repository's feature matrices. Its "texts" are rows
    of a scipy CSR matrix. A row without a known feature is the zero vector; a row's bits do not
    depend on the batch.

    Args:
        dim: Vector length D. With fewer points or features than that, their number is used.
        seed: Seed of the randomised decomposition.
        n_iter: Its power iterations.

    Example:
        >>> rows = sp.random(40, 12, density=0.3, format="csr", random_state=0)
        >>> FeatureSvdEncoder(dim=4).fit(rows).encode(rows[:3]).shape
        (3, 4)
    """

    kind: ClassVar[str] = "feature-svd"

    def __init__(self, dim: int = 256, *, seed: int = 0, n_iter: int = 4) -> None:
        self._requested_dim = whole_number(dim, "dim")
        self.seed = whole_number(seed, "seed", low=0, high=2**32 - 1)
        self.n_iter = whole_number(n_iter, "n_iter", low=0)
        self._idf_F: Float32Array | None = None
        self._components_FD: Float32Array | None = None

    @property
    def dim(self) -> int:
        """Vector length: what was asked for, after :meth:`fit` what the features gave."""
        if self._components_FD is None:
            return self._requested_dim
        return int(self._components_FD.shape[1])

    def fit(self, texts: Sequence[str] | sp.csr_matrix) -> Self:
        """Learn feature weights and the decomposition.

        Args:
            texts: CSR, N x F (named as in every encoder; these are feature rows).

        Raises:
            InputError: Not a sparse matrix, or without any entry.
        """
        rows_NF = feature_rows(texts)
        if rows_NF.nnz == 0:
            raise InputError(f"the {rows_NF.shape[0]} feature rows have no entry; nothing to learn")
        self._idf_F = inverse_document_frequency(rows_NF)
        weighted = weighted_rows(rows_NF, self._idf_F)
        dim = min(self._requested_dim, *weighted.shape)
        self._components_FD = truncated_svd(weighted, dim, seed=self.seed, n_iter=self.n_iter)
        return self

    def encode(self, texts: Sequence[str] | sp.csr_matrix) -> Float32Array:
        """Return B x D float32, rows of length 1 or zero.

        Args:
            texts: CSR, B x F: the columns that :meth:`fit` saw.

        Raises:
            InputError: Texts instead of feature rows, or another number of columns.
            NotFittedError: Before :meth:`fit`.
        """
        if self._idf_F is None or self._components_FD is None:
            raise NotFittedError("the feature encoder is not fitted; call fit(features) first")
        rows_BF = feature_rows(texts)
        check_width(rows_BF, len(self._idf_F))
        return project_rows(weighted_rows(rows_BF, self._idf_F), self._components_FD)

    def _config(self) -> dict[str, Any]:
        return {"dim": self._requested_dim, "seed": self.seed, "n_iter": self.n_iter}

    def _arrays(self) -> dict[str, Float32Array]:
        if self._idf_F is None or self._components_FD is None:
            raise NotFittedError("the feature encoder is not fitted; call fit(features) first")
        return {"idf": self._idf_F, "components": self._components_FD}

    def _content_digest(self) -> str:
        return digest_arrays(self._arrays())

    def _write(self, directory: Path) -> None:
        save_arrays(directory / ARRAYS_FILE, self._arrays())

    @classmethod
    def _read(cls, directory: Path, config: dict[str, Any]) -> Self:
        encoder = cls(**config)
        arrays = load_finite_arrays(directory / ARRAYS_FILE)
        idf_F, components_FD = arrays["idf"], arrays["components"]
        if idf_F.shape != components_FD.shape[:1]:
            raise ModelFormatError(f"{directory}: weights and components differ in length")
        encoder._idf_F, encoder._components_FD = idf_F, components_FD
        return encoder


def feature_rows(rows: Any) -> sp.csr_matrix:
    """Return rows of sparse features as a canonical CSR float32 matrix of their own.

    Raises:
        InputError: Not a sparse matrix.
    """
    if not sp.issparse(rows):
        raise InputError(
            "this model was trained on sparse feature rows and cannot encode texts; give a scipy "
            f"sparse matrix, got {type(rows).__name__}"
        )
    return canonical_features(rows, what="the feature matrix")


def check_width(rows_BF: sp.csr_matrix, n_features: int) -> None:
    """Refuse rows with another number of columns than the training rows had.

    Raises:
        InputError: Says how to make them fit.
    """
    width = rows_BF.shape[1]
    if width == n_features:
        return
    remedy = (
        f"leave out features {n_features} and above, which were never trained, or train again on "
        f"data that declare {width}"
        if width > n_features
        else f"declare {n_features} for them too, where the further ones do not occur"
    )
    raise InputError(
        f"got rows of {width} features, expected {n_features} as in training; if they are numbered "
        f"alike, {remedy} (in an XMC file the header says how many)"
    )


def inverse_document_frequency(rows_NF: sp.csr_matrix) -> Float32Array:
    """Smoothed idf of each feature, ``log((1 + N) / (1 + n_f)) + 1``, float32, F."""
    frequency_F = np.bincount(rows_NF.indices, minlength=rows_NF.shape[1])
    idf_F: Float32Array = np.log((1 + rows_NF.shape[0]) / (1 + frequency_F)) + 1
    return idf_F.astype(np.float32)


def weighted_rows(rows_BF: sp.csr_matrix, idf_F: Float32Array) -> sp.csr_matrix:
    """Multiply by the idf and scale each row to length 1."""
    weighted = rows_BF.copy()
    weighted.data = weighted.data * idf_F[weighted.indices]
    squares = np.square(weighted.data, dtype=np.float64)
    row_of_entry = np.repeat(np.arange(weighted.shape[0]), np.diff(weighted.indptr))
    norm_B = np.sqrt(np.bincount(row_of_entry, weights=squares, minlength=weighted.shape[0]))
    scale_B = 1.0 / np.where(norm_B > 0, norm_B, 1.0)
    weighted.data = (weighted.data * scale_B[row_of_entry]).astype(np.float32)
    return weighted
