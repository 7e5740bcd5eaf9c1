"""The two kinds of files in a saved model, JSON and safetensors: written plainly, read warily."""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Callable, Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from learned_index.errors import InputError, ModelFormatError
from learned_index.persistence.failures import reading_model, shortened

_LONGEST_NUMBER = 20
"""Digits of the largest unsigned 64-bit integer."""


def open_checked(path: Path, check: Callable[[int], None]) -> BufferedReader:
    """Open what is at a path for reading, if its mode passes a check; a pipe is not waited for.

    Args:
        path: What to open.
        check: Raises where the mode (``st_mode``) is not that of a file.
    """
    # The open file is looked at: one that is looked at by its name may be another when opened.
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags)
    try:
        check(os.fstat(descriptor).st_mode)
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading; a pipe or a device is refused rather than waited for.

    Raises:
        ModelFormatError: There is none, or it is something else.
        StorageError: It cannot be read.
    """

    def check(mode: int) -> None:
        if not stat.S_ISREG(mode):
            raise ModelFormatError(f"{path} is no regular file; copy the model again")

    with reading_model(path, "file"):
        try:
            return open_checked(path, check)
        except FileNotFoundError:
            raise ModelFormatError(
                f"{path} is missing; the directory is not a whole saved model: copy it again"
            ) from None


def json_ready(value: Any) -> Any:
    """Plain values of it, null for numbers that do not exist: what :func:`write_json` takes."""
    if isinstance(value, dict):
        return {str(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_ready(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        return json_ready(value.tolist())
    return str(value)


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys and a final newline; NaN and infinity are refused."""
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path, *, max_bytes: int | None = None) -> Any:
    """Read a JSON file that this package wrote.

    Args:
        path: The file.
        max_bytes: A larger one is refused unread.

    Raises:
        ModelFormatError: The file is missing, is not JSON, or holds what :func:`write_json` never
            writes: a key twice, NaN, infinity, an integer beyond 64 bits, half a surrogate pair.
        StorageError: It cannot be read.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if max_bytes is not None and size > max_bytes:
            raise ModelFormatError(f"{path} has {size} bytes, expected at most {max_bytes}")
        with reading_model(path, "JSON file"):
            raw = file.read()
    try:
        text = raw.decode("utf-8")
        value = json.loads(
            text,
            object_pairs_hook=unique_keys,
            parse_int=_integer,
            parse_float=_finite,
            parse_constant=_finite,
        )
        if "\\u" in text:  # half a surrogate pair can come from an escape, which cannot be written
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(
            f"{path} is not valid JSON ({shortened(error)}); save the model again"
        ) from None
    return value


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a JSON object of its pairs (``object_pairs_hook``), of which no two share a key.

    Raises:
        ValueError: Two do; the json module would keep the last.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has a key twice")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text:.20}")
    return number


def _integer(text: str) -> int:
    if len(text.lstrip("-")) > _LONGEST_NUMBER:
        raise ValueError(f"an integer of {len(text)} digits")
    return int(text)


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Write named arrays as one safetensors file (C order, names sorted)."""
    path.touch()
    mode = path.stat().st_mode  # safetensors makes a file that nobody else can read
    save_file({name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}, str(path))
    path.chmod(mode)


def load_arrays(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Read what :func:`save_arrays` wrote.

    Raises:
        ModelFormatError: The file is missing or is not a whole safetensors file.
        StorageError: It cannot be read.
    """
    # safetensors opens the file by its name and would wait for a pipe.
    open_regular(path).close()
    # safetensors compares shapes, types and offsets with the size of the file before it reads.
    with reading_model(path, "safetensors file"):
        arrays = dict(load_file(str(path)))
        for name, array in arrays.items():
            # Where some other package has taught NumPy bfloat16 or float8, safetensors reads those
            # too, and elsewhere it fails at them: nothing here writes them.
            if array.dtype.isbuiltin != 1:
                raise InputError(f"{name} is of type {array.dtype}, which no saved array here has")
        return arrays
