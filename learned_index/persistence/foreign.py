"""Files that people hand in: opened and read so that nothing in them hangs or eats memory.

Only regular files are opened, sizes that a file declares are compared with the file before memory
is taken, and nothing is unpickled.
"""

from __future__ import annotations

import ast
import math
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple

import numpy as np

from learned_index.errors import DataFormatError
from learned_index.persistence.files import open_checked

_MAGIC = b"\x93NUMPY"
# NumPy's own limit: literal_eval may crash the interpreter on longer ones.
_LONGEST_HEADER = 10_000
# Bytes that any file may unpack to, however small it is.
_ROOM = 2**28
_RATIO = 100
"""Texts and sparse matrices are compressed to a third or a tenth; a bomb, to a thousandth."""

_DAMAGE = (
    *(OSError, EOFError, ValueError, LookupError, OverflowError, RuntimeError, struct.error),
    *(zipfile.BadZipFile, zlib.error),
)
"""What zipfile raises where a file is damaged."""


class NpyHeader(NamedTuple):
    """What the header of a ``.npy`` file says.

    Attributes:
        dtype: Type of an element; numbers, booleans or strings of fixed length.
        fortran_order: Whether columns lie one behind the other.
        shape: Lengths of the axes.
        start: Where the array's bytes begin.
    """

    dtype: np.dtype[Any]
    fortran_order: bool
    shape: tuple[int, ...]
    start: int


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Make a :class:`DataFormatError` of what the operating system says about ``path``."""
    try:
        yield
    except OSError as error:
        raise DataFormatError(
            f"{path} cannot be read ({error.strerror or error}); check the file and its permissions"
        ) from None


def file_exists(path: Path) -> bool:
    """Whether a file is there. A folder, a pipe or a broken link of that name is an error.

    Raises:
        DataFormatError: Something is there, and is no regular file.
    """
    with reading(path):
        if not os.path.lexists(path):
            return False
        _check_regular(path, path.stat().st_mode)
    return True


def open_file(path: Path) -> BinaryIO:
    """Open a regular file; a pipe or a device is refused rather than waited for.

    Raises:
        DataFormatError: There is none, or it cannot be read, or it is something else.
    """
    with reading(path):
        try:
            return open_checked(path, partial(_check_regular, path))
        except FileNotFoundError:
            raise DataFormatError(f"{path} is missing") from None


def _check_regular(path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise DataFormatError(f"{path} is a directory, expected a file")
    if not stat.S_ISREG(mode):
        raise DataFormatError(f"{path} is a pipe or a device, expected a file; copy its content")


def check_unpacked_size(path: Path, unpacked: int, packed: int) -> None:
    """Refuse a compressed file that unpacks to more than data do.

    Args:
        path: Named in the error.
        unpacked: Bytes, as declared or as read until now.
        packed: Bytes of the file.
    """
    if unpacked > max(_ROOM, _RATIO * packed):
        raise DataFormatError(
            f"{path} has {packed} bytes and unpacks to {unpacked} or more, which no data do; "
            "if they are right, store them uncompressed"
        )


def read_npz(path: Path, names: set[str] | None = None) -> dict[str, np.ndarray[Any, Any]]:
    """Read the arrays of a ``.npz`` file.

    Args:
        path: The file.
        names: Read these, as far as they are there; None: all.

    Returns:
        Arrays by name, read-only.

    Raises:
        DataFormatError: No such file, damaged, encrypted, pickled objects, or arrays of another
            size than the file has.
    """
    with open_file(path) as file:
        packed = os.fstat(file.fileno()).st_size
        try:
            with zipfile.ZipFile(file) as archive:
                members = {
                    info.filename.removesuffix(".npy"): info
                    for info in archive.infolist()
                    if names is None or info.filename.removesuffix(".npy") in names
                }
                for info in members.values():
                    _check_member(path, info)
                check_unpacked_size(path, sum(i.file_size for i in members.values()), packed)
                return {name: _member(path, archive, info) for name, info in members.items()}
        except DataFormatError:
            raise
        except _DAMAGE as error:
            raise DataFormatError(
                f"{path} cannot be read as .npz ({str(error)[:80]}); write it again"
            ) from None


def _check_member(path: Path, info: zipfile.ZipInfo) -> None:
    if info.flag_bits & 1:
        raise DataFormatError(f"{path} is encrypted; write it without a password")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataFormatError(
            f"{path}: {info.filename} is compressed in a way that NumPy does not write; save it "
            "with numpy.savez or scipy.sparse.save_npz"
        )


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray[Any, Any]:
    what = f"{path}: {info.filename}"
    with archive.open(info) as member:
        header = read_npy_header(member, info.file_size, what)
        content = member.read()
    array = np.frombuffer(content, dtype=header.dtype, count=math.prod(header.shape))
    return array.reshape(header.shape, order="F" if header.fortran_order else "C")


def read_npy_header(file: IO[bytes], size: int, what: str) -> NpyHeader:
    """Read the header of a ``.npy`` file, and compare it with the file's size.

    Args:
        file: Open at the start; afterwards at the array's first byte.
        size: Bytes of the file.
        what: Name of the file in errors.

    Raises:
        DataFormatError: No such file, pickled objects, or another size than the header says.
    """
    # Not by NumPy, which reads a header of any length before it refuses it.
    head = file.read(8)
    length_bytes = {b"\1\0": 2, b"\2\0": 4, b"\3\0": 4}.get(head[6:])
    if not head.startswith(_MAGIC) or length_bytes is None:
        raise DataFormatError(f"{what} is no .npy file; save it with numpy.save")
    length = int.from_bytes(file.read(length_bytes), "little")
    if length > _LONGEST_HEADER:
        raise DataFormatError(f"{what} has a header of {length} bytes; save it with numpy.save")
    text = file.read(length)
    try:
        fields = ast.literal_eval(text.decode("utf-8").strip(" \n"))
        descr, order, shape = (fields[name] for name in ("descr", "fortran_order", "shape"))
        if isinstance(descr, str) and "O" in descr:
            raise DataFormatError(f"{what} holds pickled objects, expected numbers")
        dtype = np.dtype(descr if isinstance(descr, str) else None)
        whole = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
        plain = isinstance(descr, str) and dtype.kind in "biufcSU" and dtype.itemsize > 0
        if len(fields) != 3 or not whole or not plain or not isinstance(order, bool):
            raise ValueError(text.decode("utf-8").strip()[:80])
    except DataFormatError:
        raise
    except (ValueError, TypeError, LookupError, SyntaxError, RecursionError, MemoryError) as error:
        raise DataFormatError(
            f"{what} has no header of an array of numbers ({str(error)[:80]}); save it with "
            "numpy.save"
        ) from None
    start = len(_MAGIC) + 2 + length_bytes + length
    declared = math.prod(shape) * dtype.itemsize
    if declared != size - start:
        raise DataFormatError(
            f"{what} has {size - start} bytes of numbers, but its header says "
            f"{_shape_shown(shape)} of {dtype}: the file is damaged or cut off"
        )
    return NpyHeader(dtype, order, shape, start)


def _shape_shown(shape: tuple[int, ...]) -> str:
    # Python refuses to print a number of more than 4,300 digits.
    shown = [f"{n}" if n < 10**18 else "a huge number" for n in shape[:5]]
    return f"({', '.join(shown)}{', ...' if len(shape) > 5 else ''})"
