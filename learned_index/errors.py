"""Every error this package raises on purpose.

A message says what was got, what was expected and how to mend it. The command line prints it
without a traceback; library users catch :class:`LearnedIndexError` or the built-in it extends.
"""

from __future__ import annotations


class LearnedIndexError(Exception):
    """Base of all errors that this package raises on purpose."""


class InputError(LearnedIndexError, ValueError):
    """Arguments that cannot be used: wrong shape, dtype or range, NaN, unknown names."""


class DataFormatError(LearnedIndexError, ValueError):
    """A data file or folder that does not follow its format. Names the file and the line."""


class ModelFormatError(LearnedIndexError, ValueError):
    """A saved model that is truncated, edited, of another kind, or from a newer version."""


class StorageError(LearnedIndexError, OSError):
    """A place that cannot be written or read: disk full, read-only, no permission, a bad name.

    Args:
        message: What was tried, why it failed and how to mend it.
        errno: The operating system's number; None where it gave none.
    """

    def __init__(self, message: str, *, errno: int | None = None) -> None:
        super().__init__(message)
        self.errno = errno

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), self.args, {"errno": self.errno}


class BusyError(StorageError):
    """Another process is writing there."""


class NotFittedError(LearnedIndexError, RuntimeError):
    """An operation that needs a fitted or loaded object was called before ``fit``."""


class WorkerError(LearnedIndexError, RuntimeError):
    """Processes that shall answer end again and again."""


class MissingExtraError(LearnedIndexError, ImportError):
    """An optional package is not installed; the message names the pip command."""


class TrainingInterrupted(LearnedIndexError):  # noqa: N818 - nothing failed: a stop was asked for
    """Training was asked to stop and has saved its state; the same call goes on from there."""
