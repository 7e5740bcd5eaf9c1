"""Hostile data folders: damaged files of every format, read and compared with plain readers.

::

    python -m benchmarks.hostile.readers --n 50000 --seed 0
"""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.hostile import reference_readers as reference
from benchmarks.hostile.campaign import Outcome, Trial, judged, main
from benchmarks.hostile.mutations import damaged, edited_json_lines
from learned_index.data import Dataset, open_dataset, validate
from learned_index.encoders.vector_files import read_vectors
from learned_index.errors import LearnedIndexError

Files = dict[str, bytes]
Arrays = dict[str, np.ndarray[Any, Any]]

_WORDS = (
    "steel",
    "bridge",
    "tax",
    "law",
    "bird",
    "nest",
    "é",
    "漢字",
    "🐦",
    "\u2028",
    "a:b",
    "1,2",
    "{x}",
)
_LABELS = b"k0\tLaw\nk1\tBirds\nk2\t\nk3\tSteel and iron\n"


def _rows(rng: random.Random) -> list[list[int]]:
    return [sorted(rng.sample(range(4), rng.choice((0, 1, 1, 2)))) for _ in range(6)]


def _text(rng: random.Random) -> str:
    return " ".join(rng.choices(_WORDS, k=rng.randint(0, 5)))


def _text_folder(rng: random.Random) -> Files:
    return {
        "train_texts.txt": "".join(f"{_text(rng)}\n" for _ in range(6)).encode(),
        "train_labels.txt": "".join(" ".join(map(str, r)) + "\n" for r in _rows(rng)).encode(),
        **({"labels.txt": _LABELS} if rng.random() < 0.6 else {}),
    }


def _xmc_folder(rng: random.Random) -> Files:
    lines = ["6 9 4"]
    for row in _rows(rng):
        features = sorted(rng.sample(range(9), rng.randint(0, 4)))
        values = "".join(f" {i}:{rng.choice((1, 0.5, -2.25, 1e-3)):.9g}" for i in features)
        lines.append(",".join(map(str, row)) + values)
    name = rng.choice(("train.xmc.txt", "train.txt", "trn.txt", "my_train.txt"))
    files = {name: "".join(f"{line}\n" for line in lines).encode()}
    return {**files, "labels.txt": _LABELS} if rng.random() < 0.3 else files


def _json_folder(rng: random.Random) -> Files:
    style = rng.choice(("names", "numbers", "one", "subjects", "keys"))
    lines = []
    for number, row in enumerate(_rows(rng)):
        record: dict[str, Any] = {"id": number} if style == "numbers" else {}
        record["text"] = _text(rng)
        if style == "one":
            record["label"] = f"name {len(row)}"
        elif style == "subjects":
            record["subjects"] = [{"uri": f"http://x/{i}", "label": f"name {i}"} for i in row]
        else:
            record["labels"] = {
                "names": [f"name {i}" for i in row],
                "numbers": row,
                "keys": [
                    rng.choice((f"k{i}", ("Law", "Birds", "k2", "Steel and iron")[i])) for i in row
                ],
            }[style]
        lines.append(json.dumps(record, ensure_ascii=rng.random() < 0.5))
    files = {"train.jsonl": "".join(f"{line}\n" for line in lines).encode()}
    return {**files, "labels.txt": _LABELS} if style == "keys" else files


def _download_folder(rng: random.Random) -> Files:
    """Two files of JSON lines, still unpacked."""
    points = [
        {"uid": f"B{n}", "title": _text(rng) or "x", "content": _text(rng), "target_ind": row}
        for n, row in enumerate(_rows(rng))
    ]
    labels = [{"uid": f"L{n}", "title": f"label  {n}"} for n in range(4)]
    return {
        name: "".join(json.dumps(record) + "\n" for record in records).encode()
        for name, records in (("trn.json.gz", points), ("lbl.json.gz", labels))
    }


