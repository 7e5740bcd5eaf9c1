"""Examples of labels that join an index, and points that it knows labels by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp

from learned_index.errors import InputError
from learned_index.inputs.labels import Labels, as_label_matrix
from learned_index.inputs.numbers import shown
from learned_index.inputs.vectors import as_array, as_float32_rows, as_vectors
from learned_index.types import DenseMatrix, Float32Array, Int64Array

NewLabels: TypeAlias = Sequence[DenseMatrix]
"""For each new label the vectors of its examples, n x D or D."""
KnownPoints: TypeAlias = tuple[DenseMatrix, Labels]
"""Points that labels are known by: vectors N x D and their labels, as for a training."""


def checked_examples(examples: NewLabels, *, dim: int) -> tuple[Float32Array, Int64Array]:
    """Vectors of all examples in one table, float32 n x D, and how many each label has.

    Raises:
        InputError: No labels, a label without examples, vectors that are none or do not fit.
    """
    if isinstance(examples, str | bytes | Mapping) or not hasattr(examples, "__len__"):
        raise InputError(
            f"got {shown(examples)} for examples, expected for each new label an array n x {dim}"
        )
    rows = [_rows(each, number, dim) for number, each in enumerate(examples)]
    if not rows:
        raise InputError("got no examples, expected those of one new label or more")
    counts = np.array([len(each) for each in rows], np.int64)
    table: Float32Array = np.concatenate(rows)
    return table, counts


def _rows(each: Any, number: int, dim: int) -> Any:
    name = f"examples[{number}]"
    rows = as_array(each, name=name)
    rows = as_vectors(rows[None] if rows.ndim == 1 else rows, dim=dim, name=name)
    if not len(rows):
        raise InputError(
            f"{name} has no vector, expected one or more: a label is learned from them"
        )
    return as_float32_rows(rows, name=name)


def checked_known(
    known: KnownPoints, *, dim: int, n_labels: int
) -> tuple[Float32Array, sp.csr_matrix]:
    """Vectors float32 N x D and labels CSR N x L of known points.

    Raises:
        InputError: No pair, vectors or labels that do not fit.
    """
    if not isinstance(known, tuple) or len(known) != 2:
        raise InputError(
            f"known is {shown(known)}, expected a pair: vectors N x {dim} and their labels N x "
            f"{n_labels}, e.g. some of the training points"
        )
    vectors = as_vectors(known[0], dim=dim, name="the known vectors")
    rows = as_float32_rows(vectors, name="the known vectors")
    labels = as_label_matrix(
        known[1], n_points=len(rows), n_labels=n_labels, name="the known labels"
    )
    return rows, labels


def checked_counts(counts: Any, n_labels: int) -> Int64Array | None:
    """Training points of each label, int64 L; None where they are not given.

    Raises:
        InputError: No whole numbers of at least 0, or of other labels.
    """
    if counts is None:
        return None
    found = as_array(counts, name="counts")
    if found.shape != (n_labels,) or found.dtype.kind not in "iu" or found.min(initial=0) < 0:
        raise InputError(
            f"counts are {found.dtype} {found.shape}, expected {n_labels} whole numbers of 0 or "
            "more, one for each label"
        )
    checked: Int64Array = found.astype(np.int64)
    return checked
