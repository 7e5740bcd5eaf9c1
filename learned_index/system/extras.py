"""Packages that not everybody needs, imported where they are used."""

from __future__ import annotations

import importlib
from types import ModuleType

from learned_index.errors import MissingExtraError


def require(module: str, *, extra: str) -> ModuleType:
    """Import a package that an extra of this one brings.

    Args:
        module: Its name, with dots where a part of it is wanted.
        extra: Name of the extra in ``pyproject.toml``.

    Raises:
        MissingExtraError: It is not installed, or lacks a package of its own.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{module} cannot be imported ({error}); install it with: pip install "
            f"'learned-index[{extra}]'"
        ) from None
