"""The names under which a writer works beside its target, and what killed writers left there."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from pathlib import Path
from typing import Literal

from learned_index.errors import InputError

_LONGEST = 200
"""Bytes of a target's name that a hidden name repeats; file systems allow 255 in all."""
Kind = Literal["tmp", "old"]


def real_path(target: Path | str) -> Path:
    """Return where a path leads: links are followed, so that they stay when it is replaced.

    Raises:
        InputError: No name that a file can have, or a link that leads nowhere or in circles.
    """
    try:
        path = Path(os.path.realpath(target))
        # os.path answers no, where pathlib raises what the system says of a name that is too long
        leads_nowhere = os.path.islink(path) or (  # noqa: PTH114
            os.path.islink(target) and not os.path.exists(path)  # noqa: PTH110, PTH114
        )
    except ValueError as error:  # NUL, or half a surrogate pair
        raise InputError(f"{str(target)!r} is no name of a file ({error})") from None
    if leads_nowhere:
        raise InputError(
            f"{target} is a link that leads nowhere ({path}); remove it or choose another name"
        )
    if not path.name:
        raise InputError(f"{target} is no name for a file or directory; choose another")
    return path


def hidden(target: Path, ending: str) -> Path:
    """Return a hidden name beside ``target``."""
    name = target.name
    if len(os.fsencode(name)) > _LONGEST:
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    return target.with_name(f".{name}.{ending}")


def new_name(target: Path, kind: Kind, *, suffix: str = "") -> Path:
    """Return a hidden name beside ``target`` that nothing has.

    Args:
        target: The path that is written.
        kind: ``"tmp"``: not needed any more once its writer has ended; ``"old"``: the earlier
            content of ``target``, whole.
        suffix: End of the name, for writers that go by it.
    """
    # Not from random: processes that are forked or seeded alike would choose the same name.
    return hidden(target, f"li-{secrets.token_hex(8)}.{kind}{suffix}")


def leftovers(target: Path, kind: Kind) -> list[Path]:
    """Return what stands beside ``target`` under names from :func:`new_name`."""
    start = re.escape(hidden(target, "li-").name)
    # DOTALL, as a name may hold a line feed.
    ours = re.compile(rf"{start}[0-9a-f]{{16}}\.{kind}(\..*)?", re.DOTALL)
    return [target.with_name(name) for name in _names(target.parent) if ours.fullmatch(name)]


def hidden_targets(directory: Path) -> list[Path]:
    """Return the paths in a directory beside which writers work, or did."""
    ours = re.compile(r"\.(.+)\.li(-[0-9a-f]{16}\.(tmp|old)(\..*)?|\.lock)", re.DOTALL)
    found = (ours.fullmatch(name) for name in _names(directory))
    return [directory / name for name in sorted({match[1] for match in found if match})]


def _names(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)  # noqa: PTH208 - only names: no object for each entry
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
