"""Two directories change names in one step, where the operating system can do that."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import sys
from pathlib import Path

# Linux's number for "relative to the working directory".
_AT_FDCWD = -100
_SWAP = 2  # RENAME_EXCHANGE on Linux, RENAME_SWAP on macOS: the same number
_RENAMEAT2 = {
    "x86_64": 316,
    "aarch64": 276,
    "riscv64": 276,
    "loongarch64": 276,
    "ppc64le": 357,
    "s390x": 347,
    "i686": 353,
    "armv7l": 382,
}
"""Number of the system call, for a C library that has no function of that name."""
_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM}
"""Of the kernel, the file system, or a sandbox that refuses calls it does not know (EPERM)."""


def exchange(first: Path, second: Path) -> bool:
    """Let two existing paths on one file system change names in one step.

    Returns:
        Whether it was done; False where the system cannot do it, and nothing has changed.

    Raises:
        OSError: The system can do it, and refused.
    """
    status = _swap(os.fsencode(first), os.fsencode(second))
    if status and (number := ctypes.get_errno()) not in _UNSUPPORTED:
        raise OSError(number, os.strerror(number), str(first), None, str(second))
    return status == 0


def _swap(first: bytes, second: bytes) -> int | None:
    """The status of the system's function; None where there is none."""
    if sys.platform not in ("linux", "darwin"):
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "darwin":
        function = getattr(libc, "renamex_np", None)
        return None if function is None else int(function(first, second, _SWAP))
    arguments = (_AT_FDCWD, first, _AT_FDCWD, second, _SWAP)
    if hasattr(libc, "renameat2"):
        return int(libc.renameat2(*arguments))
    number = _RENAMEAT2.get(platform.machine())
    return None if number is None else int(libc.syscall(number, *arguments))
