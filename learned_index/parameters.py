"""Base of the configuration dataclasses: a parameter is written once, for the API and the CLI."""

from __future__ import annotations

from dataclasses import asdict, field, fields
from typing import Any, Self

from learned_index.errors import InputError


def parameter(default: Any, help_text: str) -> Any:
    """Make a dataclass field with a help text, from which options are generated."""
    return field(default=default, metadata={"help": help_text})


class Config:
    """Base of frozen configuration dataclasses: strict conversion from and to dictionaries."""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Build from a dictionary; unknown keys raise :class:`InputError`."""
        known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
        unknown = sorted(set(values) - known)
        if unknown:
            raise InputError(f"unknown {cls.__name__} keys {unknown}; known: {sorted(known)}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able dictionary of all fields."""
        return asdict(self)  # type: ignore[call-overload,no-any-return]

    def _require(self, name: str, *, low: float, high: float | None = None) -> None:
        value = getattr(self, name)
        if value is None:
            return
        if not low <= value or (high is not None and not value <= high):
            expected = f"at least {low}" if high is None else f"{low} to {high}"
            raise InputError(f"{name} is {value}, expected {expected}")
