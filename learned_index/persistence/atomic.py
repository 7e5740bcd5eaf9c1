"""Write a file or a directory under a temporary name, and exchange it when it is whole."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from learned_index.errors import BusyError, InputError
from learned_index.persistence.exchange import exchange
from learned_index.persistence.failures import writing
from learned_index.persistence.files import write_json
from learned_index.persistence.layout import foreign_content
from learned_index.persistence.locks import path_lock
from learned_index.persistence.names import hidden_targets, leftovers, new_name, real_path
from learned_index.persistence.recovery import recover

logger = logging.getLogger(__name__)

Foreign = Callable[[Path], str]
"""Says what a directory holds that this package did not write; empty where there is nothing."""


@contextmanager
def atomic_directory(
    target: Path | str, *, overwrite: bool = False, foreign: Foreign = foreign_content
) -> Iterator[Path]:
    """Yield an empty directory that becomes ``target`` when the block ends without an error.

    The directory is made beside ``target``, flushed to disk, and exchanged with what is there in
    one step, so ``target`` is the old one or the new one at any moment, also after a crash. An
    exception (a full disk, Ctrl-C) leaves an earlier ``target`` untouched. What writers of
    ``target`` that were killed have left is removed; writers that live take turns.

    Args:
        target: Where the directory shall appear. Missing parents are made, links followed.
        overwrite: Replace a directory that this package wrote. Without it, one that is not empty
            is an error.
        foreign: Tells what in a directory was not written by this package.

    Raises:
        InputError: ``target`` may not be replaced.
        StorageError: The place cannot be written to: full, read-only, no permission.
    """
    path = real_path(target)
    with _working_on(path) as temporary:
        recover(path)
        check_replaceable(path, overwrite=overwrite, foreign=foreign)
        temporary.mkdir()
        yield temporary
        # Before it gets its name: after a crash the name must not lead to files that are empty.
        _fsync_tree(temporary)
        # Again: what has come meanwhile by other ways than this one is not replaced either.
        check_replaceable(path, overwrite=overwrite, foreign=foreign)
        _publish(temporary, path)


def check_replaceable(
    target: Path | str, *, overwrite: bool, foreign: Foreign = foreign_content
) -> None:
    """Refuse a target that may not be replaced by a directory.

    Arguments as in :func:`atomic_directory`.

    Raises:
        InputError: It is a file, or not empty and not to be overwritten, or holds other things.
    """
    path = real_path(target)
    with writing(path):
        if path.exists() and not path.is_dir():
            raise InputError(f"{target} is a file, expected a directory; choose another name")
        if not path.is_dir() or not any(path.iterdir()):
            return
        if not overwrite:
            raise InputError(
                f"{target} exists and is not empty; choose another name, remove it, or allow "
                "overwriting (overwrite=True; --overwrite)"
            )
        found = foreign(path)
    if found:
        raise InputError(
            f"{target} is not overwritten: {found}. Choose another name, or remove it yourself"
        )


@contextmanager
def atomic_file(target: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``target``; it replaces ``target`` when the block succeeds.

    Raises:
        InputError: ``target`` is a directory, a device or another thing that is no file.
        StorageError: The place cannot be written to: full, read-only, no permission.
    """
    path = real_path(target)
    with _working_on(path, suffix=path.suffix) as temporary:
        if path.exists() and not path.is_file():
            raise InputError(f"{target} is no file; choose another name")
        temporary.touch(exist_ok=False)
        yield temporary
        _fsync_file(temporary)
        temporary.replace(path)


def write_result(path: Path, value: Any) -> None:
    """Write JSON into a file that appears when it is whole, in a folder that is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        write_json(temporary, value)


def remove_directory(directory: Path) -> None:
    """Remove a directory in one step: whoever looks finds it whole or not at all."""
    temporary = new_name(directory, "tmp")
    with suppress(FileNotFoundError):
        directory.rename(temporary)
        _remove(temporary)


@contextmanager
def scratch_directory(parent: Path | str | None, name: str) -> Iterator[Path]:
    """Yield a directory for files that are needed during the block only.

    What killed runs have left under the same parent and name is removed; runs take turns.

    Args:
        parent: Where it lies, hidden; None: where the system puts temporary files.
        name: Of the work.

    Raises:
        StorageError: The place cannot be written to.
    """
    if parent is None:
        with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder:
            yield Path(folder)
        return
    with _working_on(real_path(Path(parent) / name)) as temporary:
        temporary.mkdir()
        yield temporary


def sweep_directory(directory: Path) -> None:
    """Remove what killed writers have left in a directory, whatever they were writing.

    Writers that live are left alone.
    """
    for target in hidden_targets(directory):
        # A lock that is taken belongs to a writer that lives.
        with suppress(BusyError), path_lock(target, wait=False) as is_locked:
            if is_locked:
                _sweep(target)


@contextmanager
def _working_on(target: Path, *, suffix: str = "") -> Iterator[Path]:
    """Hold the lock of a path, and yield a name beside it under which nothing is left at the end.

    What killed writers have left is removed before.
    """
    with path_lock(target) as is_locked, writing(target):
        if is_locked:
            _sweep(target)
        temporary = new_name(target, "tmp", suffix=suffix)
        try:
            yield temporary
        finally:
            _remove(temporary)


def _publish(temporary: Path, target: Path) -> None:
    """Give the new directory its name; the one that had it gets the temporary one."""
    if not target.exists():
        temporary.rename(target)
        _fsync_directory(target.parent)
        return
    if not exchange(temporary, target):
        # Between the two renames there is nothing under the name: recover() finds the old one.
        old = new_name(target, "old")
        try:
            target.rename(old)
            temporary.rename(target)
        except BaseException:
            if old.exists() and not target.exists():
                old.rename(target)
            raise
        _fsync_directory(target.parent)
        old.rename(temporary)  # from here on it is nothing to take back
    _fsync_directory(target.parent)


def _sweep(target: Path) -> None:
    """Remove what killed writers of ``target`` have left; the caller holds its lock."""
    for path in leftovers(target, "tmp"):
        _remove(path)
    if target.exists():  # else what was put aside is all that is left of it
        for path in leftovers(target, "old"):
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)
    if path.exists():
        logger.warning("%s is not needed any more, but could not be removed", path)


def _fsync_directory(directory: Path) -> None:
    if os.name == "nt":  # directories cannot be opened there
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # of file systems on a network
            raise
    finally:
        os.close(descriptor)


def _fsync_file(path: Path) -> None:
    with path.open("r+b" if os.name == "nt" else "rb") as file:  # Windows flushes writers only
        os.fsync(file.fileno())


def _fsync_tree(root: Path) -> None:
    for folder, _, names in os.walk(root):
        for name in names:
            _fsync_file(Path(folder) / name)
        _fsync_directory(Path(folder))
