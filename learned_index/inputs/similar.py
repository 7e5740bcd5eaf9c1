"""What somebody may have meant by a name that nothing has."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str], *, n: int = 1, cutoff: float = 0.6) -> str:
    """The end of an error about an unknown name: what is called like it.

    Args:
        name: What was given; capitals do not matter.
        known: The names that there are.
        n: Names told at most.
        cutoff: Least likeness, 0 to 1 (:func:`difflib.get_close_matches`).

    Returns:
        ``"; did you mean 'search'?"``, or nothing where no name is like it.

    Example:
        >>> did_you_mean("serch", ["search", "evaluate"])
        "; did you mean 'search'?"
    """
    folded = {each.casefold(): each for each in known}
    close = difflib.get_close_matches(name.casefold(), folded, n=n, cutoff=cutoff)
    names = ", ".join(repr(folded[each]) for each in close)
    return f"; did you mean {names}?" if names else ""