def _matrix(rng: random.Random, columns: int, *, ones: bool) -> Arrays:
    """Parts of a CSR matrix of 6 rows, which may have unsorted and repeated columns."""
    rows = [rng.choices(range(columns), k=rng.randint(0, 4)) for _ in range(6)]
    size = sum(map(len, rows))
    kind = rng.choice(("f4", "f8", "i8", "?", ">f4", "f2"))
    values = np.array([1.0 if ones else rng.choice((1, 0.5, 2, 3)) for _ in range(size)])
    index = rng.choice(("i4", "i8"))
    return {
        "format": np.array(b"csr"),
        "shape": np.array([6, columns]),
        "data": values.astype(kind),
        "indices": np.array([i for row in rows for i in row], dtype=index),
        "indptr": np.cumsum([0, *map(len, rows)]).astype(index),
    }


_EDITS = (0, 1, -1, 5, 7, 2**31 - 1, -(2**31), 2**31, 2**40, 2**62, -(2**63))


def _edited(arrays: Arrays, rng: random.Random) -> Arrays:
    """Change one array: a number, its length, its type, its shape, or take it away."""
    name = rng.choice([n for n in arrays if n != "format"])
    array = arrays[name]
    action = rng.choice(("number", "number", "number", "length", "type", "shape", "drop"))
    if action == "number" and array.size:
        value: Any = rng.choice(_EDITS)
        if array.dtype.kind == "f":
            value = rng.choice((float("nan"), float("inf"), 3e38, -1.0, 0.0, 1e300))
        with np.errstate(all="ignore"):
            wide = array.astype("i8") if array.dtype.kind in "iu" else array.copy()
            wide.flat[rng.randrange(array.size)] = value
        array = wide
    elif action == "length":
        array = (
            array.ravel()[: rng.randint(0, array.size)]
            if rng.random() < 0.5
            else np.append(array, 1)
        )
    elif action == "type":
        array = array.astype(rng.choice(("f8", "i2", "u8", "U5", "S2", "c8", "?")))
    elif action == "shape":
        array = rng.choice(
            (array.reshape(1, -1), array.reshape(-1, 1), np.array([[[3]]]), array.ravel()[:0])
        )
    elif action == "drop":
        return {key: value for key, value in arrays.items() if key != name}
    return {**arrays, name: array}


def _npz(arrays: Arrays, *, packed: bool) -> bytes:
    stream = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(stream, **arrays)
    return stream.getvalue()


