"""Results of long runs, kept on disk so that a run goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from learned_index.errors import ModelFormatError
from learned_index.persistence.atomic import atomic_file
from learned_index.persistence.files import read_json, write_json

logger = logging.getLogger(__name__)

# An array on disk is digested some rows at a time, so that it need not fit into memory.
_CHUNK_ROWS = 8192


class KeptResults:
    """A folder with one JSON file for each name; a result counts under one digest only.

    Args:
        folder: Made when the first result is written; None keeps nothing.

    Attributes:
        n_found: Results that were read so far.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self.n_found = 0

    def find(self, name: str, key: str) -> Any | None:
        """Return what was kept under this name and digest; a damaged file counts as none."""
        path = self._path(name)
        if path is None or not path.is_file():
            return None
        try:
            kept = read_json(path)
            if kept["digest"] != key:
                return None
            value = kept["value"]
        except (ModelFormatError, KeyError, TypeError) as error:
            logger.warning("%s is damaged and is measured again (%s)", path, error)
            return None
        self.n_found += 1
        return value

    def keep(self, name: str, key: str, value: Any) -> None:
        """Keep a JSON-able result; the file appears when it is whole, in the place of an older."""
        path = self._path(name)
        if path is not None:
            with atomic_file(path) as temporary:
                write_json(temporary, {"digest": key, "name": name, "value": value})

    def _path(self, name: str) -> Path | None:
        if self.folder is None:
            return None
        plain = re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("_")[:60]
        # Names that differ in other characters only (ivf:A,B and ivf(A,B)) keep files apart.
        return self.folder / f"{plain}-{digest(name)[:8]}.json"


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
        for start in range(0, len(part), _CHUNK_ROWS):
            rows = np.ascontiguousarray(part[start : start + _CHUNK_ROWS])
            yield rows.reshape(-1).view(np.uint8).data
    else:
        for text in part:
            yield f"{len(text)}:{text}".encode()
