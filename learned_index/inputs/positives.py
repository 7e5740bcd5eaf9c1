"""Labels of a training batch as a padded tensor; the one input check that needs torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from learned_index.errors import InputError
from learned_index.inputs.labels import as_label_matrix
from learned_index.inputs.points import n_rows
from learned_index.inputs.vectors import as_array
from learned_index.types import Int64Array


def as_positives(positives: Any, *, n_labels: int) -> torch.Tensor:
    """Labels of a batch as int64 B x P, -1 where unused.

    Args:
        positives: An array or tensor of whole numbers in this form; one of booleans, or of zeros
            and ones in L columns: an indicator; or what :func:`as_label_matrix` takes.
        n_labels: L.

    Raises:
        InputError: Another type or shape, ids out of range, or what can be read in two ways.
    """
    if getattr(positives, "ndim", None) == 2 and not sp.issparse(positives):
        if not isinstance(positives, torch.Tensor):
            positives = torch.from_numpy(as_array(positives, name="positives"))
        ids = positives.dtype in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
        if ids and positives.numel():
            least, most = (int(value) for value in torch.aminmax(positives))
            ids = _are_ids(positives, least, most, n_labels)
        if ids:
            found: torch.Tensor = positives.long()
            return found
    elif isinstance(positives, torch.Tensor):
        raise InputError(
            f"positives are {positives.dtype} of shape {tuple(positives.shape)}, expected int64 "
            "B x P padded with -1"
        )
    if isinstance(positives, Iterator):
        positives = list(positives)
    n_points = n_rows(positives, name="positives")
    matrix = as_label_matrix(positives, n_points=n_points, n_labels=n_labels)
    return padded_positives(matrix, np.arange(n_points))


def _are_ids(positives: torch.Tensor, least: int, most: int, n_labels: int) -> bool:
    """Whether a table holds ids, and not an indicator."""
    if most >= n_labels or least < -1:
        raise InputError(
            f"positives run from {least} to {most}, expected label ids of 0 to {n_labels - 1}, "
            "padded with -1"
        )
    width = positives.shape[1]
    if most > 1 or least < 0 or width == 1:
        return True
    if width == n_labels > 2:
        return False
    if width > 2 or width == n_labels:
        raise InputError(
            f"positives are {width} numbers a row, all of them 0 or 1; an indicator is given as "
            f"booleans of {n_labels} columns, lists of label ids name an id once"
        )
    return True


def padded_positives(labels_NL: sp.csr_matrix, rows: Int64Array) -> torch.Tensor:
    """Labels of some points as int64 B x P, -1 where unused."""
    starts, stops = labels_NL.indptr[rows], labels_NL.indptr[rows + 1]
    counts = (stops - starts).astype(np.int64)
    width = int(counts.max()) if len(counts) else 0
    out = np.full((len(rows), width), -1, np.int64)
    inside = np.arange(width)[None, :] < counts[:, None]
    position = starts[:, None] + np.arange(width)[None, :]
    out[inside] = labels_NL.indices[position[inside]]
    return torch.from_numpy(out)
