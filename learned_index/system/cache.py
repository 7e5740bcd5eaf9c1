"""Where this package keeps what it can make again."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path

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
    # Without an author and without the level "Cache" that Windows programs like: the same short
    # place on every system.
    return user_cache_path("learned-index", appauthor=False, opinion=False)
