"""Read a UTF-8 file line by line, and say ``file:line`` when something is wrong with it.

Lines end with "\\n" only. Titles and abstracts hold other separators (U+2028, form feed, a
carriage return), which :meth:`str.splitlines` and text mode would take for line ends.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, NoReturn

from learned_index.errors import DataFormatError
from learned_index.persistence.atomic import atomic_file
from learned_index.persistence.foreign import check_unpacked_size, open_file

UTF8_MARK = b"\xef\xbb\xbf"
"""The byte-order mark that some programs write at the start of a file."""
_DIGITS_AND_BLANKS = b"0123456789 \t\r\f\v"
_LONGEST_LINE = 2**26
_LONGEST_NUMBER = 100
"""Digits of a label id, zeros at its front included; Python refuses to read 4,301."""


def fail(path: Path, line_number: int, problem: str) -> NoReturn:
    """Raise a :class:`DataFormatError` that begins with ``path:line_number:``."""
    raise DataFormatError(f"{path}:{line_number}: {problem}")


class Line(NamedTuple):
    """One line of a file, and where it stands.

    Attributes:
        raw: Its bytes without the final "\\n".
        path: The file.
        number: Counted from 1.
    """

    raw: bytes
    path: Path
    number: int

    def fail(self, problem: str) -> NoReturn:
        """Raise a :class:`DataFormatError` that names the file and the line."""
        fail(self.path, self.number, problem)

    def text(self) -> str:
        """Decode it, naming the place of a byte that is not UTF-8."""
        try:
            return self.raw.decode("utf-8")
        except UnicodeDecodeError as error:
            self.fail(
                f"byte {error.start + 1} of the line (0x{self.raw[error.start]:02x}) is not UTF-8; "
                "convert the file to UTF-8"
            )


def unpacked(path: Path, raw: BinaryIO) -> BinaryIO | gzip.GzipFile:
    """The content of an open file: unpacked on the way where it is called ``.gz``."""
    return gzip.GzipFile(fileobj=raw) if path.suffix.lower() == ".gz" else raw


def iter_raw_lines(path: Path) -> Iterator[Line]:
    """Yield the lines of a file, not decoded; a UTF-8 mark at the start goes.

    Args:
        path: The file; one that is called ``.gz`` is unpacked on the way.

    Raises:
        DataFormatError: The file is missing, no regular file, damaged, UTF-16, or holds a NUL
            byte (binary data) or a line of more than 64 MiB.
    """
    with open_file(path) as raw, unpacked(path, raw) as file:
        size = os.fstat(raw.fileno()).st_size
        number = read = 0
        while line := _next_line(file, path):
            number += 1
            read += len(line)
            if file is not raw:
                check_unpacked_size(path, read, size)
            if number == 1:
                if line.startswith((b"\xff\xfe", b"\xfe\xff")):
                    fail(path, 1, "the file is UTF-16, expected UTF-8; save it again as UTF-8")
                line = line.removeprefix(UTF8_MARK)
            if len(line) > _LONGEST_LINE:
                fail(path, number, f"the line has more than {_LONGEST_LINE >> 20} MiB, is it text?")
            if b"\0" in line:
                fail(path, number, "a NUL byte: this is binary data, expected UTF-8 text")
            yield Line(line.removesuffix(b"\n"), path, number)


def _next_line(file: BinaryIO | gzip.GzipFile, path: Path) -> bytes:
    try:
        # One more than allowed, so that a longer line shows.
        return file.readline(_LONGEST_LINE + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataFormatError(
            f"{path} cannot be read to its end ({error}); is it whole? Copy it again"
        ) from None


def iter_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 file without the final "\\n".

    Args:
        path: The file. A last line without "\\n" counts; an empty file has no lines.

    Raises:
        DataFormatError: The file is missing or is not UTF-8 text.
    """
    return (line.text() for line in iter_raw_lines(path))


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write what :func:`iter_lines` reads; the file appears when it is whole.

    Args:
        path: The file.
        lines: Without "\\n".
    """
    with (
        atomic_file(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="\n") as file,
    ):
        for number, line in enumerate(lines):
            if number == 0 and line.startswith("\ufeff"):
                file.write("\ufeff")  # the reader takes the first mark for the file's own
            file.write(f"{line}\n")


def parse_ids(line: Line, n_labels: int | None = None, *, keys: Container[str] = ()) -> list[int]:
    """Parse 0-based label ids with white space between them, in file order and with repetitions.

    Args:
        line: The ids and nothing else; empty means no labels.
        n_labels: Ids must be below it; None accepts all.
        keys: Keys of the labels: where a key was written for an id, the error says so.
    """
    tokens = line.raw.split()
    # One pass in C: which token is wrong is looked for only where one is.
    if line.raw.translate(None, _DIGITS_AND_BLANKS):
        bad = next(token for token in tokens if not token.isdigit())
        line.fail(f"{shown(bad)} is not a label id; expected 0, 1, 2, ...")
    ids = whole_numbers(tokens, "label id", line)
    if n_labels is not None and ids and (largest := max(ids)) >= n_labels:
        advice = (
            f"; {largest} is the name of a label, expected its line number in labels.txt, from 0 "
            "(JSON lines take names)"
            if str(largest) in keys
            else ""
        )
        line.fail(
            f"label id {largest} is out of range: there are {n_labels} labels, ids begin at 0"
            + advice
        )
    return ids


def whole_numbers(tokens: Sequence[bytes], what: str, line: Line) -> list[int]:
    """Return the numbers that are written in tokens of digits; an absurdly long one is refused."""
    longest = max(tokens, key=len, default=b"")
    if len(longest) > _LONGEST_NUMBER:
        line.fail(f"{what} {shown(longest)} is out of range: ids begin at 0")
    return list(map(int, tokens))


def shown(raw: bytes) -> str:
    """Return a part of a line as it is quoted in errors: 60 characters at most."""
    text = repr(raw[:60].decode("utf-8", "replace"))
    return text if len(raw) <= 60 else f"{text}... ({len(raw)} bytes)"


def has_half_pair(text: str) -> bool:
    """Whether a text holds half a surrogate pair, which is no character and no UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False
