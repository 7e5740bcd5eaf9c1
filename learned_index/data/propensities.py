"""The constants of propensity-scored metrics that are published for data sets."""

from __future__ import annotations

import math

from learned_index.errors import InputError
from learned_index.inputs.similar import did_you_mean

DEFAULT_CONSTANTS = (0.55, 1.5)
"""A and B where a data set has none of its own (Jain et al. 2016, section 5)."""
_AMAZON, _WIKIPEDIA = (0.6, 2.6), (0.5, 0.4)
PUBLISHED: dict[str, tuple[float, float]] = {
    **dict.fromkeys(
        (
            *("Amazon-670K", "Amazon-3M", "AmazonTitles-670K", "AmazonTitles-3M"),
            *("LF-Amazon-131K", "LF-AmazonTitles-131K", "LF-AmazonTitles-1.3M"),
        ),
        _AMAZON,
    ),
    **dict.fromkeys(
        (
            *("WikiLSHTC-325K", "Wikipedia-500K", "WikiTitles-500K"),
            *("LF-Wikipedia-500K", "LF-WikiTitles-500K"),
        ),
        _WIKIPEDIA,
    ),
    **dict.fromkeys(
        (
            *("AmazonCat-13K", "AmazonCat-14K", "Bibtex", "Delicious", "Delicious-200K"),
            *("EURLex-4K", "EURLex-4.3K", "Mediamill", "RCV1-2K", "Wiki10-31K"),
            *("WikiSeeAlsoTitles-350K", "LF-WikiSeeAlso-320K", "LF-WikiSeeAlsoTitles-320K"),
        ),
        DEFAULT_CONSTANTS,
    ),
}
"""A and B of the extreme classification repository's data sets."""


def propensity_constants(text: str) -> tuple[float, float]:
    """A and B from ``"A,B"``, or from the name of a data set of the repository.

    Capitals, hyphens and underscores of names do not matter. Metrics with propensities of
    different constants cannot be compared.

    Raises:
        InputError: Neither two positive numbers nor a known name.

    Example:
        >>> propensity_constants("Amazon-670K"), propensity_constants("0.5,0.4")
        ((0.6, 2.6), (0.5, 0.4))
    """
    known = {_plain(name): pair for name, pair in PUBLISHED.items()}
    if _plain(text) in known:
        return known[_plain(text)]
    try:
        a, b = map(float, text.split(","))
    except ValueError:
        a = b = math.nan
    if not (0 < a < math.inf and 0 < b < math.inf):
        raise InputError(
            f"the propensity constants are {text!r:.60}, expected A,B as 0.55,1.5, or one of "
            f"{', '.join(PUBLISHED)}{did_you_mean(text, PUBLISHED)}"
        )
    return a, b


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "").strip()
