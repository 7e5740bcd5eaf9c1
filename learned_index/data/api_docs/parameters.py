"""What a docstring says about the parameters of its object."""

from __future__ import annotations

import re
from collections.abc import Iterator

from learned_index.data.api_docs.blocks import (
    GOOGLE,
    UNDERLINE,
    block_end,
    dedent,
    depth,
    next_section,
)
from learned_index.data.api_docs.sentences import clean_markup, split_sentences, tidy

_SECTIONS = frozenset(
    {
        "parameters",
        "other parameters",
        "args",
        "arguments",
        "keyword args",
        "keyword arguments",
    }
)
_GOOGLE_ITEM = re.compile(r"^\*{0,2}\w+\s*(?:\([^()]*(?:\([^()]*\)[^()]*)*\))?\s*:")
_FIELD = re.compile(r":param[^:]*:\s*")


def parameter_sentences(lines: list[str]) -> Iterator[str]:
    """The first clean sentence about each parameter.

    Args:
        lines: Of the docstring: numpydoc or Google sections, or fields ``:param x:``.
    """
    for text in _parameter_texts(lines):
        first = split_sentences(clean_markup(text))[:1]
        # Many begin with a small letter, as part of a list.
        clean = tidy(first[0][:1].upper() + first[0][1:]) if first else None
        if clean:
            yield clean


def _parameter_texts(lines: list[str]) -> Iterator[str]:
    i = 0
    while i < len(lines):
        stripped, following = lines[i].strip(), lines[i + 1].strip() if i + 1 < len(lines) else ""
        indent = depth(lines[i])
        google = GOOGLE.fullmatch(stripped)
        if UNDERLINE.fullmatch(following) and stripped.lower() in _SECTIONS:
            end = next_section(lines, i + 2)
            for item in _items(dedent(lines[i + 2 : end])):
                yield " ".join(_first_paragraph(item[1:]))
            i = end
        elif google and google[1].lower() in _SECTIONS:
            end = block_end(lines, i + 1, indent)
            for item in _items(dedent(lines[i + 1 : end])):
                head = _GOOGLE_ITEM.sub("", item[0])
                yield " ".join(_first_paragraph([head, *item[1:]]))
            i = end
        elif field := _FIELD.match(stripped):
            end = block_end(lines, i + 1, indent)
            yield " ".join(_first_paragraph([stripped[field.end() :], *lines[i + 1 : end]]))
            i = end
        else:
            i += 1


def _items(lines: list[str]) -> Iterator[list[str]]:
    """The items of a definition list: each begins at the margin."""
    item: list[str] = []
    for line in lines:
        if line.strip() and not depth(line):
            if item:
                yield item
            item = []
        item.append(line)
    if item:
        yield item


def _first_paragraph(lines: list[str]) -> list[str]:
    stripped = [line.strip() for line in lines]
    end = next((n for n, line in enumerate(stripped) if n and not line), len(stripped))
    return [line for line in stripped[:end] if line]
