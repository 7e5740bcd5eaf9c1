"""Workers of one server tell one another how fresh the models are that they answer with.

Each has a file with one number: the time at which it last knew that all its models were those on
the disk. A worker that has saved a change waits until all others have looked later than that; only
then it acknowledges the change, and no worker answers by the old version any more.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_TIME = struct.Struct("d")
_PAUSE_S = 0.01


class Board:
    """The board, as one worker sees it.

    Args:
        directory: Where all workers of the server have their files.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._own = directory / str(os.getpid())
        with self._own.open("w+b") as file:
            file.write(_TIME.pack(0.0))
            file.flush()
            self._cell = mmap.mmap(file.fileno(), _TIME.size)

    def tell(self, looked: float) -> None:
        """Say that all models of this worker were those of the disk at a time.

        Args:
            looked: Seconds of ``time.monotonic``, which all processes of a machine share.
        """
        self._cell[:] = _TIME.pack(looked)

    def wait(self, since: float, *, at_most_s: float) -> bool:
        """Wait until every worker that lives has looked later than ``since``.

        Returns:
            Whether all have; False where one takes longer, such as one that is just starting.
        """
        until = time.monotonic() + at_most_s
        while any(looked <= since for looked in self._others()):
            if time.monotonic() > until:
                return False
            time.sleep(_PAUSE_S)
        return True

    def leave(self) -> None:
        """Take the own file away."""
        self._own.unlink(missing_ok=True)

    def _others(self) -> Iterator[float]:
        for path in self._directory.iterdir():
            if path == self._own:
                continue
            if not _lives(int(path.name)):
                path.unlink(missing_ok=True)
                continue
            with suppress(FileNotFoundError, struct.error):  # just gone, or just coming
                yield _TIME.unpack(path.read_bytes())[0]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
