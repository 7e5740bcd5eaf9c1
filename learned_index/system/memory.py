"""Memory: what is free on this machine, what this process has and had."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def free_memory() -> int | None:
    """Bytes of main memory that this process may still take; None where that is unknown.

    The smaller one of what the system has and what the control group (a container) leaves.
    """
    found = [value for value in (_system(), _control_group()) if value is not None]
    return min(found, default=None)


def _system() -> int | None:
    # What the page cache holds can be taken back: MemAvailable counts it, free pages do not.
    available = _kilobytes("/proc/meminfo", "MemAvailable")
    if available is not None:
        return available * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def _control_group() -> int | None:
    for limit, used in (
        # Version 2 of control groups, then version 1.
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            most = (_CGROUP / limit).read_text(encoding="ascii").strip()
            now = int((_CGROUP / used).read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
        # "max" where there is no limit.
        if most.isdigit():
            return max(0, int(most) - now)
    return None


def _kilobytes(file: str, name: str) -> int | None:
    """A line ``name: 123 kB`` of a file below /proc; None where there is none."""
    try:
        text = Path(file).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):  # not on Linux
        return None
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found.group(1)) if found else None


def resident_bytes() -> int:
    """Bytes of main memory that this process has now, mapped files included; 0 where unknown."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return 0


def peak_rss_mb() -> float | None:
    """Return the largest resident memory of this process so far, in MiB; None if unknown.

    On Linux from ``VmHWM``: ``ru_maxrss`` of a child begins at its parent's resident memory at
    the time it was started, so a small child of a large parent would look large.
    """
    peak = _kilobytes("/proc/self/status", "VmHWM")
    if peak is not None:
        return peak / 2**10
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Bytes on macOS, kilobytes elsewhere.
    return used / 2**20 if sys.platform == "darwin" else used / 2**10


def give_back() -> None:
    """Return memory to the system that is free and that the C library keeps for a while.

    What loading a model read and parsed is 20 MB or more, in pieces between what stays. Only glibc
    can be asked.
    """
    if sys.platform != "linux":
        return
    import ctypes

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def free_device_memory(device: str) -> int | None:
    """Bytes that are free on a GPU; None without one."""
    import torch

    if not device.startswith("cuda") or not torch.cuda.is_available():
        return None
    free, _ = torch.cuda.mem_get_info(torch.device(device))
    return int(free)


def gigabytes(count: float) -> str:
    """Bytes for a person."""
    return f"{count / 2**30:.2f} GiB" if count >= 2**29 else f"{count / 2**20:.1f} MiB"
