"""Read a UTF-8 file line by line, and say ``file:line`` when something is wrong with it.

Lines end with "\\n" only. Titles and abstracts hold other separators (U+2028, form feed, a
carriage return), which :meth:`str.splitlines` and text mode would take for line ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from learned_index.errors import DataFormatError

_UTF8_BOM = b"\xef\xbb\xbf"
_DIGITS_AND_BLANKS = b"0123456789 \t\r"


def fail(path: Path, line_number: int, problem: str) -> NoReturn:
    """Raise a :class:`DataFormatError` that begins with ``path:line_number:``."""
    raise DataFormatError(f"{path}:{line_number}: {problem}")


def iter_raw_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file as bytes without the final "\\n"; a UTF-8 mark at the start goes.

    Raises:
        DataFormatError: The file is missing, or UTF-16, or holds a NUL byte (binary data).
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise DataFormatError(f"{path} is missing") from None
    except IsADirectoryError:
        raise DataFormatError(f"{path} is a directory, expected a file") from None
    with file:
        for number, line in enumerate(file, start=1):
            if number == 1:
                if line.startswith((b"\xff\xfe", b"\xfe\xff")):
                    fail(path, 1, "the file is UTF-16, expected UTF-8; save it again as UTF-8")
                line = line.removeprefix(_UTF8_BOM)
            if b"\0" in line:
                fail(path, number, "a NUL byte: this is binary data, expected UTF-8 text")
            yield line.removesuffix(b"\n")


def decode(raw: bytes, path: Path, line_number: int) -> str:
    """Decode one line, naming the place of a byte that is not UTF-8."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        fail(
            path,
            line_number,
            f"byte {error.start + 1} of the line (0x{raw[error.start]:02x}) is not UTF-8; "
            "convert the file to UTF-8",
        )


def iter_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 file without the final "\\n".

    Args:
        path: The file. A last line without "\\n" counts; an empty file has no lines.

    Raises:
        DataFormatError: The file is missing or is not UTF-8 text.
    """
    for number, raw in enumerate(iter_raw_lines(path), start=1):
        yield decode(raw, path, number)


def parse_ids(raw: bytes, n_labels: int | None, path: Path, line_number: int) -> list[int]:
    """Parse blank-separated 0-based label ids, in file order and with repetitions.

    Args:
        raw: The part of a line that holds the ids; empty means no labels.
        n_labels: Ids must be below it; None accepts up to 2**31 - 1.
        path: Named in errors.
        line_number: Named in errors.
    """
    if raw.translate(None, _DIGITS_AND_BLANKS):
        bad = next(token for token in raw.split() if not token.isdigit())
        shown = bad.decode("utf-8", "replace")
        fail(path, line_number, f"{shown!r} is not a label id; expected 0, 1, 2, ...")
    ids = [int(token) for token in raw.split()]
    limit = 2**31 if n_labels is None else n_labels
    if ids and max(ids) >= limit:
        fail(
            path,
            line_number,
            f"label id {max(ids)} is out of range: there are {limit} labels, ids begin at 0",
        )
    return ids
