"""What arrays from a file must hold before compiled code reads them, which checks no bounds.

A checksum tells that a file is what somebody wrote, not that he meant well. So these checks are
made whenever arrays are opened, also where checksums are not verified. Each reads an array once or
twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from learned_index.errors import InputError
from learned_index.persistence.files import load_arrays

Expected: TypeAlias = Mapping[str, tuple[npt.DTypeLike, tuple[int, ...]]]
"""Dtype and shape of each array, by name."""

LARGEST_WEIGHT = 1e6
"""No trained weight comes near it; sums of larger ones could leave the range of float32."""


def require_layout(arrays: Mapping[str, npt.NDArray[Any]], expected: Expected) -> None:
    """Check that each array is there, in the dtype and shape expected, and in C order.

    Raises:
        InputError: Names the first array that is not.
    """
    for name, (dtype, shape) in expected.items():
        array = arrays.get(name)
        if array is None:
            raise InputError(f"{name} is missing, expected {np.dtype(dtype)} {shape}")
        if array.dtype != dtype or array.shape != shape or not array.flags.c_contiguous:
            raise InputError(
                f"{name} is {array.dtype} {array.shape}, expected {np.dtype(dtype)} {shape} "
                "in C order"
            )


def require_range(name: str, values: npt.NDArray[Any], low: float, high: float) -> None:
    """Check that all values are numbers from ``low`` to ``high``; NaN is none.

    Raises:
        InputError: Says where the values run.
    """
    if not values.size:
        return
    least, most = values.min(), values.max()  # NaN where there is one
    if not (low <= least and most <= high):
        raise InputError(f"{name} runs from {least} to {most}, expected {low:g} to {high:g}")


def load_finite_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Arrays of a safetensors file, every float of which is of 32 bits and at most 1e6.

    Raises:
        ModelFormatError: As :func:`~learned_index.persistence.load_arrays`.
        InputError: NaN, numbers no weight comes near, or floats of another width; names the array.
    """
    arrays = load_arrays(path)
    require_finite(arrays)
    return arrays


def require_finite(arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Check that every float is of 32 bits and at most 1e6.

    Raises:
        InputError: As :func:`load_finite_arrays`.
    """
    for name, array in arrays.items():
        if array.dtype.kind == "f":
            require_layout({name: array}, {name: (np.float32, array.shape)})
            require_range(name, array, -LARGEST_WEIGHT, LARGEST_WEIGHT)


def require_offsets(name: str, offsets: npt.NDArray[Any], n: int) -> None:
    """Check that offsets cut ``n`` elements into rows: from 0, never back, to ``n``.

    Raises:
        InputError: They do not.
    """
    # Neighbours are compared, not subtracted: a difference of two int64 can wrap.
    ordered = len(offsets) > 0 and bool((offsets[1:] >= offsets[:-1]).all())
    if not ordered or offsets[0] != 0 or offsets[-1] != n:
        raise InputError(f"{name} does not cut {n} elements into rows")


def require_distinct(name: str, ids: npt.NDArray[Any], limit: int) -> None:
    """Check that ids lie in 0 to ``limit - 1`` and that none comes twice.

    Raises:
        InputError: Says where the ids run, or names one that comes twice.
    """
    require_range(name, ids, 0, limit - 1)
    # A mask is one pass over the ids, where np.unique would sort them.
    seen = np.zeros(limit, bool)
    seen[ids] = True
    if np.count_nonzero(seen) != len(ids):
        twice = np.flatnonzero(np.bincount(ids, minlength=limit) > 1)[0]
        raise InputError(f"{name} holds {twice} more than once, expected distinct ids")
