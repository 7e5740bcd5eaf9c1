"""Plain, slow readers of every format, written from its description: the oracle of the fuzz.

Each takes the files of a folder as bytes and returns what they mean, or raises
:class:`RefusedError` where they mean nothing. The library may refuse more than these do (sizes out
of all proportion, say), but what it reads must be what they read.
"""

from __future__ import annotations

import gzip
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

Files = Mapping[str, bytes]


class RefusedError(ValueError):
    """The files mean nothing."""


@dataclass(frozen=True)
class Reading:
    """What a split means.

    Attributes:
        keys: The labels' keys, by id; sorted where the format gives no order.
        labels: The keys of each point.
        texts: Text of each point, or None.
        features: Value of each feature of each point, or None.
        n_features: Columns declared.
    """

    keys: list[str]
    labels: list[set[str]]
    texts: list[str] | None = None
    features: list[dict[int, float]] | None = None
    n_features: int | None = None


def lines_of(content: bytes) -> list[str]:
    """Lines of a UTF-8 file; they end at line feeds, and a last one needs none."""
    if b"\0" in content or content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise RefusedError("binary")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RefusedError("not UTF-8") from error
    lines = text.removeprefix("\ufeff").split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def labels_file(content: bytes) -> tuple[list[str], list[str]]:
    """Keys and texts of ``labels.txt``."""
    lines = [line.removesuffix("\r") for line in lines_of(content)]
    while lines and lines[-1].strip("\r") == "":
        lines.pop()
    pairs = [[*line.split("\t", 1), ""] for line in lines]
    keys, texts = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    bad = any(not key or "\r" in key for key in keys) or any(t.endswith("\r") for t in texts)
    if not keys or bad or len(set(keys)) < len(keys):
        raise RefusedError("labels.txt")
    return keys, texts


def ids_of(tokens: list[str]) -> list[int]:
    """Whole numbers in ASCII digits."""
    if not all(re.fullmatch("[0-9]{1,4000}", token) for token in tokens):
        raise RefusedError("no id")
    return [int(token) for token in tokens]


def read_text(files: Files, split: str) -> Reading:
    """The folder of text files."""
    texts = lines_of(_file(files, f"{split}_texts.txt"))
    ids = [
        ids_of([t for t in re.split("[ \t\r\f\v]+", line) if t])
        for line in lines_of(_file(files, f"{split}_labels.txt"))
    ]
    if len(ids) != len(texts):
        raise RefusedError("numbers of lines")
    keys = [str(i) for i in range(max((max(row) for row in ids if row), default=-1) + 1)]
    if "labels.txt" in files:
        keys = labels_file(files["labels.txt"])[0]
    return Reading(keys, [_named(row, keys) for row in ids], texts=texts)


def read_xmc(files: Files, split: str) -> Reading:
    """The sparse text format of the extreme classification repository."""
    named = {"train": "trn", "test": "tst"}[split]
    names = [f"{split}.xmc.txt", f"{split}.txt", f"{named}.txt", f"my_{split}.txt"]
    lines = lines_of(_file(files, next((n for n in names if n in files), names[0])))
    counts = ids_of(lines[0].split() if lines else [])
    if len(counts) != 3:
        raise RefusedError("header")
    rows = lines[1:]
    while len(rows) > counts[0] and not rows[-1].strip():
        rows.pop()
    if len(rows) != counts[0]:
        raise RefusedError("number of points")
    points = [_xmc_point(line) for line in rows]
    if any(i >= counts[1] for _, features in points for i in features):
        raise RefusedError("feature out of range")
    keys = [str(i) for i in range(counts[2])]
    if "labels.txt" in files:
        keys = labels_file(files["labels.txt"])[0]
        if len(keys) != counts[2]:
            raise RefusedError("labels.txt and header")
    return Reading(
        keys,
        [_named(ids, keys) for ids, _ in points],
        features=[features for _, features in points],
        n_features=counts[1],
    )


def _xmc_point(line: str) -> tuple[list[int], dict[int, float]]:
    if re.search("[^\x20-\x7e\t\r\f\v]", line):
        raise RefusedError("characters")
    head, *rest = line.split() or [""]
    if ":" in head or line[:1].isspace():
        head, rest = "", line.split()
    ids = ids_of(head.removesuffix(",").split(",")) if head else []
    features: dict[int, float] = {}
    for token in rest:
        match = re.fullmatch(
            r"([0-9]+):([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)", token
        )
        if match is None:
            raise RefusedError("no feature")
        number = ids_of([match[1]])[0]
        features[number] = features.get(number, 0.0) + float(match[2])
    return ids, finite(features)


