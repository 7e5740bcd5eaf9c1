"""Points that a model learns from or answers: texts, or rows of sparse features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.errors import InputError


def n_rows(points: Any, *, name: str = "texts") -> int:
    """Number of texts or rows.

    Raises:
        InputError: A single string, or nothing that has a length.
    """
    if isinstance(points, str | bytes):
        raise InputError(
            f"{name} must be a list of strings, got the string {points[:40]!r}; use [text]"
        )
    shape = getattr(points, "shape", None)
    if isinstance(shape, tuple):
        if not shape:
            raise InputError(f"{name} are a {type(points).__name__} without rows, expected a list")
        return int(shape[0])
    # They have a length, but no order of rows.
    if isinstance(points, Set | Mapping) or not hasattr(points, "__len__"):
        raise InputError(
            f"{name} are a {type(points).__name__}, expected a list; write list({name})"
        )
    return len(points)


def one_point(point: Any) -> Any:
    """One text, or one row of features, as points.

    Raises:
        InputError: Another number of them.
    """
    points = [point] if isinstance(point, str) else point
    if n_rows(points, name="text") != 1:
        raise InputError(f"got {n_rows(points)} texts, expected one; ask for each by itself")
    return points


def blank_rows(points: Any) -> npt.NDArray[np.bool_]:
    """Bool, N: the texts without anything but white space; no row of features is blank."""
    if sp.issparse(points):
        return np.zeros(n_rows(points), dtype=bool)
    return np.array([isinstance(text, str) and not text.strip() for text in points], dtype=bool)


def unanswerable_rows(points: Any, vectors: Sequence[Any]) -> npt.NDArray[np.bool_]:
    """Bool, N: points that say nothing to a model, which has no answer for them.

    Blank texts, and points of which no encoder knows anything: an encoder of words gives the
    vector zero to a text without one known word, and the labels next to zero are the same for
    all of them.

    Args:
        points: N texts, or CSR N x F.
        vectors: Their vectors N x D, of each encoder.
    """
    unknown: npt.NDArray[np.bool_] = np.logical_not(np.asarray(vectors[0]).any(axis=1))
    for x_ND in vectors[1:]:
        unknown &= ~np.asarray(x_ND).any(axis=1)
    return unknown if sp.issparse(points) else unknown | blank_rows(points)
