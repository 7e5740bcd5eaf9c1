"""Sphinx roles of docstrings (``:class:`ELIAS` ``) as links, where the site has the target."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|func|meth|attr|data|mod|exc):`(~?)([\w.]+)`")
EXAMPLE = re.compile(r"^( *)Example:$", re.M)  # the parser knows the plural
LITERAL = re.compile(r"``([^`\n]+)``")


def as_markdown(text: str, inside: str = "") -> str:
    """Rewrite what reStructuredText and Markdown write differently.

    Args:
        text: A docstring.
        inside: Full name of the class or module that it belongs to, where its short names are.

    Returns:
        The same text with links that the site resolves; what it does not show stays code.
    """

    def link(match: re.Match[str]) -> str:
        short, name = match.groups()
        full = name if name.startswith("learned_index") or not inside else f"{inside}.{name}"
        shown = name.rpartition(".")[2] if short or name.startswith("learned_index") else name
        return f'<autoref identifier="{full}" optional><code>{shown}</code></autoref>'

    return LITERAL.sub(r"`\1`", ROLE.sub(link, EXAMPLE.sub(r"\1Examples:", text)))


class Roles(griffe.Extension):
    """Applied by mkdocstrings to every object that it loads."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of one object."""
        if obj.docstring is None or obj.is_alias:
            return
        home = obj if obj.is_class or obj.is_module else obj.parent
        obj.docstring.value = as_markdown(obj.docstring.value, home.path if home else "")
