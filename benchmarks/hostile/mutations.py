"""Ways to damage a file: what a bad disk, a bad program or a bad person would do."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any

NUMBERS = (
    *("0", "-1", "1", "7", "255", "65536", "2147483647", "2147483648", "4294967296"),
    *("1041632088", "9223372036854775807", "9223372036854775808", "18446744073709551616"),
    *("999999999999999999999", "9" * 400, "9" * 5000, "1e5", "1e400", "-1e400", "1e-400", "nan"),
    *(
        "inf",
        "-inf",
        "0x10",
        "1_000",
        "007",
        "+1",
        "1.0",
        "1.",
        ".5",
        "-0",
        "²",
        "١",
        "",
        "1e999999999",
    ),
)
PIECES = (
    *(b"\0", b"\n", b"\r", b"\r\n", b"\t", b" ", b"\x0b", b"\x0c", b"\x1c", b"\x85", b"\xc2\xa0"),
    *(b"\xe2\x80\xa8", b"\xef\xbb\xbf", b"\xff\xfe", b"\xff", b"\xc0\x80", b"\xed\xa0\x80"),
    *(b":", b",", b"#", b'"', b"\\", b"{", b"}", b"[", b"]", b"[" * 5000, b'{"a":' * 3000),
    *(
        b"\\ud800",
        b"\\u0000",
        b"null",
        b"true",
        b"NaN",
        b"Infinity",
        b"\xf0\x9f\x90\xa6",
        b"A" * 70_000,
    ),
)


def damaged(content: bytes, other: bytes, rng: random.Random) -> bytes:
    """Return a content with one to three damages.

    Args:
        content: What is damaged.
        other: Where foreign pieces come from.
        rng: Decides what is done.
    """
    for _ in range(rng.choice((1, 1, 1, 1, 2, 3))):
        content = rng.choice(_DAMAGES)(content, other, rng)
    return content


def _flip(content: bytes, _: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        if changed:
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _insert(content: bytes, _: bytes, rng: random.Random) -> bytes:
    place = rng.choice((0, len(content), rng.randint(0, len(content))))
    return content[:place] + rng.choice((*PIECES, rng.randbytes(4))) + content[place:]


def _cut(content: bytes, _: bytes, rng: random.Random) -> bytes:
    return content[: rng.randint(0, len(content))]


def _span(content: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randint(0, len(content))
    return start, min(len(content), start + rng.choice((1, 2, 5, 20, 200)))


def _delete(content: bytes, _: bytes, rng: random.Random) -> bytes:
    start, end = _span(content, rng)
    return content[:start] + content[end:]


def _repeat(content: bytes, _: bytes, rng: random.Random) -> bytes:
    start, end = _span(content, rng)
    return content[:end] + content[start:end] * rng.choice((1, 1, 30)) + content[end:]


def _zeros(content: bytes, _: bytes, rng: random.Random) -> bytes:
    start, end = _span(content, rng)
    return content[:start] + bytes(end - start) + content[end:]


def _splice(content: bytes, other: bytes, rng: random.Random) -> bytes:
    start, end = _span(other, rng)
    place = rng.randint(0, len(content))
    return content[:place] + other[start : max(end, start + 40)] + content[place + (end - start) :]


def _number(content: bytes, _: bytes, rng: random.Random) -> bytes:
    places = list(re.finditer(rb"\d+", content))
    if not places:
        return content
    place = rng.choice(places[: rng.choice((3, len(places)))])
    number = rng.choice(NUMBERS).encode()
    return content[: place.start()] + number + content[place.end() :]


def _line(content: bytes, other: bytes, rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    place = rng.randrange(len(lines))
    action = rng.choice(("drop", "twice", "blank", "swap", "foreign"))
    if action == "drop":
        del lines[place]
    elif action == "swap":
        partner = rng.randrange(len(lines))
        lines[place], lines[partner] = lines[partner], lines[place]
    else:
        foreign = rng.choice(other.split(b"\n"))
        lines.insert(place, {"twice": lines[place], "blank": b"", "foreign": foreign}[action])
    return b"\n".join(lines)


def _separators(content: bytes, _: bytes, rng: random.Random) -> bytes:
    old = rng.choice((b"\n", b" ", b"\t", b",", b":"))
    new = rng.choice((b"\r\n", b"\r", b"\x0c", b"\x0b", b"  ", b"\t", b"\xc2\xa0", b";", b", "))
    return content.replace(old, new, rng.choice((-1, -1, 1)))


def _encoding(content: bytes, _: bytes, rng: random.Random) -> bytes:
    text = content.decode("utf-8", "replace")
    return rng.choice(
        (
            text.encode("utf-16"),
            text.encode("utf-8-sig"),
            text.encode("latin-1", "replace"),
            text.encode("utf-32"),
        )
    )


_DAMAGES: tuple[Callable[[bytes, bytes, random.Random], bytes], ...] = (
    *(_flip, _insert, _cut, _delete, _repeat, _zeros, _splice, _number, _number, _line, _line),
    *(_separators, _encoding),
)

_VALUES: tuple[str, ...] = (
    *("null", "true", "1.5", "-1", "0", "-0", "3", "NaN", '""', '"a"', '"\\ud800"', "[]", "{}"),
    *('"\\u0000"', "1e400", "9" * 5000, "[" * 900 + "]" * 900, "[" * 50_000, '[["a"]]', '["a", 1]'),
    *('[{"uri": "u1"}]', '[{"uri": 5, "label": "five"}]', '[{"label": "only"}]', '[{"uri": null}]'),
    *('{"uri": "u1", "label": "\\udc00"}', '"' + "x" * 30_000 + '"', "[true]", "[null]", '"a\\tb"'),
    *('"a\\nb"', '["a\\r"]', '{"a": 1, "a": 2}'),
)
_FIELDS = ("text", "labels", "label", "subjects", "target_ind", "id", "uid", "title", "content")


def edited_json_lines(content: bytes, rng: random.Random) -> bytes:
    """Return JSON lines in one of which a field has another value, another name, or is gone."""
    lines = content.split(b"\n")
    place = rng.randrange(max(1, len(lines) - 1))
    try:
        record: dict[str, Any] = json.loads(lines[place])
    except ValueError:
        return content
    field = rng.choice((*record, rng.choice(_FIELDS)))
    value = rng.choice(_VALUES)
    written = {name: json.dumps(item) for name, item in record.items()}
    action = rng.choice(("value", "value", "value", "name", "drop"))
    if action == "name":
        value = written.pop(field, value)
        written[rng.choice(_FIELDS)] = value
    elif action == "drop":
        written.pop(field, None)
    else:
        written[field] = value
    inner = ", ".join(f"{json.dumps(name)}: {item}" for name, item in written.items())
    lines[place] = b"{" + inner.encode() + b"}"
    return b"\n".join(lines)
