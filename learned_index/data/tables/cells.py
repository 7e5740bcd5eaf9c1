"""One cell of a table: the text in it, or the labels."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable
from typing import Any, Final

from learned_index.data.formats.jsonl import Whole
from learned_index.errors import InputError
from learned_index.inputs.numbers import shown

AS_LIST: Final = "list"
"""Stands for a separator where cells are written lists: ``["a", "b"]``, or as Python shows them."""
AS_URIS: Final = "uris"
"""Stands for a separator where cells are addresses with white space between them, as Annif's."""
_SEPARATORS = "|;,\t\n"


def text_of(value: Any) -> str:
    """The text of a cell: empty where there is none; the texts of a list with blanks between.

    Raises:
        InputError: An object.
    """
    if isinstance(value, str):
        return str(value)
    if value is None or _is_nan(value):
        return ""
    if isinstance(value, list):
        return " ".join(filter(None, map(text_of, value)))
    if isinstance(value, dict):
        raise InputError(f"the text is an object, {shown(value)}; expected a text")
    return str(_plain(value))


def labels_of(value: Any, separator: str | None) -> list[tuple[str, str]]:
    """The labels of a cell as (key, text), the text empty where the cell gives none.

    White space around and within a name becomes single blanks; empty names are left out.

    Args:
        value: A text, a number, an object with ``uri`` and ``label`` (or one of them), a list of
            these, or nothing.
        separator: What stands between labels of a text; None: the text is one label;
            :data:`AS_LIST`, :data:`AS_URIS`.

    Raises:
        InputError: Something else.
    """
    if value is None or _is_nan(value):
        return []
    if isinstance(value, list):
        return [label for each in value for label in labels_of(each, None)]
    if isinstance(value, dict):
        key, text = value.get("uri"), value.get("label")
        names = [_name(each) for each in (key, text) if each is not None]
        if not names or not names[0]:
            raise InputError(
                f"a label is an object with the keys {', '.join(map(repr, value))}; expected "
                "'uri', 'label' or both"
            )
        return [(names[0], names[1] if len(names) > 1 else "")]
    if not isinstance(value, str) or type(value) is Whole:
        return [(_name(value), "")]
    if separator == AS_LIST:
        return labels_of(_listed(value), None)
    if separator == AS_URIS:
        return [(uri.removeprefix("<").removesuffix(">"), "") for uri in value.split()]
    parts = [value] if separator is None else value.split(separator)
    return [(name, "") for part in parts if (name := _name(part))]


def guessed_separator(values: Iterable[Any], column: str) -> str | None:
    """What stands between the labels in cells of a column, where only one thing can be meant.

    Raises:
        InputError: Some texts hold a character that may separate labels or belong to them.
    """
    texts = [value for value in values if type(value) is str and value.strip()]
    if not texts:
        return None
    if all(text.strip()[0] + text.strip()[-1] == "[]" for text in texts):
        return AS_LIST
    if column == "subject_uris" or all(
        token[0] == "<" and token[-1] == ">" for text in texts for token in text.split()
    ):
        return AS_URIS
    counts = {each: sum(each in text for text in texts) for each in _SEPARATORS}
    found = {each: count for each, count in counts.items() if count}
    if not found:
        return None
    best = max(found, key=lambda each: found[each])
    name = {"\t": "a tab", "\n": "a line feed"}.get(best, repr(best))
    option = {"\t": "tab", "\n": "\\n"}.get(best, best)
    example = next(text for text in texts if best in text)
    raise InputError(
        f"{found[best]} of the first {len(texts)} cells of {column!r} hold {name} (such as "
        f"{shown(' '.join(example.split()))}); say whether it stands between labels: separator "
        f"{option!r} (--separator '{option}'), or 'none' where a cell is one label"
    )


def _name(value: Any) -> str:
    if isinstance(value, str):
        return " ".join(value.split())
    if isinstance(value, bool | list | dict) or value is None:
        raise InputError(f"a label is {shown(value)}, expected a text or a whole number")
    return str(_plain(value))


def _plain(value: Any) -> Any:
    """A number that a table made a fraction, for others of its column are missing, whole again."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and value != value


def _listed(text: str) -> list[Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        try:
            found = ast.literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            found = None
    if not isinstance(found, list):
        raise InputError(f'the labels are {shown(text)}, expected a list such as ["a", "b"]')
    return found
