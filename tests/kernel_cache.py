"""One cache of compiled kernels for several test processes at the same time.

Numba's own cache has no locks. Two processes that save one function for different types at the
same moment can give both entries one name, and then load the wrong code; and each compiles what
the other one is compiling.
"""

from __future__ import annotations

import fcntl
import hashlib
import time
from pathlib import Path
from typing import IO, Any

from numba.core import caching

LONGEST_WAIT_S = 60.0
"""A process that could not compile keeps its turn; the next one compiles after this time."""


class SharedCacheFile(caching.IndexDataCacheFile):
    """The entries of one function: each is compiled by one process, the others wait and load it."""

    def __init__(self, cache_path: str, filename_base: str, source_stamp: Any) -> None:
        super().__init__(cache_path, filename_base, source_stamp)
        self._turns: dict[Any, IO[str]] = {}

    def load(self, key: Any) -> Any:
        found = super().load(key)
        if found is not None or key in self._turns:
            return found
        turn = _locked(self._data_path(f"{self._name(key)}.turn"))
        found = super().load(key)
        if found is None:
            self._turns[key] = turn
        else:
            _free(turn)
        return found

    def save(self, key: Any, data: Any) -> None:
        # First the data, under a name that no other entry has, so that the index never lies.
        name = self._name(key)
        self._save_data(name, data)
        lock = _locked(f"{self._index_path}.lock")
        try:
            self._save_index(self._load_index() | {key: name})
        finally:
            _free(lock)
        if key in self._turns:
            _free(self._turns.pop(key))

    def _name(self, key: Any) -> str:
        digest = hashlib.sha256(repr((self._source_stamp, key)).encode()).digest()
        return str(self._data_name(int.from_bytes(digest[:8], "little")))


def _locked(path: str) -> IO[str]:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    file = Path(path).open("w")  # noqa: SIM115  (its lock is held until it is closed)
    until = time.monotonic() + LONGEST_WAIT_S
    while time.monotonic() < until:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            time.sleep(0.02)
    return file


def _free(file: IO[str]) -> None:
    fcntl.flock(file, fcntl.LOCK_UN)  # closing is not enough where a forked child holds it too
    file.close()


def share_numba_cache() -> None:
    """Let this process share; before the first kernel is imported."""
    caching.IndexDataCacheFile = SharedCacheFile
