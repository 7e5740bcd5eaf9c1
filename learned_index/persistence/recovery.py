"""Find a directory again that its writer had put aside when it was killed.

That happens only where two directories cannot change names in one step.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

from learned_index.errors import InputError
from learned_index.persistence.locks import path_lock
from learned_index.persistence.names import leftovers, real_path

logger = logging.getLogger(__name__)


def recover(target: Path | str) -> None:
    """Give a missing directory its name again, if a killed writer had put it aside.

    Loaders call this before they say that there is nothing, writers before they look at what is
    there.
    """
    with suppress(InputError, OSError):  # a place that cannot be written: there is nothing to do
        path = real_path(target)
        if not path.exists() and leftovers(path, "old"):
            with path_lock(path) as is_locked:
                put_aside = leftovers(path, "old")
                # Looked at again under the lock. Of several nobody knows which is the last.
                if is_locked and len(put_aside) == 1 and not path.exists():
                    put_aside[0].rename(path)
                    logger.warning(
                        "%s was taken back: its writer was killed while replacing it", path
                    )
