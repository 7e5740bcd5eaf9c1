"""Single numbers: whole ones (k, widths, seeds) and real ones (rates, shares)."""

from __future__ import annotations

from typing import Any

from learned_index.errors import InputError

MOST = 2**31 - 1
"""Largest whole number unless an argument says otherwise: compiled code counts in 32 bits."""
MOST_SEED = 2**62
"""Largest seed; some are counted up from there."""
LARGEST = 1e15
"""Vectors with an entry beyond it are refused: their squares and products leave the range of
float32, and what comes out would be infinity or NaN. Compiled searches check for it too."""
_SHOWN = 60
_MOST_PADDING = 1 << 25
"""Entries of a result that may be nothing but padding: 400 MB."""


def shown(value: Any) -> str:
    """A value as errors print it: short, whatever it is."""
    try:
        text = repr(value)
    except ValueError:  # Python prints no whole number of more than 4300 digits
        return f"a number of {value.bit_length()} bits"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def whole_number(value: Any, name: str, *, low: int = 1, high: int = MOST) -> int:
    """Check a whole number, and return it as an int of Python.

    Args:
        value: An int of Python, NumPy or torch. No bool, no float (2.0 neither) and no text.
        name: Its name in errors.
        low: Smallest value allowed.
        high: Largest value allowed.

    Raises:
        InputError: Another type, or out of range.
    """
    number = _plain(value)
    # type(), because True is an int, too.
    if type(number) is not int:
        hint = f"; write int({name})" if isinstance(number, float) else ""
        raise InputError(f"{name} is {shown(value)}, expected a whole number{hint}")
    if not low <= number <= high:
        expected = f"at least {low}" if number < low else f"{low} to {high}"
        raise InputError(f"{name} is {shown(number)}, expected {expected}")
    return number


def whole_numbers(**values: Any) -> tuple[int, ...]:
    """Check whole numbers of at least 1, by name; see :func:`whole_number`."""
    return tuple(whole_number(value, name) for name, value in values.items())


def real_number(
    value: Any,
    name: str,
    *,
    low: float | None = None,
    high: float | None = None,
    below: float | None = None,
) -> float:
    """Check a real number, and return it as a float of Python.

    Args:
        value: An int or float of Python, NumPy or torch, finite. No bool and no text.
        name: Its name in errors.
        low: Smallest value allowed; None: any.
        high: Largest value allowed; None: any.
        below: What the value must be less than; None: any.

    Raises:
        InputError: Another type, NaN, infinite, or out of range.
    """
    number = _plain(value)
    try:
        if isinstance(number, bool | str | bytes):
            raise TypeError
        number = float(number)
    except (TypeError, ValueError):
        raise InputError(f"{name} is {shown(value)}, expected a number") from None
    except OverflowError:
        number = float("inf")
    if not -float("inf") < number < float("inf"):
        raise InputError(f"{name} is {shown(value)}, expected a finite number")
    if (
        (low is not None and number < low)
        or (high is not None and number > high)
        or (below is not None and number >= below)
    ):
        limits = {"at least": low, "at most": high, "below": below}
        said = [f"{words} {limit}" for words, limit in limits.items() if limit is not None]
        if low is not None and high is not None:
            said = [f"{low} to {high}"]
        raise InputError(f"{name} is {shown(value)}, expected {' and '.join(said)}")
    return number


def check_result_size(k: int, *, n_rows: int, n_labels: int) -> None:
    """Refuse a number of results that would fill the memory with padding.

    Args:
        k: Results wanted of each query, checked.
        n_rows: Queries.
        n_labels: Labels that there are.

    Raises:
        InputError: k is beyond the labels, and the result is huge.
    """
    if k > n_labels and k * n_rows > _MOST_PADDING:
        raise InputError(
            f"k is {k} for {n_rows} queries, but there are {n_labels} labels: the result would be "
            # An id takes eight bytes, a score four.
            f"{12 * k * n_rows / 2**30:.1f} GiB, most of it padding; expected k of at most "
            f"{n_labels}"
        )


def _plain(value: Any) -> Any:
    """Scalars of NumPy and torch, and arrays of no dimension, as numbers of Python."""
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return value.item()
    return value
