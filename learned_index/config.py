"""Base of the configuration dataclasses: a parameter is written once, for the API and the CLI."""

from __future__ import annotations

import types
from dataclasses import asdict, field, fields
from typing import Any, Literal, Self, Union, get_args, get_origin, get_type_hints

from learned_index.errors import InputError
from learned_index.inputs.numbers import MOST_SEED, real_number, shown, whole_number


def parameter(
    default: Any,
    help_text: str,
    *,
    low: float | None = None,
    high: float | None = None,
    below: float | None = None,
) -> Any:
    """Make a dataclass field with a help text, from which options are generated.

    The type and the choices of a parameter are those of its annotation.

    Args:
        default: Value where none is given.
        help_text: One line.
        low: Smallest value allowed; of whole numbers 1 unless it is given.
        high: Largest value allowed; None: any (of whole numbers 2^31 - 1).
        below: What the value must be less than; None: any.
    """
    limits = {"low": low, "high": high, "below": below}
    given = {name: limit for name, limit in limits.items() if limit is not None}
    return field(default=default, metadata={"help": help_text, "limits": given})


def seed_parameter(help_text: str) -> Any:
    """Make a field for the seed of random numbers, 0 unless it is given."""
    return parameter(0, help_text, low=0, high=MOST_SEED)


class Config:
    """Base of frozen configuration dataclasses: checked values, conversion from and to dicts.

    Every value is checked by the annotation and the limits of its field, and stored as the plain
    type of Python, whatever kind of number was given.

    Raises:
        InputError: A value of another type or out of range.
    """

    def __post_init__(self) -> None:
        # The annotations of a field are texts (from __future__ import annotations).
        hints = get_type_hints(type(self))
        for each in fields(self):  # type: ignore[arg-type]
            limits = each.metadata.get("limits", {})
            value = _checked(getattr(self, each.name), hints[each.name], each.name, limits)
            # The dataclasses are frozen.
            object.__setattr__(self, each.name, value)

    @classmethod
    def given(cls, value: Self | None) -> Self:
        """The configuration that was given, or the default one.

        Raises:
            InputError: Something else, such as a dictionary.
        """
        if value is None:
            return cls()
        if not isinstance(value, cls):
            raise InputError(
                f"got {shown(value)} for a configuration, expected a {cls.__name__}; "
                f"{cls.__name__}.from_dict makes one of a dictionary"
            )
        return value

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build from a dictionary.

        Raises:
            InputError: No dictionary, unknown keys, or values that are not allowed.
        """
        if not isinstance(values, dict):
            raise InputError(f"{cls.__name__} is made of a dictionary, got {shown(values)}")
        known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
        unknown = sorted(str(key) for key in set(values) - known)
        if unknown:
            raise InputError(f"unknown {cls.__name__} keys {unknown}; known: {sorted(known)}")
        return cls(**values)

    @classmethod
    def checked_value(cls, name: str, value: Any) -> Any:
        """Check one field by itself, and return it as it is stored.

        Args:
            name: A field.
            value: What it is to hold.

        Raises:
            InputError: Not what its annotation and its limits say.
        """
        (limits,) = (
            each.metadata.get("limits", {})
            for each in fields(cls)  # type: ignore[arg-type]
            if each.name == name
        )
        return _checked(value, get_type_hints(cls)[name], name, limits)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able dictionary of all fields."""
        return asdict(self)  # type: ignore[call-overload,no-any-return]


def _checked(value: Any, hint: Any, name: str, limits: dict[str, Any]) -> Any:
    """The value as its annotation says, or an error."""
    if get_origin(hint) in (Union, types.UnionType):
        if value is None:
            return None
        (hint,) = (argument for argument in get_args(hint) if argument is not type(None))
    if get_origin(hint) is Literal:
        choices = get_args(hint)
        # Texts only: "in" would compare an array element by element, and fail.
        if not isinstance(value, str) or value not in choices:
            expected = ", ".join(repr(choice) for choice in choices[:-1])
            raise InputError(f"{name} is {shown(value)}, expected {expected} or {choices[-1]!r}")
        return str(value)
    if hint is int:
        return whole_number(value, name, **limits)
    if hint is float:
        return real_number(value, name, **limits)
    if not isinstance(value, hint):
        kind = {str: "a text", bool: "True or False"}.get(hint, hint.__name__)
        raise InputError(f"{name} is {shown(value)}, expected {kind}")
    return value