def read_jsonl(files: Files, split: str) -> Reading:
    """JSON lines, of this package and of others."""
    short = {"train": "trn", "test": "tst"}[split]
    if f"{split}.jsonl" in files:
        content = files[f"{split}.jsonl"]
    else:
        content = unpacked(_file(files, f"{short}.json.gz"))
    names: dict[str, str] | None = None
    if "labels.txt" in files:
        names = dict(zip(*labels_file(files["labels.txt"]), strict=True))
    elif "lbl.json.gz" in files:
        records = _json_lines(unpacked(files["lbl.json.gz"]))
        pairs = [(_json_name(r.get("uid")), _string(r.get("title", ""))) for r in records]
        names = {key: " ".join(title.split()) for key, title in pairs}
        if len(names) < len(pairs):
            raise RefusedError("a label twice")
    texts, labels, n_named = [], [], 0
    for record in _json_lines(content):
        if "text" in record:
            texts.append(_string(record["text"]))
        else:
            content = record.get("content")
            parts = [_string(record.get("title")), "" if content is None else _string(content)]
            texts.append(" ".join(part for part in parts if part))
        point_id = record.get("id", record.get("uid"))
        if point_id is not None:
            _json_name(point_id)
            n_named += 1
        labels.append(_json_labels(record, names))
    if n_named not in (0, len(texts)):
        raise RefusedError("some ids")
    keys = sorted(set().union(*labels)) if names is None else list(names)
    if any(not key or re.search("[\t\n\r]", key) for key in keys):
        raise RefusedError("key")
    return Reading(keys, labels, texts=texts)


def _json_labels(record: dict[str, Any], names: dict[str, str] | None) -> set[str]:
    field = next((f for f in ("labels", "label", "subjects", "target_ind") if f in record), None)
    value = record[field] if field else None
    if field == "label" and not isinstance(value, list):
        value = [value]
    if not isinstance(value, list):
        raise RefusedError("labels")
    if field == "target_ind":
        if (names is None and value) or not all(isinstance(row, Whole) for row in value):
            raise RefusedError("rows of labels")
        return _named(ids_of([row.digits for row in value]), list(names or ()))
    found = set()
    for item in value:
        name, text = item, ""
        if isinstance(item, dict):
            name, text = item.get("uri"), _string(item.get("label", ""))
            if name is None:
                name, text = text, ""
        name, text = _json_name(name), " ".join(text.split())
        if names is not None and name not in names:
            wanted = text or name
            fitting = [key for key, known in names.items() if wanted and known == wanted]
            if wanted in names:
                fitting = [wanted]
            if len(fitting) != 1:
                raise RefusedError("unknown label")
            name = fitting[0]
        found.add(name)
    return found


@dataclass(frozen=True)
class Whole:
    """A whole number of a JSON file."""

    digits: str


def _json_lines(content: bytes) -> list[dict[str, Any]]:
    records = []
    for line in lines_of(content):
        if not line.strip(" \t\r\f\v"):
            continue
        try:
            record = json.loads(line, parse_int=Whole, object_pairs_hook=_fields)
        except (ValueError, RecursionError) as error:
            raise RefusedError("no JSON") from error
        if not isinstance(record, dict):
            raise RefusedError("no object")
        records.append(record)
    return records


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise RefusedError("a field twice")
    return dict(pairs)


def _json_name(value: Any) -> str:
    return value.digits if isinstance(value, Whole) else _string(value)


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise RefusedError("no string")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise RefusedError("half a surrogate pair") from error
    return value


def unpacked(content: bytes) -> bytes:
    """Content of a gzip file."""
    try:
        return gzip.decompress(content)
    except Exception as error:
        raise RefusedError("damaged") from error


def read_matrix(arrays: Mapping[str, np.ndarray[Any, Any]]) -> tuple[tuple[int, int], list[Any]]:
    """Shape and rows ``{column: value}`` of a matrix that is stored by rows."""
    shape, data = arrays["shape"], arrays["data"]
    indices, indptr = arrays["indices"], arrays["indptr"]
    whole = all(a.dtype.kind in "iu" for a in (shape, indices, indptr))
    if not whole or data.dtype.kind not in "biuf" or shape.shape != (2,):
        raise RefusedError("types")
    if data.ndim != 1 or indices.ndim != 1 or indptr.ndim != 1 or len(data) != len(indices):
        raise RefusedError("shapes")
    n_rows, n_columns = (int(n) for n in shape)
    bounds = [int(p) for p in indptr]
    rises = all(0 <= a <= b <= len(data) for a, b in pairwise(bounds))
    if n_rows < 0 or len(bounds) != n_rows + 1 or bounds[0] != 0 or not rises:
        raise RefusedError("row pointers")
    rows = []
    for start, end in pairwise(bounds):
        row: dict[int, float] = {}
        for column, value in zip(indices[start:end], data[start:end], strict=True):
            if not 0 <= int(column) < n_columns:
                raise RefusedError("column out of range")
            row[int(column)] = row.get(int(column), 0.0) + float(value)
        rows.append(row)
    return (n_rows, n_columns), rows


def finite(features: dict[int, float]) -> dict[int, float]:
    """Refuse what float32 cannot hold."""
    largest = float(np.finfo(np.float32).max)
    if not all(math.isfinite(v) and abs(v) <= largest for v in features.values()):
        raise RefusedError("not finite")
    return features


def _named(ids: list[int], keys: list[str]) -> set[str]:
    if any(i >= len(keys) for i in ids):
        raise RefusedError("label out of range")
    return {keys[i] for i in ids}


def _file(files: Files, name: str) -> bytes:
    if name not in files:
        raise RefusedError(f"{name} is missing")
    return files[name]
