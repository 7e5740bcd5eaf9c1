"""Two halves of the queries: settings are chosen on one, their recall is told on the other.

A setting that was chosen because it reaches a recall on some queries does so by luck, too; on
other queries it shows what it is worth.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from learned_index.errors import InputError
from learned_index.types import Int64Array

Half: TypeAlias = Literal["choosing", "reporting"]
HALVES: tuple[Half, Half] = ("choosing", "reporting")


def half_key(metric: str, half: Half) -> str:
    """Return the key of a metric over one half of the queries, e.g. ``"R@100/choosing"``."""
    return f"{metric}/{half}"


def split_queries(n_queries: int, *, seed: int) -> dict[Half, Int64Array]:
    """Draw the halves; of an odd number the reporting half gets one more.

    Returns:
        The queries of each half, ascending.

    Raises:
        InputError: Fewer than two queries.
    """
    if n_queries < 2:
        raise InputError(
            f"got {n_queries} test vectors; expected two or more, as settings are chosen on one "
            "half of them and their recall is told on the other"
        )
    order_N = np.random.default_rng(seed).permutation(n_queries)
    places = (order_N[: n_queries // 2], order_N[n_queries // 2 :])
    return {half: np.sort(rows) for half, rows in zip(HALVES, places, strict=True)}
