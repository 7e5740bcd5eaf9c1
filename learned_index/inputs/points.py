"""Points that a model learns from or answers: texts, or rows of sparse features."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.errors import InputError
from learned_index.inputs.matrices import SparseRows
from learned_index.inputs.numbers import shown


def as_points(points: Any, *, name: str = "texts") -> Any:
    """Texts as a list, from any column that holds them; rows of features as they are.

    Args:
        points: A list or tuple of strings; a NumPy array, a column of pandas, polars, Arrow or a
            Hugging Face data set; an iterator; or what has two dimensions, which is returned.
        name: What they are, in errors.

    Raises:
        InputError: A single string, a data frame, or texts with something else between them.
    """
    if hasattr(points, "columns") and getattr(points, "ndim", 2) == 2:
        raise InputError(
            f"{name} are a {type(points).__name__} with columns, expected one column of texts; "
            f"give frame[{str(next(iter(points.columns), 'text'))!r:.40}]"
        )
    if type(points) is SparseRows or sp.issparse(points) or getattr(points, "ndim", 1) != 1:
        return points
    if type(points) is not list and type(points) is not tuple:
        for method in ("to_pylist", "to_list", "tolist"):  # Arrow; polars and pandas; NumPy
            if hasattr(points, method):
                points = getattr(points, method)()
                break
        else:
            if isinstance(points, str | bytes | Set | Mapping) or not isinstance(points, Iterable):
                n_rows(points, name=name)
            points = points if isinstance(points, tuple | list) else list(points)
    if any(isinstance(text, str) for text in points[:1]) or None in points[:1]:
        for row, text in enumerate(points):
            if not isinstance(text, str):
                raise InputError(
                    f"{name}[{row}] is {shown(text)}, expected a string; drop such rows, or write "
                    "'' for a text that is missing"
                )
    return points


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
