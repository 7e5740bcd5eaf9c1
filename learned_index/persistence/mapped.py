"""Arrays of a safetensors file that are mapped, not read: memory is taken by what a search touches.

Processes that map the same file share what they touch.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import safe_open

from learned_index.errors import ModelFormatError
from learned_index.persistence.failures import reading_model
from learned_index.persistence.files import open_regular

_DTYPES = {
    name: np.dtype(code)
    for name, code in {
        "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4",
        "I32": "<i4", "U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
    }.items()
}  # fmt: skip
_LENGTH_BYTES = 8


@contextmanager
def mapped_arrays(path: Path) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """Map what :func:`~learned_index.persistence.save_arrays` wrote; the block checks it.

    Pages that the block reads are given back at its end, so that a check of everything does not
    make everything count as this process's memory. The arrays stay valid, and can be written to
    after the block without a change of the file.

    Args:
        path: The file. While arrays of it are in use it may be replaced, not written to.

    Raises:
        ModelFormatError: The file is missing or is not a whole safetensors file.
        StorageError: It cannot be read.
    """
    with open_regular(path) as file, reading_model(path, "safetensors file"):
        # The library compares shapes, types and offsets with the size of the file.
        with safe_open(str(path), framework="numpy"):
            pass
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        end = _LENGTH_BYTES + int.from_bytes(mapped[:_LENGTH_BYTES], "little")
        header = json.loads(mapped[_LENGTH_BYTES:end])
        header.pop("__metadata__", None)
        arrays = {name: _array(mapped, end, name, facts) for name, facts in header.items()}
    yield arrays
    if hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def _array(mapped: mmap.mmap, start: int, name: str, facts: dict[str, Any]) -> npt.NDArray[Any]:
    dtype = _DTYPES.get(facts["dtype"])
    if dtype is None:
        raise ModelFormatError(f"{name} is of type {facts['dtype']}, which no saved array here has")
    first, last = facts["data_offsets"]
    flat: npt.NDArray[Any] = np.frombuffer(
        mapped, dtype, count=(last - first) // dtype.itemsize, offset=start + first
    )
    if flat.ctypes.data % dtype.itemsize:  # a file of another writer
        flat = flat.copy()
    return flat.reshape(facts["shape"])
