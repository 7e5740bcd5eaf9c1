"""Measurements that a long run keeps on disk, one file each, under what they were made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from learned_index.persistence.digest import data_digest, digest
from learned_index.persistence.kept import KeptResults

__all__ = ["Measurement", "MeasurementStore", "data_digest", "digest"]

FORMAT = 1


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


class MeasurementStore:
    """A directory of measurements; a run that was cut off finds what it measured already.

    Args:
        directory: Made when the first measurement is written; None: kept in memory only.
    """

    def __init__(self, directory: Path | None) -> None:
        self._kept = KeptResults(directory)
        self._known: dict[str, Measurement] = {}

    @property
    def n_found(self) -> int:
        """Measurements that were read from the directory so far."""
        return self._kept.n_found

    def get(self, description: Mapping[str, Any]) -> Measurement | None:
        """Return the measurement of exactly this description; a damaged file counts as none."""
        key = _key(description)
        if key not in self._known:
            found = self._kept.find(key, key)
            try:
                if found is not None:
                    self._known[key] = Measurement(**found["measurement"])
            except (KeyError, TypeError):  # another program's file, or an older format
                return None
        return self._known.get(key)

    def put(self, description: Mapping[str, Any], measurement: Measurement) -> None:
        """Keep a measurement; the file appears when it is whole."""
        key = _key(description)
        self._known[key] = measurement
        value = {"description": dict(description), "measurement": asdict(measurement)}
        self._kept.keep(key, key, value)


def _key(description: Mapping[str, Any]) -> str:
    return digest({"format": FORMAT, **description})
