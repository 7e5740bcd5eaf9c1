"""Blocks of documents that are run: files by their names, commands, Python."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"(?:^`([^`\n]+)`\n\n)?^```(\w*)\n(.*?)^```$", re.M | re.S)
"""A block: the file that is named before it (or nothing), its language, its contents."""


class Command(NamedTuple):
    """A command of a console block, and what the page shows of its output."""

    line: str
    shown: str


def blocks(path: Path) -> list[tuple[str, str, str]]:
    """All blocks of a page: file or "", language or "", contents."""
    return FENCE.findall(path.read_text(encoding="utf-8"))


def commands(content: str) -> list[Command]:
    """The lines of a console block that begin with ``$``, each with what follows it.

    A backslash at the end of a line joins it with the next one.
    """
    parts = re.split(r"^\$ ", content.replace("\\\n", ""), flags=re.M)[1:]
    return [Command(*part.partition("\n")[::2]) for part in parts]
