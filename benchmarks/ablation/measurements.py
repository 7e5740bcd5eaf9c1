"""Measurements that a long run keeps on disk, one file each, under what they were made from."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from learned_index.errors import ModelFormatError
from learned_index.persistence import atomic_file, read_json, write_json

logger = logging.getLogger(__name__)

FORMAT = 1
_CHUNK_ROWS = 8192


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What was measured of one configuration.

    Attributes:
        metrics: Metrics in percent, see :func:`~learned_index.comparison.evaluate`.
        seconds: Time of the training that led here, all steps together.
        details: Further plain values.
    """

    metrics: dict[str, float]
    seconds: float
    details: dict[str, Any] = field(default_factory=dict)


def digest(value: Any) -> str:
    """SHA-256 of a JSON-able value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def data_digest(*parts: Any) -> str:
    """SHA-256 of arrays (also on disk), sparse matrices, lists of strings, None."""
    sha = hashlib.sha256()
    for part in parts:
        if part is None:
            sha.update(b"none")
        elif sp.issparse(part):
            matrix = sp.csr_matrix(part)
            sha.update(repr(matrix.shape).encode())
            for array in (matrix.indptr.astype(np.int64), matrix.indices, matrix.data):
                sha.update(np.ascontiguousarray(array).view(np.uint8).data)
        elif isinstance(part, np.ndarray):
            sha.update(f"{part.dtype.str}{part.shape}".encode())
            for start in range(0, len(part), _CHUNK_ROWS):
                rows = np.ascontiguousarray(part[start : start + _CHUNK_ROWS])
                sha.update(rows.reshape(-1).view(np.uint8).data)
        else:
            for text in part:
                sha.update(f"{len(text)}:{text}".encode())
    return sha.hexdigest()


class MeasurementStore:
    """A directory of measurements; a run that was cut off finds what it measured already.

    Args:
        directory: Made when the first measurement is written; None: kept in memory only.

    Attributes:
        n_found: Measurements that were read from the directory so far.
    """

    def __init__(self, directory: Path | None) -> None:
        self.directory = directory
        self.n_found = 0
        self._known: dict[str, Measurement] = {}

    def _path(self, key: str) -> Path | None:
        return None if self.directory is None else self.directory / f"{key}.json"

    def get(self, description: Mapping[str, Any]) -> Measurement | None:
        """Return the measurement of exactly this description; a damaged file counts as none."""
        key = _key(description)
        path = self._path(key)
        if key in self._known or path is None or not path.is_file():
            return self._known.get(key)
        try:
            found = read_json(path)["measurement"]
            measurement = Measurement(
                metrics={str(name): float(value) for name, value in found["metrics"].items()},
                seconds=float(found["seconds"]),
                details=dict(found["details"]),
            )
        except (ModelFormatError, KeyError, TypeError, ValueError, AttributeError) as error:
            logger.warning("%s is damaged and is measured again (%s)", path, error)
            return None
        self.n_found += 1
        self._known[key] = measurement
        return measurement

    def put(self, description: Mapping[str, Any], measurement: Measurement) -> None:
        """Keep a measurement; the file appears when it is whole."""
        key = _key(description)
        self._known[key] = measurement
        path = self._path(key)
        if path is not None:
            with atomic_file(path) as temporary:
                values = {"description": dict(description), "measurement": asdict(measurement)}
                write_json(temporary, values)


def _key(description: Mapping[str, Any]) -> str:
    return digest({"format": FORMAT, **description})
