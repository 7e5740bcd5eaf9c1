"""A lock on a path: held by one writer at a time, and gone with its process."""

from __future__ import annotations

import errno
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from learned_index.errors import BusyError
from learned_index.persistence.failures import writing
from learned_index.persistence.names import hidden, real_path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

logger = logging.getLogger(__name__)

_BUSY = {errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK, errno.EDEADLK}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
_held: set[tuple[str, int]] = set()
"""Lock files and threads: a writer may lock again what it holds."""
_descriptors: set[int] = set()
_watching_forks = False


@contextmanager
def path_lock(target: Path | str, *, wait: bool = True, doing: str = "writing") -> Iterator[bool]:
    """Hold the lock of a path while the block runs.

    The lock file lies hidden beside the path and goes when the lock is given up. The system gives
    up the lock of a process that ends, however it ends. The same thread may lock a path again.

    Args:
        target: The path; it need not exist, the directory that it lies in is made.
        wait: Wait until another writer has finished.
        doing: What writers do, for the message to one that does not wait.

    Yields:
        Whether the lock is held; False on a file system that knows no locks.

    Raises:
        BusyError: Another writer holds it, and ``wait`` is false.
        StorageError: The place cannot be written to.
    """
    target = real_path(target)
    file = hidden(target, "li.lock")
    key = (str(file), threading.get_ident())
    if key in _held:
        yield True
        return
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            target.lstat()  # a name that is too long is refused here, not after the work
        descriptor = _take(file, target, wait=wait, doing=doing)
    if descriptor is None:
        yield False
        return
    _held.add(key)
    try:
        yield True
    finally:
        _held.discard(key)
        _give_up(descriptor, file)


def _take(file: Path, target: Path, *, wait: bool, doing: str) -> int | None:
    """Lock a file; None where the file system knows no locks."""
    _watch_forks()
    while True:
        # Not through a link, which somebody may have put there to have another file made or locked.
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        _descriptors.add(descriptor)
        try:
            if not _lock(descriptor, wait=False):
                if not wait:
                    raise BusyError(
                        f"another process is {doing} {target}; wait until it has finished, or "
                        "choose another name",
                        errno=errno.EBUSY,
                    )
                logger.info("waiting for another process that writes %s", target)
                _lock(descriptor, wait=True)
            with suppress(FileNotFoundError):
                # Who held it before may have removed the file while this one waited for it.
                if os.path.samestat(os.fstat(descriptor), file.stat()):
                    return descriptor
        except BaseException as error:
            _close(descriptor)
            if isinstance(error, OSError) and error.errno in _NO_LOCKS:
                logger.warning(
                    "the file system of %s knows no locks (%s): let one process at a time write "
                    "there",
                    target,
                    error.strerror,
                )
                file.unlink(missing_ok=True)
                return None
            raise
        _close(descriptor)


def _lock(descriptor: int, *, wait: bool) -> bool:
    if sys.platform == "win32":
        while True:
            try:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
                return True
            except OSError as error:
                if error.errno not in _BUSY:
                    raise
            if not wait:
                return False
            time.sleep(0.05)
    try:
        # Not lockf: its locks do not hold between threads, and go when any descriptor of the
        # file is closed.
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _give_up(descriptor: int, file: Path) -> None:
    if sys.platform == "win32":  # a file that is open cannot be removed there
        _close(descriptor)
        with suppress(OSError):
            file.unlink()
        return
    if descriptor in _descriptors:  # else this is a forked child, and the lock its parent's
        with suppress(OSError):
            file.unlink()
        _close(descriptor)


def _close(descriptor: int) -> None:
    _descriptors.discard(descriptor)
    os.close(descriptor)


def _watch_forks() -> None:
    """A forked child holds none of its parent's locks, and does not keep them alive."""
    global _watching_forks
    if not _watching_forks and hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_forget)
    _watching_forks = True


def _forget() -> None:
    for descriptor in _descriptors:
        os.close(descriptor)
    _descriptors.clear()
    _held.clear()
