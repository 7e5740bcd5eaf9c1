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

_UNDERLINE = re.compile(r"([=\-~^*#])\1{2,}\s*")
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
_PARAMETERS = frozenset({
    "parameters", "args", "arguments", "other parameters", "keyword args", "keyword arguments",
})
_KEPT_GOOGLE = frozenset({
    "note", "notes", "warning", "warnings", "tip", "important", "caution", "description",
})
_KEPT_DIRECTIVES = frozenset({
    "note", "warning", "tip", "important", "hint", "caution", "attention", "admonition", "remark",
    "danger",
})
# fmt: on
_GOOGLE = re.compile(r"([A-Z][A-Za-z ]{2,24}):{1,2}\s*")
_DIRECTIVE = re.compile(r"\.\.\s+([a-z][\w:+-]*?)::(.*)")
_BULLET = re.compile(r"(?:[-*+•]|\(?[0-9a-z]{1,2}[.)])\s+(?=\S)")
_FIELD = re.compile(r"(?::[A-Za-z][^:`]*:(?:\s|$)|@\w+\s)")
_PARAMETER_FIELD = re.compile(r":param[^:]*:\s*")
_TABLE = re.compile(r"[=+|\-\s]{3,}|\s*[|+].*[|+]\s*")
_SIGNATURE_START = re.compile(r"(?:class\s+|def\s+)?[A-Za-z_][\w.]*\s?\(")
_ROLE = re.compile(r":[a-z][\w+.-]*(?::[a-z][\w+.-]*)?:`([^`]*)`")
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
    kept = [tidy for sentence in sentences if (tidy := _tidy(sentence))]
    return ParsedDocstring(
        list(dict.fromkeys(kept)),
        list(dict.fromkeys(see_also)),
        list(dict.fromkeys(_about_parameters(lines))),
    )


def _about_parameters(lines: list[str]) -> Iterator[str]:
    """The first clean sentence about each parameter of a numpydoc or Google section, or field."""
    for text in _parameter_texts(lines):
        first = split_sentences(clean_markup(text))[:1]
        # Many begin with a small letter, as part of a list.
        tidy = _tidy(first[0][:1].upper() + first[0][1:]) if first else None
        if tidy:
            yield tidy


def _parameter_texts(lines: list[str]) -> Iterator[str]:
    i = 0
    while i < len(lines):
        stripped, following = lines[i].strip(), lines[i + 1].strip() if i + 1 < len(lines) else ""
        indent = _indent(lines[i])
        google = _GOOGLE.fullmatch(stripped)
        if _UNDERLINE.fullmatch(following) and stripped.lower() in _PARAMETERS:
            end = _next_section(lines, i + 2)
            for item in _items(_dedent(lines[i + 2 : end])):
                yield " ".join(_first_paragraph(item[1:]))
            i = end
        elif google and google[1].lower() in _PARAMETERS:
            end = _block_end(lines, i + 1, indent)
            for item in _items(_dedent(lines[i + 1 : end])):
                head = re.sub(r"^\*{0,2}\w+\s*(?:\([^()]*(?:\([^()]*\)[^()]*)*\))?\s*:", "", item[0])
                yield " ".join(_first_paragraph([head, *item[1:]]))
            i = end
        elif field := _PARAMETER_FIELD.match(stripped):
            end = _block_end(lines, i + 1, indent)
            yield " ".join(_first_paragraph([stripped[field.end() :], *lines[i + 1 : end]]))
            i = end
        else:
            i += 1


def _items(lines: list[str]) -> Iterator[list[str]]:
    """The items of a definition list: each begins at the margin."""
    item: list[str] = []
    for line in lines:
        if line.strip() and not _indent(line):
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


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _without_signatures(lines: list[str]) -> list[str]:
    """Drop the call signatures with which docstrings of compiled functions begin."""
    start = 0
    while start < len(lines):
        if not lines[start].strip():
            start += 1
            continue
        if not _SIGNATURE_START.match(lines[start].strip()):
            break
        depth, end = 0, start
        for end in range(start, min(start + 12, len(lines))):
            depth += sum(map(lines[end].count, "([{")) - sum(map(lines[end].count, ")]}"))
            if depth <= 0:
                break
        tail = lines[end].rpartition(")")[2].strip()
        if depth > 0 or not (not tail or tail.startswith(("->", "=", ":", "--", "[", "/"))):
            break
        start = end + 1
    return lines[start:]


def _block_end(lines: list[str], start: int, indent: int) -> int:
    """Return the index after the lines that are blank or indented deeper than ``indent``."""
    end = start
    while end < len(lines) and (not lines[end].strip() or _indent(lines[end]) > indent):
        end += 1
    return end


