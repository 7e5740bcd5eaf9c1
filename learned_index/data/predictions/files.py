"""The files that predictions are kept in: JSON lines, Parquet, sparse text, sparse matrices.

JSON lines and Parquet name labels by key or name, sparse files number them as some vocabulary does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from learned_index.data.formats.jsonl import Whole, iter_objects
from learned_index.data.formats.lines import iter_raw_lines
from learned_index.data.formats.npz import load_matrix
from learned_index.data.formats.sparse_text import parse_pairs, read_header
from learned_index.data.predictions.rows import PredictedRow, checked_row
from learned_index.data.tables.files import ParquetTable
from learned_index.errors import DataFormatError, InputError
from learned_index.inputs.numbers import shown

PredictionFormat = Literal["jsonl", "parquet", "xmc", "npz"]
ENDINGS: dict[str, PredictionFormat] = {
    ".jsonl": "jsonl", ".jsonl.gz": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
    ".parquet": "parquet", ".txt": "xmc", ".npz": "npz",
}  # fmt: skip
"""What a file's name ends in."""
NAMED: tuple[PredictionFormat, ...] = ("jsonl", "parquet")
"""Formats that name labels, where the others number them."""
_EXPECTED = (
    '{"labels": ["name", ...], "scores": [0.9, ...]}, of which scores may be missing, or '
    '{"results": [{"label": "name", "score": 0.9}, ...]}'
)
_NAMES = ("keys", "labels")


def format_of(path: Path) -> PredictionFormat:
    """The format of a file by its name.

    Raises:
        InputError: Another ending.
    """
    for ending, name in ENDINGS.items():
        if path.name.lower().endswith(ending):
            return name
    raise InputError(
        f"{path} is called {path.suffix or 'nothing'} at its end; predictions are .jsonl, "
        ".parquet, .txt (sparse text) or .npz (scipy.sparse.save_npz)"
    )


def labels_file(path: Path) -> Path:
    """Where the labels of a file that numbers them are named, ``KEY<TAB>TEXT``, a label a line."""
    return path.with_name(f"{path.name}.labels.txt")


def iter_predictions(path: Path, *, n_labels: int) -> Iterator[PredictedRow]:
    """Yield what a file predicts, point by point.

    Args:
        path: The file; its name tells the format.
        n_labels: Labels of a file that numbers them.

    Raises:
        DataFormatError: No such file, damaged, or a row that follows no schema; names the row.
        InputError: Another ending.
        MissingExtraError: Parquet, and pyarrow is not installed.
    """
    kind = format_of(path)
    if kind == "jsonl":
        yield from _json_rows(path)
    elif kind == "parquet":
        yield from _parquet_rows(path)
    elif kind == "xmc":
        yield from _text_rows(path, n_labels)
    else:
        yield from _matrix_rows(path, n_labels)


def _json_rows(path: Path) -> Iterator[PredictedRow]:
    for line, value in iter_objects(path):
        try:
            yield _row_of(value)
        except InputError as error:
            line.fail(str(error))


def _parquet_rows(path: Path) -> Iterator[PredictedRow]:
    table = ParquetTable(path)
    wanted = [c for c in ("id", *_NAMES, "scores", "probabilities") if c in table.columns]
    if not set(_NAMES) & set(wanted):
        raise DataFormatError(
            f"{path} has the columns {', '.join(map(repr, table.columns[:12]))}; expected 'labels' "
            "(lists of names), and perhaps 'id', 'scores', 'probabilities'"
        )
    for number, values in enumerate(table.rows(wanted), start=1):
        try:
            yield _row_of(dict(zip(wanted, values, strict=True)))
        except InputError as error:
            raise DataFormatError(f"{path}, row {number}: {error}") from None


def _row_of(value: dict[str, Any]) -> PredictedRow:
    """One point of a file that names labels."""
    point_id = next((value[f] for f in ("id", "uid", "document_id") if f in value), None)
    point_id = None if point_id is None else str(point_id)
    if "results" in value:
        value = _columns(value["results"])
    names = next((value[name] for name in _NAMES if value.get(name) is not None), None)
    if not isinstance(names, list):
        raise InputError(f"no list of labels; expected {_EXPECTED}")
    # A whole number stands for its digits, as in data.
    names = [str(name) if type(name) is int else name for name in names]
    for name in names:
        if not isinstance(name, str):
            raise InputError(f"a label is {shown(name)}, expected its key or name, a string")
    scores, p = (_numbers(value.get(what), what) for what in ("scores", "probabilities"))
    return checked_row([str(name) for name in names], scores, p, point_id)


def _columns(results: Any) -> dict[str, Any]:
    """Results of a search, ``{"label", "key", "score", "probability"}`` each, as columns."""
    if not isinstance(results, list) or not all(isinstance(each, dict) for each in results):
        raise InputError(f'"results" is no list of objects; expected {_EXPECTED}')
    found: dict[str, Any] = {"labels": [each.get("key", each.get("label")) for each in results]}
    for what, field in (("scores", "score"), ("probabilities", "probability")):
        if results and all(field in each for each in results):
            found[what] = [each[field] for each in results]
    return found


def _numbers(values: Any, what: str) -> list[float]:
    if values is None:
        return []
    if not isinstance(values, list):
        raise InputError(f'"{what}" is {shown(values)}, expected a list of numbers')
    # A whole number of a file of JSON lines stands as it is written.
    numbers = [float(v) if isinstance(v, Whole) and len(v) < 20 else v for v in values]
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in numbers):
        raise InputError(f'"{what}" holds something else than numbers')
    return [float(number) for number in numbers]


def _text_rows(path: Path, n_labels: int) -> Iterator[PredictedRow]:
    header = read_header(path)
    _check_columns(path, header.n_columns, n_labels)
    lines = iter_raw_lines(path)
    next(lines)
    done = 0
    for line in lines:
        raw = line.raw.strip()
        if done == header.n_rows:
            if raw:
                line.fail(f"more rows than the {header.n_rows} of the header")
            continue
        ids, scores = parse_pairs(raw, line, header.n_columns, "label")
        try:
            yield checked_row(ids, scores, (), None)
        except InputError as error:
            line.fail(str(error))
        done += 1
    if done != header.n_rows:
        raise DataFormatError(
            f"{path} ends after {done} rows, but its header says {header.n_rows}: it is truncated"
        )


def _matrix_rows(path: Path, n_labels: int) -> Iterator[PredictedRow]:
    matrix = load_matrix(path, are_features=False).tocsr()
    _check_columns(path, matrix.shape[1], n_labels)
    for row in range(matrix.shape[0]):
        part = slice(matrix.indptr[row], matrix.indptr[row + 1])
        try:
            yield checked_row(
                matrix.indices[part].tolist(), matrix.data[part].astype(np.float64).tolist(), (),
                None,
            )  # fmt: skip
        except InputError as error:
            raise DataFormatError(f"{path}, row {row + 1}: {error}") from None


def _check_columns(path: Path, n_columns: int, n_labels: int) -> None:
    if n_columns != n_labels:
        raise DataFormatError(
            f"{path} has {n_columns} columns, expected one for each of the {n_labels} labels; "
            "where it numbers others, name the file of their keys (--prediction-labels)"
        )
