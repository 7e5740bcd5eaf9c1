"""A property that is computed once, without a lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


class lazy_property(Generic[Value]):  # noqa: N801  (it is written as a decorator)
    """Like :func:`functools.cached_property`, which in Python 3.11 holds a lock meanwhile.

    A process forked while another thread held it would wait for ever. Without one, two threads
    may compute the value at the same time; the last one stays.

    Args:
        compute: The method that makes the value.
    """

    def __init__(self, compute: Callable[[Any], Value]) -> None:
        self._compute, self.__doc__ = compute, compute.__doc__

    def __get__(self, instance: Any, owner: type) -> Value:
        """Compute the value and keep it in the instance, where it is found first from now on."""
        value = instance.__dict__[self._compute.__name__] = self._compute(instance)
        return value
