"""Where this package keeps what it can make again."""

from __future__ import annotations

import os
import sys
from pathlib import Path

CACHE_VARIABLE = "LEARNED_INDEX_CACHE"
"""Environment variable that names the cache directory, or turns it off."""
_OFF = ("off", "0", "none", "no", "false")


def cache_directory(chosen: Path | str | None = None) -> Path | None:
    """Return the directory of the cache; None where it is turned off.

    Args:
        chosen: A directory, or ``off``; None or empty: what ``LEARNED_INDEX_CACHE`` says, and
            without it ``learned-index`` in the user's cache directory.
    """
    value = str(chosen or os.environ.get(CACHE_VARIABLE, "")).strip()
    if value.lower() in _OFF:
        return None
    if value:
        return Path(value).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "learned-index"
