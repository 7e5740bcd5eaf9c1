"""Turn a docstring into the English sentences that say what the object does.

Docstrings come as numpydoc sections, Google sections, plain reStructuredText and C signatures.
Kept are summary, description, notes and warnings; signatures, parameter lists, code, doctests,
tables, formulas and references are dropped, and markup inside sentences is removed.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import NamedTuple

from learned_index.data.api_docs.blocks import (
    GOOGLE,
    UNDERLINE,
    block_end,
    dedent,
    depth,
    next_section,
)
from learned_index.data.api_docs.parameters import parameter_sentences
from learned_index.data.api_docs.sentences import ROLE, clean_markup, split_sentences, tidy

# fmt: off
_DROPPED_SECTIONS = frozenset({
    "parameters", "other parameters", "keyword parameters", "returns", "return", "return value",
    "return values", "yields", "receives", "raises", "warns", "examples", "example", "references",
    "reference", "attributes", "methods", "usage", "call signature", "call signatures",
    "arguments", "args", "keyword arguments", "keyword args", "kwargs", "shape", "shapes",
    "inputs", "outputs", "input", "output", "variables", "routine listings", "functions",
    "classes", "exceptions", "example usage", "sample usage", "default values",
    "acknowledgements", "acknowledgments", "authors", "author", "license", "licence", "copyright",
    "literature", "bibliography", "type", "types", "available methods", "properties",
    "interactive example", "class attributes", "fields", "members", "content", "contents",
    "submodules", "basic examples", "some examples", "user-visible methods",
    "available functions", "available solvers", "default", "defaults", "options", "style cycles",
    "signature", "signatures", "syntax", "version", "changelog", "array api standard support",
    "supported properties",
})
_KEPT_GOOGLE = frozenset({
    "note", "notes", "warning", "warnings", "tip", "important", "caution", "description",
})
_KEPT_DIRECTIVES = frozenset({
    "note", "warning", "tip", "important", "hint", "caution", "attention", "admonition", "remark",
    "danger",
})
# fmt: on
_DIRECTIVE = re.compile(r"\.\.\s+([a-z][\w:+-]*?)::(.*)")
_BULLET = re.compile(r"(?:[-*+•]|\(?[0-9a-z]{1,2}[.)])\s+(?=\S)")
_FIELD = re.compile(r"(?::[A-Za-z][^:`]*:(?:\s|$)|@\w+\s)")
_TABLE = re.compile(r"[=+|\-\s]{3,}|\s*[|+].*[|+]\s*")
_SIGNATURE_START = re.compile(r"(?:class\s+|def\s+)?[A-Za-z_][\w.]*\s?\(")
_TARGET = re.compile(r"~?([A-Za-z_][\w.]*)(?:\(\))?")
_CALL_END = re.compile(r"\)\s*(?:->|:|=|$)")


class ParsedDocstring(NamedTuple):
    """What a docstring says.

    Attributes:
        sentences: Clean sentences in order; the first one is the summary's.
        see_also: Names under "See Also", as written.
        parameters: The first clean sentence about each parameter.
    """

    sentences: list[str]
    see_also: list[str]
    parameters: list[str]


def parse_docstring(doc: str) -> ParsedDocstring:
    """Split a docstring into clean sentences, the names under See Also, and what parameters are."""
    lines = _without_signatures(inspect.cleandoc(doc).expandtabs().split("\n"))
    see_also: list[str] = []
    sentences: list[str] = []
    for paragraph in _paragraphs(lines, see_also):
        sentences.extend(split_sentences(clean_markup(paragraph)))
    kept = [clean for sentence in sentences if (clean := tidy(sentence))]
    return ParsedDocstring(
        list(dict.fromkeys(kept)),
        list(dict.fromkeys(see_also)),
        list(dict.fromkeys(parameter_sentences(lines))),
    )


def _without_signatures(lines: list[str]) -> list[str]:
    """Drop the call signatures with which docstrings of compiled functions begin."""
    start = 0
    while start < len(lines):
        if not lines[start].strip():
            start += 1
            continue
        if not _SIGNATURE_START.match(lines[start].strip()):
            break
        n_open, end = 0, start
        for end in range(start, min(start + 12, len(lines))):
            n_open += sum(map(lines[end].count, "([{")) - sum(map(lines[end].count, ")]}"))
            if n_open <= 0:
                break
        tail = lines[end].rpartition(")")[2].strip()
        if n_open > 0 or not (not tail or tail.startswith(("->", "=", ":", "--", "[", "/"))):
            break
        start = end + 1
    return lines[start:]


def _paragraphs(lines: list[str], see_also: list[str]) -> Iterator[str]:
    """Yield the paragraphs of prose; names under See Also are appended to ``see_also``."""
    current: list[str] = []
    dropping = False
    i = 0

    def flush() -> Iterator[str]:
        if current:
            yield " ".join(current)
            current.clear()

    while i < len(lines):
        stripped, indent = lines[i].strip(), depth(lines[i])
        following = lines[i + 1].strip() if i + 1 < len(lines) else ""
        if not stripped:
            yield from flush()
            i += 1
        elif indent == 0 and UNDERLINE.fullmatch(following):
            yield from flush()
            name = stripped.lower().rstrip(":")
            dropping = name in _DROPPED_SECTIONS or name.startswith(("example", "reference"))
            i += 2
            if name in ("see also", "see-also", "seealso", "related"):
                end = next_section(lines, i)
                see_also.extend(_see_also_names(lines[i:end]))
                i = end
        elif dropping or (indent == 0 and UNDERLINE.fullmatch(stripped)):
            i += 1
        elif block := _block(lines, i, see_also, is_first=not current):
            yield from flush()
            i, inside = block
            yield from _paragraphs(inside, see_also)
        else:
            current.append(stripped)
            i += 1
            if stripped.endswith("::"):  # announces code, a formula, a table
                yield from flush()
                i = block_end(lines, i, indent)
    yield from flush()


def _block(
    lines: list[str], i: int, see_also: list[str], *, is_first: bool
) -> tuple[int, list[str]] | None:
    """Recognise what begins in a line and is no plain paragraph.

    Args:
        lines: All lines.
        i: The line; not blank.
        see_also: Names under See Also are appended.
        is_first: Whether the line begins a paragraph.

    Returns:
        The index after it, and the lines in it that are prose; None for a paragraph.
    """
    line, stripped, indent = lines[i].rstrip(), lines[i].strip(), depth(lines[i])
    end = block_end(lines, i + 1, indent)
    body = lines[i + 1 : end]
    google = GOOGLE.fullmatch(stripped)
    name = google[1].lower() if google else ""
    # In the middle of a paragraph such a line is the end of a sentence, if no known section.
    if google and (is_first or name in _DROPPED_SECTIONS):
        if name == "see also":
            see_also.extend(_see_also_names(dedent(body)))
        return end, dedent(body) if name in _KEPT_GOOGLE else []
    if stripped.startswith(".."):
        directive = _DIRECTIVE.match(stripped)
        kind, head = directive.groups() if directive else ("", "")
        if kind == "seealso":
            see_also.extend(_role_targets(" ".join([head, *body])))
        if kind not in _KEPT_DIRECTIVES:
            return end, []
        prose = dedent([inner for inner in body if not _FIELD.match(inner.strip())])
        return end, prose if kind == "admonition" else [head.strip(), *prose]
    if stripped.startswith((">>>", "...", "In [", "$ ", "```")):
        return _code_end(lines, i, is_fenced=stripped.startswith("```")), []
    if _FIELD.match(stripped):
        return end, []
    if _TABLE.fullmatch(line):
        return i + 1, []
    if bullet := _BULLET.match(stripped):
        # A blank line ends an item: what comes behind it, indented, is a block of its own.
        end = next((j for j in range(i + 1, end) if not lines[j].strip()), end)
        return end, [stripped[bullet.end() :], *dedent(lines[i + 1 : end])]
    if indent > 0 and is_first:
        # An indented block that nothing announced: code, a formula, a definition list.
        return block_end(lines, i + 1, 0), []
    return None


def _code_end(lines: list[str], start: int, *, is_fenced: bool) -> int:
    """Return the index after code: after the closing fence, or at the blank line."""
    for i in range(start + 1, len(lines)):
        if lines[i].strip().startswith("```") if is_fenced else not lines[i].strip():
            return i + is_fenced
    return len(lines)


def _see_also_names(lines: list[str]) -> list[str]:
    """Names of a numpydoc See Also section: ``a, b : description``, or roles in prose."""
    names: list[str] = []
    for line in lines:
        names.extend(_role_targets(line))
        if not line.strip() or depth(line) > 0:
            continue
        head = ROLE.sub(lambda match: match[1].lstrip("~"), line.strip()).partition(" : ")[0]
        head = head.rstrip(":").replace("`", "")
        parts = [part.strip() for part in head.split(",") if part.strip()]
        if parts and all(_TARGET.fullmatch(part) for part in parts):
            names.extend(part.removesuffix("()").lstrip("~") for part in parts)
    return names


def _role_targets(text: str) -> list[str]:
    names = []
    for content in ROLE.findall(text):
        explicit = re.search(r"<([^>]*)>", content)
        match = _TARGET.fullmatch((explicit[1] if explicit else content).strip())
        if match:
            names.append(match[1])
    return names
