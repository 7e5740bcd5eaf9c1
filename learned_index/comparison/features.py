"""What the whole systems of a comparison learn from: words, the model's vectors, or both.

A peer that sees words alone, beside a model with vectors of a language model, is compared on less
than the model has. So each can be asked for on either kind of features, or on both side by side.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import scipy.sparse as sp

from learned_index.errors import InputError
from learned_index.inputs.vectors import as_array
from learned_index.types import DenseMatrix, Float32Array

FeatureKind: TypeAlias = Literal["words", "vectors", "joined"]


class PointFeatures(NamedTuple):
    """Which features a method learns from.

    Attributes:
        kind: ``"words"``: tf-idf of the texts, or the data's own features; ``"vectors"``: the
            model's dense vectors; ``"joined"``: both, one after the other.
        ngrams: Longest run of words that is one feature.
        min_df: Training points that a feature must stand in.
    """

    kind: FeatureKind = "words"
    ngrams: int = 1
    min_df: int = 2

    @property
    def title(self) -> str:
        """Name in files and messages, e.g. ``"joined-2-1"``; words do not matter to vectors."""
        return self.kind if self.kind == "vectors" else "-".join(map(str, self))


WORDS = PointFeatures()
"""Single words that stand in two training texts."""


def unit_rows(vectors_ND: DenseMatrix) -> Float32Array:
    """Return vectors scaled to length 1, float32 N x D; zero vectors stay."""
    rows = np.asarray(as_array(vectors_ND, name="vectors"), dtype=np.float32)
    norms_N1 = np.sqrt(np.einsum("nd,nd->n", rows, rows))[:, None]
    return np.asarray(rows / np.maximum(norms_N1, np.float32(1e-12)))


def as_features(
    wanted: PointFeatures, words_NV: sp.csr_matrix | None, vectors_ND: DenseMatrix | None
) -> sp.csr_matrix:
    """Put the features of points together.

    Args:
        wanted: Which.
        words_NV: CSR, rows of length 1 or empty; unused for ``"vectors"``.
        vectors_ND: Dense vectors of the same points; unused for ``"words"``.

    Returns:
        CSR float32. Each part has length 1, so neither drowns the other; joined rows have words
        first, N x (V + D).

    Raises:
        InputError: A part is missing, or they are of different points.
    """
    parts: list[Any] = []
    for kind, part in (("words", words_NV), ("vectors", vectors_ND)):
        if wanted.kind not in (kind, "joined"):
            continue
        if part is None:
            raise InputError(f"the features {wanted.title} need {kind}, got none of them")
        parts.append(part if kind == "words" else sp.csr_matrix(unit_rows(part)))
    if len({part.shape[0] for part in parts}) > 1:
        raise InputError(
            f"got words of {parts[0].shape[0]} points and vectors of {parts[1].shape[0]}; expected "
            "those of the same points"
        )
    return parts[0] if len(parts) == 1 else sp.csr_matrix(sp.hstack(parts, format="csr"))