def _declaring(content: bytes, rng: random.Random) -> bytes:
    """Let the zip directory or an array's header declare something else."""
    source = zipfile.ZipFile(io.BytesIO(content))
    members = {info.filename: source.read(info) for info in source.infolist()}
    name = rng.choice(list(members))
    changed = damaged(members[name][:128], b"(1000000000000,), '|O8', True", rng)
    members[name] = changed + members[name][128:]
    stream = io.BytesIO()
    kind = rng.choice(
        (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    )
    with zipfile.ZipFile(stream, "w", kind) as target:
        for key, value in members.items():
            target.writestr(key, value)
    return stream.getvalue()


def _obstruct(folder: Path, rng: random.Random) -> None:
    """Put something else in the place of a file."""
    path = rng.choice(sorted(folder.iterdir()))
    path.unlink()
    action = rng.choice(("none", "folder", "pipe", "loop", "device", "dangling"))
    if action == "folder":
        path.mkdir()
    elif action == "pipe":
        os.mkfifo(path)
    elif action != "none":
        path.symlink_to({"loop": path, "device": "/dev/zero", "dangling": "nowhere"}[action])


def _is_canonical(matrix: Any) -> bool:
    rows = [matrix.indices[a:b] for a, b in zip(matrix.indptr, matrix.indptr[1:], strict=False)]
    inside = all(len(row) == 0 or 0 <= row[0] <= row[-1] < matrix.shape[1] for row in rows)
    return bool(
        matrix.dtype == np.float32
        and len(matrix.indptr) == matrix.shape[0] + 1
        and matrix.indptr[0] == 0
        and matrix.indptr[-1] == len(matrix.indices) == len(matrix.data)
        and inside
        and all((np.diff(row) > 0).all() for row in rows)
        and np.isfinite(matrix.data).all()
    )


def _differs(dataset: Dataset, right: reference.Reading, *, ordered: bool) -> str | None:
    """What a data set has otherwise than the plain reader says."""
    keys = list(dataset.vocabulary.keys)
    if (keys if ordered else sorted(keys)) != right.keys:
        return f"keys {keys[:9]}, right: {right.keys[:9]}"
    y = dataset.labels
    spans = list(zip(y.indptr, y.indptr[1:], strict=False))
    labels = [{keys[i] for i in y.indices[a:b]} for a, b in spans]
    if labels != right.labels or not _is_canonical(y) or not (y.data == 1).all():
        return f"labels {labels[:6]}, right: {right.labels[:6]}"
    if right.texts is not None and list(dataset.texts or []) != right.texts:
        return f"texts {list(dataset.texts or [])[:6]}, right: {right.texts[:6]}"
    if right.features is None:
        return None
    x = dataset.features
    if x is None or x.shape != (len(right.features), right.n_features) or not _is_canonical(x):
        return "features are not canonical, or of another shape"
    for row, expected in enumerate(right.features):
        span = slice(x.indptr[row], x.indptr[row + 1])
        found = dict(zip(x.indices[span].tolist(), x.data[span].tolist(), strict=True))
        scale = max(map(abs, expected.values()), default=0)
        for column in {*found, *expected}:
            if abs(found.get(column, 0.0) - expected.get(column, 0.0)) > 1e-4 * scale + 1e-30:
                return f"row {row}: features {found}, right: {expected}"
    return None


def _judge_folder(
    folder: Path, right: Callable[[], reference.Reading], *, ordered: bool = True
) -> tuple[Outcome, str]:
    """Read the train split, validate the folder, and compare with the plain reader."""

    def read() -> Dataset:
        opened = open_dataset(folder)
        dataset = opened.read(opened.splits[0])
        if opened.has_texts and list(opened.iter_texts(opened.splits[0])) != dataset.texts:
            raise ValueError("iter_texts gives other texts than read")
        return dataset

    def is_right(dataset: Dataset) -> str | None:
        try:
            expected = right()
        except reference.RefusedError as error:
            return f"read, but means nothing: {error}"
        return _differs(dataset, expected, ordered=ordered)

    def is_clear(error: LearnedIndexError) -> bool:
        return str(folder) in str(error) and len(str(error)) < 1500

    outcome = judged(read, is_right, is_clear)
    if outcome[0] in ("right", "clear error"):
        report = validate(folder)
        if outcome[0] == "clear error" and report.ok:
            return "wrong", f"validate finds nothing wrong, read says {outcome[1]}"
    return outcome


def _line_trial(
    rng: random.Random,
    folder: Path,
    *,
    make: Callable[[random.Random], Files],
    read: Callable[[Files, str], reference.Reading],
) -> tuple[Outcome, str]:
    files, other = make(rng), make(rng)
    name = rng.choice(list(files))
    foreign = rng.choice(list(other.values()))
    json_lines = ".json" in name
    after_packing = name.endswith(".gz") and rng.random() < 0.3
    if not after_packing:
        edit = json_lines and rng.random() < 0.5
        files[name] = (
            edited_json_lines(files[name], rng) if edit else damaged(files[name], foreign, rng)
        )
    files = {n: gzip.compress(c, 1) if n.endswith(".gz") else c for n, c in files.items()}
    if after_packing:
        files[name] = damaged(files[name], foreign, rng)
    for file_name, content in files.items():
        (folder / file_name).write_bytes(content)
    if rng.random() < 0.02:
        _obstruct(folder, rng)
        files = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
    ordered = not (json_lines and "labels.txt" not in files and "lbl.json.gz" not in files)
    return _judge_folder(folder, lambda: read(files, "train"), ordered=ordered)


def _npz_trial(rng: random.Random, folder: Path) -> tuple[Outcome, str]:
    parts = {"X": _matrix(rng, 9, ones=False), "Y": _matrix(rng, 4, ones=True)}
    target, action = rng.choice("XY"), rng.choice(("edit", "bytes", "declare", "place"))
    if action == "edit":
        for _ in range(rng.choice((1, 1, 2))):
            parts[target] = _edited(parts[target], rng)
    contents = {n: _npz(arrays, packed=rng.random() < 0.5) for n, arrays in parts.items()}
    if action == "bytes":
        contents[target] = damaged(contents[target], contents["X"], rng)
    elif action == "declare":
        contents[target] = _declaring(contents[target], rng)
    for name, content in contents.items():
        (folder / f"train_{name}.npz").write_bytes(content)
    if action == "place":
        _obstruct(folder, rng)

    def right() -> reference.Reading:
        if action == "declare":  # what NumPy makes of the file that is not trusted
            with np.load(folder / f"train_{target}.npz", allow_pickle=False) as loaded:
                parts[target] = {name: loaded[name] for name in loaded.files}
        try:
            (n_rows, width), x = reference.read_matrix(parts["X"])
            (n_labelled, n_labels), y = reference.read_matrix(parts["Y"])
        except KeyError as error:
            raise reference.RefusedError("an array is missing") from error
        if n_rows != n_labelled:
            raise reference.RefusedError("numbers of rows")
        if not (np.isfinite(parts["Y"]["data"]).all() and (parts["Y"]["data"] >= 0).all()):
            raise reference.RefusedError("values of labels")
        keys = [str(i) for i in range(n_labels)]
        labels = [{keys[i] for i, value in row.items() if value} for row in y]
        features = [reference.finite(row) for row in x]
        return reference.Reading(keys, labels, features=features, n_features=width)

    return _judge_folder(folder, right)


def _vectors_trial(rng: random.Random, folder: Path) -> tuple[Outcome, str]:
    """A file of vectors: .npy and .npz."""
    vectors = np.array([[rng.gauss(0, 1) for _ in range(3)] for _ in range(5)])
    vectors = vectors.astype(rng.choice(("f4", "f8", ">f4", "f2")), order=rng.choice("CF"))
    stream = io.BytesIO()
    np.save(stream, vectors)
    suffix, declares = rng.choice((".npy", ".npz")), rng.random() < 0.4
    content = stream.getvalue() if suffix == ".npy" else _npz({"vectors": vectors}, packed=True)
    if suffix == ".npz" and declares:
        content = _declaring(content, rng)
    elif suffix == ".npy" and declares:
        content = damaged(content[:128], b"(1000000000000,), '|O8', True", rng) + content[128:]
    else:
        content = damaged(content, content, rng)
    path = folder / f"train{suffix}"
    path.write_bytes(content)
    if rng.random() < 0.02:
        _obstruct(folder, rng)

    def is_right(found: np.ndarray[Any, Any]) -> str | None:
        try:
            expected = vectors  # a damaged archive gives what it held, or nothing
            if suffix == ".npy" or declares:
                loaded = np.load(path, allow_pickle=False)
                expected = loaded if suffix == ".npy" else loaded[loaded.files[0]]
        except Exception as error:
            return f"read as {found.shape}, but NumPy says {error}"
        same = found.shape == expected.shape and found.dtype == np.float32 and found.ndim == 2
        finite = bool(np.isfinite(found).all())
        same = same and np.array_equal(found, expected.astype(np.float32))
        return None if same and finite else f"read {found!r}, NumPy: {expected!r}"

    return judged(lambda: read_vectors(path), is_right, lambda error: str(path) in str(error))


_TRIALS: dict[str, Callable[[random.Random, Path], tuple[Outcome, str]]] = {
    "text": partial(_line_trial, make=_text_folder, read=reference.read_text),
    "xmc": partial(_line_trial, make=_xmc_folder, read=reference.read_xmc),
    "jsonl": partial(_line_trial, make=_json_folder, read=reference.read_jsonl),
    "json.gz": partial(_line_trial, make=_download_folder, read=reference.read_jsonl),
    "npz": _npz_trial,
    "vectors": _vectors_trial,
}
GROUPS = tuple(_TRIALS)


def _try(rng: random.Random, group: str, folder: Path) -> tuple[Outcome, str]:
    return _TRIALS[group](rng, folder)


def make_trial() -> Trial:
    """Return what tries one damaged folder."""
    return _try


if __name__ == "__main__":
    main(make_trial, groups=GROUPS, description="Damaged data folders.", n=50_000)
