"""Sentences of a docstring as a reader sees them, and only those that say something."""

from __future__ import annotations

import re

ROLE = re.compile(r":[a-z][\w+.-]*(?::[a-z][\w+.-]*)?:`([^`]*)`")
"""A role of reStructuredText with its content."""


def clean_markup(text: str) -> str:
    """Remove reStructuredText and Markdown markup, and keep what a reader sees."""

    def role(match: re.Match[str]) -> str:
        content = re.sub(r"\s*<[^>]*>$", "", match[1])
        return (
            content.lstrip("!").split(".")[-1] if content.startswith("~") else content.lstrip("!")
        )

    text = ROLE.sub(role, text)
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


def tidy(sentence: str) -> str | None:
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
