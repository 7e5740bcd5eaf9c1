"""Sparse matrices as text: ``column:value`` with blanks between, as the repository has them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from learned_index.data.formats.lines import Line, fail, iter_raw_lines, shown, whole_numbers
from learned_index.data.formats.matrices import GrowingRows

_PAIR = rb"\d+:[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?)"
_PAIRS = re.compile(rb"%b(?:[ \t]+%b)*" % (_PAIR, _PAIR))
_HEADER = re.compile(rb"\s*(\d+)\s+(\d+)\s*")
_MOST_COLUMNS = 2**31 - 1
"""Ids are held in 32 bits."""


class MatrixHeader(NamedTuple):
    """What the first line of a matrix says."""

    n_rows: int
    n_columns: int


def parse_pairs(raw: bytes, line: Line, n_columns: int, what: str) -> tuple[list[int], list[float]]:
    """Parse the pairs of one row.

    Args:
        raw: The pairs and nothing else, stripped; empty means none.
        line: Where they stand.
        n_columns: Columns that the header says.
        what: What a column is, as ``"feature"``.
    """
    if not raw:
        return [], []
    if not _PAIRS.fullmatch(raw):
        bad = next((t for t in raw.split() if not re.fullmatch(_PAIR, t)), raw)
        line.fail(f"{shown(bad)} is no {what}; expected 'id:value' with a finite number")
    tokens = raw.replace(b":", b" ").split()
    ids = whole_numbers(tokens[::2], f"{what} id", line)
    if max(ids) >= n_columns:
        line.fail(
            f"{what} id {max(ids)} is out of range: the header says {n_columns} {what}s, ids begin "
            "at 0"
        )
    return ids, list(map(float, tokens[1::2]))


def declared_numbers(match: re.Match[bytes]) -> list[int]:
    """The numbers of a header, of which each may be of any length in the file."""
    # Nineteen digits are beyond every limit, and a longer number takes time to read.
    return [int(group.lstrip(b"0")[:19] or b"0") for group in match.groups()]


def check_finite(path: Path, matrix: sp.csr_matrix) -> None:
    """Refuse values beyond float32, of which sums of repeated ones may be, too."""
    if not np.isfinite(matrix.data).all():
        bad = int(np.argmin(np.isfinite(matrix.data)))
        row = int(np.searchsorted(matrix.indptr, bad, side="right")) - 1
        fail(path, row + 2, "a value is beyond the range of float32")


def read_header(path: Path) -> MatrixHeader:
    """Read the first line of a matrix, ``rows columns``."""
    line = next(iter_raw_lines(path), Line(b"", path, 1))
    match = _HEADER.fullmatch(line.raw)
    if not match:
        line.fail(f"the header is {shown(line.raw)}; expected 'rows columns', two numbers")
    header = MatrixHeader(*declared_numbers(match))
    if header.n_columns > _MOST_COLUMNS:
        line.fail(f"the header says {header.n_columns} columns; at most {_MOST_COLUMNS} are read")
    return header


def read_matrix(path: Path, what: str) -> sp.csr_matrix:
    """Read ``rows columns`` and a line of pairs for each row: canonical CSR float32.

    Args:
        path: The file.
        what: What a column is, as ``"label"``.

    Raises:
        DataFormatError: Missing file, another number of lines, or a line that is no list of pairs.
    """
    header, rows = read_header(path), GrowingRows()
    lines = iter_raw_lines(path)
    next(lines)
    for line in lines:
        raw = line.raw.strip()
        if len(rows) == header.n_rows:
            if raw:
                line.fail(f"more rows than the {header.n_rows} of the header")
            continue
        rows.add(*parse_pairs(raw, line, header.n_columns, what))
    if len(rows) != header.n_rows:
        fail(
            path,
            len(rows) + 1,
            f"the file ends after {len(rows)} rows, but the header says {header.n_rows}: it is "
            "truncated",
        )
    matrix = rows.matrix(header.n_columns)
    check_finite(path, matrix)
    return matrix
