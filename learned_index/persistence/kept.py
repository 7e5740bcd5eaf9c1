"""Results of long runs, kept on disk so that a run goes on where it stopped."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from learned_index.errors import ModelFormatError
from learned_index.persistence.atomic import atomic_file
from learned_index.persistence.digest import digest
from learned_index.persistence.files import read_json, write_json

logger = logging.getLogger(__name__)


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
        return None if self.folder is None else self.folder / f"{plain_name(name)}.json"


def plain_name(name: str) -> str:
    """Return a file's name for any text; names that differ are files that do."""
    plain = re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("_")[:60]
    # Names may differ in other characters only (ivf:A,B and ivf(A,B)).
    return f"{plain}-{digest(name)[:8]}"
