"""Unfinished work on a file: in a hidden folder beside it, so that the next run goes on with it."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from learned_index.errors import BusyError, ModelFormatError
from learned_index.persistence.files import read_json, write_json
from learned_index.persistence.locks import path_lock
from learned_index.persistence.names import hidden

_RECORD = "progress.json"


@contextmanager
def partial_folder(path: Path, key: str) -> Iterator[Path]:
    """Yield the folder of unfinished work on ``path``, held by this run alone.

    It stays where there is something in it to resume. Where another run does the same job, it is
    a folder of its own, and nothing of it stays.

    Args:
        path: What is being made.
        key: Names the job in hexadecimal digits: another one never goes on with its work.
    """
    with ExitStack() as stack:
        folder, is_apart = hidden(path, f"{key}.partial"), False
        try:
            stack.enter_context(path_lock(folder, wait=False))
        except BusyError:
            folder, is_apart = hidden(path, f"{key}-{secrets.token_hex(4)}.partial"), True
            stack.enter_context(path_lock(folder))
        try:
            folder.mkdir(exist_ok=True)
            yield folder
        finally:
            if is_apart or not (folder / _RECORD).exists():
                shutil.rmtree(folder, ignore_errors=True)


def sweep_partial(path: Path) -> None:
    """Remove the unfinished work of other jobs on ``path`` that nobody is doing."""
    start = re.escape(hidden(path, "").name)
    folders = re.compile(rf"{start}[0-9a-f-]+\.partial")
    locks = re.compile(rf"\.({start}[0-9a-f-]+\.partial)\.li\.lock")
    names = [entry.name for entry in path.parent.iterdir()]
    found = {name for name in names if folders.fullmatch(name)}
    # Of a folder that a killed run had just removed, the lock alone is left.
    found |= {match[1] for match in map(locks.fullmatch, names) if match}
    for name in found:
        with suppress(BusyError), path_lock(path.with_name(name), wait=False):
            shutil.rmtree(path.with_name(name), ignore_errors=True)


def recorded_rows(folder: Path) -> Any:
    """What :func:`record_rows` has recorded, as it stands there; None where nothing does."""
    try:
        return read_json(folder / _RECORD)["rows"]
    except (ModelFormatError, KeyError, TypeError, OSError):
        return None


def flush(file: IO[bytes]) -> None:
    """Have the disk hold what was written."""
    file.flush()
    os.fsync(file.fileno())


def record_rows(folder: Path, rows: int) -> None:
    """Record that so many rows are done; they must be flushed."""
    temporary = folder / f"{_RECORD}.tmp"
    write_json(temporary, {"rows": rows})
    temporary.replace(folder / _RECORD)
