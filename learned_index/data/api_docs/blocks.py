"""Lines of a docstring: how deep they stand, and where what they begin ends."""

from __future__ import annotations

import re

UNDERLINE = re.compile(r"([=\-~^*#])\1{2,}\s*")
"""Below the title of a numpydoc section."""
GOOGLE = re.compile(r"([A-Z][A-Za-z ]{2,24}):{1,2}\s*")
"""Title of a Google section."""


def depth(line: str) -> int:
    """Blanks at the beginning of a line."""
    return len(line) - len(line.lstrip())


def block_end(lines: list[str], start: int, indent: int) -> int:
    """Return the index after the lines that are blank or indented deeper than ``indent``."""
    end = start
    while end < len(lines) and (not lines[end].strip() or depth(lines[end]) > indent):
        end += 1
    return end


def dedent(lines: list[str]) -> list[str]:
    """The lines without the blanks that all of them begin with."""
    least = min((depth(line) for line in lines if line.strip()), default=0)
    return [line[least:] for line in lines]


def next_section(lines: list[str], start: int) -> int:
    """Return the index of the next title of a numpydoc section, or of the end."""
    for i in range(start, len(lines) - 1):
        if lines[i].strip() and UNDERLINE.fullmatch(lines[i + 1].strip()):
            return i
    return len(lines)
