"""What waiting requests get, handed to them in the loop of events."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def settle(futures: Iterable[asyncio.Future[T]], outcomes: Iterable[T | BaseException]) -> None:
    """Give each of some futures its result or its error; one that nobody waits for keeps quiet.

    Args:
        futures: Of one loop, in whose thread this is called.
        outcomes: As many.
    """
    for future, outcome in zip(futures, outcomes, strict=True):
        if future.done():
            continue
        if isinstance(outcome, BaseException):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