def _dedent(lines: list[str]) -> list[str]:
    depth = min((_indent(line) for line in lines if line.strip()), default=0)
    return [line[depth:] for line in lines]


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
        stripped, indent = lines[i].strip(), _indent(lines[i])
        following = lines[i + 1].strip() if i + 1 < len(lines) else ""
        if not stripped:
            yield from flush()
            i += 1
        elif indent == 0 and _UNDERLINE.fullmatch(following):
            yield from flush()
            name = stripped.lower().rstrip(":")
            dropping = name in _DROPPED_SECTIONS or name.startswith(("example", "reference"))
            i += 2
            if name in ("see also", "see-also", "seealso", "related"):
                end = _next_section(lines, i)
                see_also.extend(_see_also_names(lines[i:end]))
                i = end
        elif dropping or (indent == 0 and _UNDERLINE.fullmatch(stripped)):
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
                i = _block_end(lines, i, indent)
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
    line, stripped, indent = lines[i].rstrip(), lines[i].strip(), _indent(lines[i])
    end = _block_end(lines, i + 1, indent)
    body = lines[i + 1 : end]
    google = _GOOGLE.fullmatch(stripped)
    name = google[1].lower() if google else ""
    # In the middle of a paragraph such a line is the end of a sentence, if no known section.
    if google and (is_first or name in _DROPPED_SECTIONS):
        if name == "see also":
            see_also.extend(_see_also_names(_dedent(body)))
        return end, _dedent(body) if name in _KEPT_GOOGLE else []
    if stripped.startswith(".."):
        directive = _DIRECTIVE.match(stripped)
        kind, head = directive.groups() if directive else ("", "")
        if kind == "seealso":
            see_also.extend(_role_targets(" ".join([head, *body])))
        if kind not in _KEPT_DIRECTIVES:
            return end, []
        prose = _dedent([inner for inner in body if not _FIELD.match(inner.strip())])
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
        return end, [stripped[bullet.end() :], *_dedent(lines[i + 1 : end])]
    if indent > 0 and is_first:
        # An indented block that nothing announced: code, a formula, a definition list.
        return _block_end(lines, i + 1, 0), []
    return None


def _code_end(lines: list[str], start: int, *, is_fenced: bool) -> int:
    """Return the index after code: after the closing fence, or at the blank line."""
    for i in range(start + 1, len(lines)):
        if lines[i].strip().startswith("```") if is_fenced else not lines[i].strip():
            return i + is_fenced
    return len(lines)


def _next_section(lines: list[str], start: int) -> int:
    for i in range(start, len(lines) - 1):
        if lines[i].strip() and _UNDERLINE.fullmatch(lines[i + 1].strip()):
            return i
    return len(lines)


def _see_also_names(lines: list[str]) -> list[str]:
    """Names of a numpydoc See Also section: ``a, b : description``, or roles in prose."""
    names: list[str] = []
    for line in lines:
        names.extend(_role_targets(line))
        if not line.strip() or _indent(line) > 0:
            continue
        head = _ROLE.sub(lambda match: match[1].lstrip("~"), line.strip()).partition(" : ")[0]
        head = head.rstrip(":").replace("`", "")
        parts = [part.strip() for part in head.split(",") if part.strip()]
        if parts and all(_TARGET.fullmatch(part) for part in parts):
            names.extend(part.removesuffix("()").lstrip("~") for part in parts)
    return names


def _role_targets(text: str) -> list[str]:
    names = []
    for content in _ROLE.findall(text):
        explicit = re.search(r"<([^>]*)>", content)
        match = _TARGET.fullmatch((explicit[1] if explicit else content).strip())
        if match:
            names.append(match[1])
    return names


def clean_markup(text: str) -> str:
    """Remove reStructuredText and Markdown markup, and keep what a reader sees."""

    def role(match: re.Match[str]) -> str:
        content = re.sub(r"\s*<[^>]*>$", "", match[1])
        return (
            content.lstrip("!").split(".")[-1] if content.startswith("~") else content.lstrip("!")
        )

    text = _ROLE.sub(role, text)
    text = re.sub(r"``([^`]*)``", r"\1", text)
    text = re.sub(r"`~(?:[\w]+\.)*(\w+)(?:\(\))?`", r"\1", text)
    text = re.sub(r"`\.(\w[\w.]*)`", r"\1", text)
    text = re.sub(r"`([^`<]*?)\s*<[^>`]*>`_{0,2}", r"\1", text)
    text = re.sub(r"`([^`]*)`_{0,2}", r"\1", text)
    text = re.sub(r"\[([^\[\]]{2,})\]\((?:https?:|#)[^)]*\)", r"\1", text)
    text = re.sub(r"\s*\[[\w#*, -]{1,12}\]_", "", text)
    text = re.sub(r"(?<![\w*])\*{1,2}([^\s*](?:[^*]*[^\s*])?)\*{1,2}(?![\w*])", r"\1", text)
    text = re.sub(r"\|(\w[\w ]*)\|", r"\1", text)
    text = text.replace("\\*", "*").replace("\\_", "_").replace("\\ ", "")
    text = text.replace(":math:", "").replace("::", ":")
    return re.sub(r"\s+", " ", text).strip()


