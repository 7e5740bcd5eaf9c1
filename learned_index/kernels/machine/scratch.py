"""Memory that a thread keeps from call to call: fresh pages cost a query more than its work."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

_kept = threading.local()


def zeros(purpose: str, size: int, dtype: Any) -> Any:
    """An array of zeros of this thread, at least so long; who borrows it leaves zeros.

    What stands in it while it is borrowed is nobody else's: a purpose names one kernel's array,
    which runs to its end before the thread begins another.

    Args:
        purpose: Which kernel's, and what for.
        size: Elements.
        dtype: Of them; the same for all calls of a purpose.
    """
    array = _kept.__dict__.get(purpose)
    if array is None or len(array) < size:
        array = _kept.__dict__[purpose] = np.zeros(size, dtype)
    return array
