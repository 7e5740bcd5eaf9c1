"""Memory that is free on this machine."""

from __future__ import annotations

import os
import re
from pathlib import Path

import torch

_CGROUP = Path("/sys/fs/cgroup")


def free_memory() -> int | None:
    """Bytes of main memory that this process may still take; None where that is unknown.

    The smaller one of what the system has and what the control group (a container) leaves.
    """
    found = [value for value in (_system(), _control_group()) if value is not None]
    return min(found, default=None)


def _system() -> int | None:
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        pass
    else:
        available = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
        if available:
            return int(available.group(1)) * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def _control_group() -> int | None:
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            most = (_CGROUP / limit).read_text(encoding="ascii").strip()
            now = int((_CGROUP / used).read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
        if most.isdigit():
            return max(0, int(most) - now)
    return None


def resident_bytes() -> int:
    """Bytes of main memory that this process has now; 0 where that is unknown."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return 0


def free_device_memory(device: str) -> int | None:
    """Bytes that are free on a GPU; None without one."""
    if not device.startswith("cuda") or not torch.cuda.is_available():
        return None
    free, _ = torch.cuda.mem_get_info(torch.device(device))
    return int(free)
