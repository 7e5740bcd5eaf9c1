"""Names of code, read as words: ``scipy.signal.savgol_filter`` says "savgol" and "filter"."""

from __future__ import annotations

import re

_PART = re.compile(r"\w+")
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z]|[^A-Za-z]|$)|[A-Z]?[a-z]+|[A-Z]|\d+")
_IDENTIFIER = re.compile(r"(?=.*[A-Za-z0-9][._][A-Za-z_])[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)


def words_of_name(name: str) -> str:
    """The words that a qualified name is made of.

    Example:
        >>> words_of_name("sklearn.cluster.MiniBatchKMeans.fit_predict")
        'sklearn cluster mini batch k means fit predict'
    """
    return " ".join(word.lower() for word in _WORD.findall(name))


def readable(name: str) -> str:
    """A name of code as its words, behind each compound the compound itself; others as they are.

    A name of code has no blank, and parts that a dot or an underscore joins. The compound stays
    because texts about code may have it.

    Example:
        >>> readable("scipy.signal.savgol_filter")
        'scipy signal savgol filter savgol_filter'
        >>> readable("Machine learning"), readable("e.V."), readable("LaTeX")
        ('Machine learning', 'e.V.', 'LaTeX')
    """
    if not _IDENTIFIER.fullmatch(name):
        return name
    words: list[str] = []
    for part in _PART.findall(name):
        own = words_of_name(part).split()
        words += own if len(own) <= 1 else [*own, part]
    return " ".join(words)
