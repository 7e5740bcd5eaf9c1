"""What the operating system or a damaged file says, as errors of this package."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from learned_index.errors import (
    LearnedIndexError,
    MissingExtraError,
    ModelFormatError,
    StorageError,
)

_LONGEST_REASON = 300
_REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space or choose another place",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another place",
    errno.EFBIG: "the file would be larger than the file system or ulimit -f allows",
    errno.EROFS: "the place is read-only; choose another",
    errno.EACCES: "you may not write there; choose another place or change its permissions",
    errno.EPERM: "you may not write there; choose another place or change its permissions",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.ENOTDIR: "a part of the path is a file; choose another place",
    errno.EEXIST: "a part of the path is a file; choose another place",
    errno.EISDIR: "there is a directory of that name; choose another name",
    errno.ENOENT: "the place does not exist or takes no files; choose another",
    errno.EMFILE: "too many files are open; close some or raise ulimit -n",
}
_NOT_THE_MODEL = {errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
"""Why a file cannot be read although nothing is wrong with it."""


@contextmanager
def writing(target: Path) -> Iterator[None]:
    """Make a :class:`StorageError` of what keeps the block from writing ``target``."""
    try:
        yield
    except LearnedIndexError:
        raise
    except Exception as error:
        number = _number(error)
        if number is None and not isinstance(error, OSError):
            raise
        raise storage_error(target, error, number) from error


def storage_error(target: Path, error: Exception, number: int | None) -> StorageError:
    """Return the error that says why ``target`` cannot be written, and what to do."""
    reason = os.strerror(number) if number is not None else shortened(error)
    of = getattr(error, "filename", None)
    # The names beside the target are hidden ones, which say nothing to the reader.
    if of is not None and not str(of).startswith(str(target.parent)):
        reason += f": {of}"
    remedy = _REMEDIES.get(number or 0, "check the place or choose another")
    return StorageError(
        f"{target} cannot be written ({reason}): {remedy}. Nothing was left half-written",
        errno=number,
    )


def _number(error: Exception) -> int | None:
    """The operating system's number; libraries in Rust write it into their message."""
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return None if found is None else int(found[1])


@contextmanager
def reading_model(
    path: Path | str, what: str, *, remedy: str = "save or copy it again"
) -> Iterator[None]:
    """Make a :class:`ModelFormatError` of whatever the contents of a saved file bring about.

    Args:
        path: What is read.
        what: What it should hold, in words.
        remedy: What to do then.
    """
    try:
        yield
    except (ModelFormatError, MissingExtraError, StorageError):
        raise
    except (
        ArithmeticError,
        AttributeError,
        EOFError,
        LookupError,
        OSError,
        RuntimeError,
        SafetensorError,
        TypeError,
        ValueError,
    ) as error:
        # InputError, a ValueError, is among them: what it says of arguments is about the file.
        if isinstance(error, OSError) and error.errno in _NOT_THE_MODEL:
            raise StorageError(
                f"{error.filename or path} cannot be read ({error.strerror}); check its "
                "permissions and its disk",
                errno=error.errno,
            ) from error
        raise ModelFormatError(
            f"{path} does not hold a whole {what} ({type(error).__name__}: {shortened(error)}); "
            f"{remedy}"
        ) from error


def first_line(error: object) -> str:
    """Return the first line of what an error says; "" where it says nothing."""
    return next(iter(str(error).strip().splitlines()), "")


def shortened(error: object) -> str:
    """Return what an error says, at most some lines of it, in characters that can be printed."""
    text = " ".join(str(error).split()).encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]} ..."
