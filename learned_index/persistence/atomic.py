"""Write a file or a directory under a temporary name, and rename it when it is whole."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from learned_index.errors import InputError


def _fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fsync_tree(root: Path) -> None:
    for folder, _, names in os.walk(root):
        for name in names:
            with (Path(folder) / name).open("rb") as file:
                os.fsync(file.fileno())
        _fsync_directory(Path(folder))


@contextmanager
def atomic_directory(target: Path | str, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty directory that becomes ``target`` when the block ends without an error.

    The directory is made beside ``target``, flushed to disk and renamed, so ``target`` is either
    absent, the old one, or complete. An exception (a full disk, Ctrl-C) removes the temporary
    directory and leaves an earlier ``target`` untouched.

    Args:
        target: Where the directory shall appear. Missing parents are made.
        overwrite: Replace an existing directory. Without it one that exists is an error.

    Raises:
        InputError: ``target`` exists and ``overwrite`` is false, or it is a file.
    """
    target = Path(target)
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is a file, expected a directory; choose another name")
    if target.exists() and not overwrite and any(target.iterdir()):
        raise InputError(
            f"{target} exists and is not empty; choose another name, remove it, or allow "
            "overwriting"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
    try:
        temporary.chmod(0o777 & ~_umask())
        yield temporary
        _fsync_tree(temporary)
        if target.exists():
            old = Path(
                tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".old", dir=target.parent)
            )
            target.replace(old)  # rename over an empty directory is allowed by POSIX
            try:
                temporary.replace(target)
            except BaseException:
                old.replace(target)
                raise
            shutil.rmtree(old)
        else:
            temporary.replace(target)
        _fsync_directory(target.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


@contextmanager
def atomic_file(target: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``target``; it replaces ``target`` when the block succeeds."""
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(
        prefix=f".{target.name}.", suffix=f".tmp{target.suffix}", dir=target.parent
    )
    os.close(descriptor)
    temporary = Path(name)
    try:
        temporary.chmod(0o666 & ~_umask())
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
