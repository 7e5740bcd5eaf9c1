"""SHA-256 of whatever a result, a cache entry or a checkpoint belongs to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from learned_index.persistence.files import open_regular

# An array on disk is digested some rows at a time, so that it need not fit into memory.
_CHUNK_ROWS = 8192


def digest(value: Any) -> str:
    """Return the SHA-256 of a JSON-able value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def data_digest(*parts: Any) -> str:
    """Return the SHA-256 of arrays (also on disk), sparse matrices, lists of strings, None.

    Shapes and types count; the order in memory does not.
    """
    return bytes_digest(chunk for part in parts for chunk in _chunks(part))


def bytes_digest(chunks: Iterable[Any]) -> str:
    """Return the SHA-256 of bytes-like chunks."""
    sha = hashlib.sha256()
    for chunk in chunks:
        sha.update(chunk)
    return sha.hexdigest()


def _chunks(part: Any) -> Iterator[Any]:
    if part is None:
        yield b"none"
    elif sp.issparse(part):
        matrix = sp.csr_matrix(part)
        yield repr(matrix.shape).encode()
        # scipy counts in 32 or 64 bits as it likes; the matrix is the same.
        for array in (matrix.indptr.astype(np.int64), matrix.indices, matrix.data):
            yield np.ascontiguousarray(array).view(np.uint8).data
    elif isinstance(part, np.ndarray):
        yield f"{part.dtype.str}{part.shape}".encode()
        # An array of no dimension has no rows to cut.
        part = np.atleast_1d(part)
        for start in range(0, len(part), _CHUNK_ROWS):
            rows = np.ascontiguousarray(part[start : start + _CHUNK_ROWS])
            yield rows.reshape(-1).view(np.uint8).data
    else:
        for text in part:
            # The length keeps ("ab", "c") and ("a", "bc") apart.
            yield f"{len(text)}:{text}".encode("utf-8", "surrogatepass")


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