_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|cf|vs|etc|resp|approx|fig|eq|eqs|sec|no|ref|refs|chap|pp|vol|dr|prof|"
    r"al|ca|viz|incl|max|min|dim|arg|args|st|ed)|(?<![\w.])(?:[A-Za-z]\.)+[A-Za-z])\.$",
    re.IGNORECASE,
)


def split_sentences(paragraph: str) -> list[str]:
    """Split a paragraph at sentence ends; abbreviations such as "e.g." are no ends."""
    sentences: list[str] = []
    start = 0
    for match in re.finditer(r"[.!?][\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9]|[a-z]\w*[._]\w)", paragraph):
        candidate = paragraph[start : match.end()].strip()
        if _ABBREVIATION.search(candidate) and not re.search(r"\betc\.$", candidate):
            continue
        sentences.append(candidate)
        start = match.end()
    sentences.append(paragraph[start:].strip())
    return [sentence for sentence in sentences if sentence]


_JUNK = re.compile(
    r"https?://|www\.|\\[a-zA-Z]|\$|>>>|\bdoi\b|\bISBN\b|arxiv|^\s*see\b|^refer to\b|^for (?:more|"
    r"further|full|a full|additional|complete|details|usage|examples?|a list)\b|^(?:added|changed|"
    r"deprecated|new) in\b|^(?:default|defaults|alias|aliases)\b|^same as\b|^as of\b|"
    r"^since version|full documentation|^read more in|user guide|^equivalent to |"
    r"^this is an? alias|^\.\.|"
    r"^the documentation|^this docstring|^copyright|^self-documenting|in-?place version of|"
    r"docstring|^todo\b|^fixme\b|^example|^usage|^inherited from|^initialize self|"
    r"^the following (?:is|are)|^the same as|\bsee (?:also|above|below|the)\b|tutorial|"
    r"^(?:see|note):?$|:$|deprecated|^\W*\w+: ?\w+$|^internal|pp\. ?\d|\bet al\b|array api|"
    r"\bv\d+\.\d|^for (?:additional )?information|"
    r"\b(?:python|numpy|scipy|(?:py)?torch|matplotlib) \d+\.\d|"
    r"(?:seen|shown|given|discussed) (?:above|below)|examples? (?:above|below)|above example|"
    r"(?:in the|following|previous) examples?\b|^suppose,|"
    r"backwards?[ -]compat",
    re.IGNORECASE,
)
_WORD = re.compile(r"[A-Za-z][A-Za-z'’-]*")
_CODE_TOKEN = re.compile(r"[_=(){}<>|/\\^+@%#~\[\]]|[a-z][A-Z]|\w\.\w|\d")
# fmt: off
_COMMON = frozenset({
    "the", "a", "an", "of", "to", "in", "is", "are", "be", "for", "by", "and", "or", "with",
    "that", "this", "from", "as", "on", "it", "its", "if", "into", "at", "which", "when", "using",
    "not", "two", "each", "all", "can", "will", "one", "has", "used", "between", "given",
})
# fmt: on


_CONTINUATION = re.compile(
    r"(?:where|and|or|but|which|so|then|that|else|otherwise|is|are|with|for|such|to|by|as|in|of)\b"
)
_DANGLING = re.compile(r"\b(?:that|as|by|is|are|the|of|to|and|or|where|with|for|if|a|an|in|on)$")
_LABELLED = re.compile(r"\W?[\w.*]{1,24}\W? ?(?:[:=]|--?|->) ?")


def _tidy(sentence: str) -> str | None:
    """Return the sentence as it goes into the data, or None if it says nothing by itself."""
    sentence = re.sub(r"^(?:Notes?|Warnings?|Tip|Important|Hint)\s*[:-]\s*", "", sentence)
    sentence = re.sub(r"\s+([,.;])(?=\s|$)", r"\1", sentence).strip(" -*")
    sentence = re.sub(
        r"\s*\((?:(?:see|cf\.?)\b[^()]*|\s*)\)", "", sentence, flags=re.IGNORECASE
    ).strip()
    if not 15 <= len(sentence) <= 400 or _JUNK.search(sentence):
        return None
    words = _WORD.findall(sentence)
    tokens = sentence.split()
    if len(words) < 3 or len(tokens) > 60:
        return None
    if sum(bool(_CODE_TOKEN.search(token)) for token in tokens) > 0.34 * len(tokens):
        return None
    if _CONTINUATION.match(sentence) or _LABELLED.match(sentence):
        return None
    if not sentence[0].isalnum() or sum(len(w) for w in words) < 0.6 * len(
        sentence.replace(" ", "")
    ):
        return None
    if len(words) > 5 and not _COMMON & {word.lower() for word in words}:
        return None
    if sentence.count("(") != sentence.count(")") or sentence.count('"') % 2:
        return None
    sentence = sentence.rstrip(".;,:")
    if _DANGLING.search(sentence):
        return None
    return sentence[0].upper() + sentence[1:] if words[0] == tokens[0] else sentence
