"""Files of vectors: where those of a split lie, whether they are whole, and what they hold."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from learned_index.encoders.chunked_file import first_bad_row, open_vectors
from learned_index.errors import DataFormatError, InputError, ModelFormatError
from learned_index.persistence import read_json
from learned_index.persistence.foreign import open_file, read_npy_header, read_npz
from learned_index.types import Float32Array

SUFFIXES = (".npy", ".npz", ".safetensors")
SPLITS = ("train", "dev", "test")


def is_vector_spec(spec: str) -> bool:
    """Whether ``spec`` names a vector file, a ``{split}`` pattern or a folder of vector files."""
    path = Path(spec).expanduser()
    if path.is_dir():
        return any((path / f"{split}{end}").is_file() for split in SPLITS for end in SUFFIXES)
    return path.suffix in SUFFIXES


def split_file(spec: str, split: str) -> Path:
    """Return the file that holds the vectors of a split.

    Args:
        spec: A folder with ``train.npy``, ``test.npy`` …; a pattern such as
            ``vectors_{split}.npy``; or a file ``vectors_train.npy``, whose siblings have the
            split's name in the place of ``train``; a file without a split in its name is train.
        split: Name of the split.

    Raises:
        InputError: There is no such file; the message names what was looked for.
    """
    path = Path(spec).expanduser()
    if path.is_dir():
        tried = [path / f"{split}{suffix}" for suffix in SUFFIXES]
    elif "{split}" in spec:
        tried = [Path(spec.replace("{split}", split)).expanduser()]
    else:
        named = [name for name in SPLITS if name in path.stem]
        if len(named) == 1:
            head, _, tail = path.stem.rpartition(named[0])
            tried = [path.with_name(f"{head}{split}{tail}{path.suffix}")]
        else:
            tried = [path] if split == "train" else [path.with_name(f"{split}{path.suffix}")]
    for candidate in tried:
        if candidate.is_file():
            _check_finished(candidate)
            return candidate
    raise InputError(
        f"no vectors for the split {split!r}: looked for {', '.join(map(str, tried))}; give a "
        "folder with train.npy and test.npy, or a pattern such as vectors_{split}.npy"
    )


def embed_record(out: Path) -> Path:
    """Return where ``li embed --out OUT`` records what it has written: a folder or one file."""
    return out.with_name(f"{out.stem}.embed.json") if out.suffix == ".npy" else out / "embed.json"


def read_embed_record(path: Path) -> dict[str, Any]:
    """Return which encoder and texts made each file; empty where ``li embed`` recorded nothing."""
    try:
        record = read_json(path)
    except ModelFormatError:
        return {}
    return record if isinstance(record, dict) else {}


def _check_finished(candidate: Path) -> None:
    """Refuse vectors that ``li embed`` was about to replace by those of another encoder."""
    records = (embed_record(candidate), embed_record(candidate.parent))
    if any(read_embed_record(record).get(candidate.name) == "" for record in records):
        raise InputError(
            f"{candidate} is not whole: li embed was interrupted before it had replaced it; run "
            "the same command again"
        )


def read_vectors(path: Path) -> Float32Array:
    """Read N x D vectors; ``.npy`` files of float32 are memory-mapped.

    Raises:
        InputError: Not such a file, no matrix of floating-point numbers, several matrices, NaN
            or infinity.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: unknown suffix, expected one of {', '.join(SUFFIXES)}")
    try:
        with open_file(path) as file:  # a regular file, which nobody has to wait for
            if path.suffix == ".npy":
                # First by our own reader: it says what is wrong, and compares shape and size.
                read_npy_header(file, os.fstat(file.fileno()).st_size, str(path))
                array = open_vectors(path)
        if path.suffix == ".npz":
            arrays = read_npz(path)
            array = arrays[_only(path, list(arrays))]
        elif path.suffix == ".safetensors":
            with safe_open(str(path), framework="np") as archive:
                array = archive.get_tensor(_only(path, list(archive.keys())))
    except (DataFormatError, OSError, TypeError, ValueError, SafetensorError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} cannot be read as vectors ({error}); expected a whole {path.suffix} file"
        ) from None
    if array.ndim != 2 or array.shape[1] == 0 or array.dtype.kind != "f":
        raise InputError(
            f"{path} holds {array.dtype} of shape {array.shape}, expected floating-point numbers "
            "of shape (texts, dimensions)"
        )
    row = first_bad_row(array)
    if row is not None:
        raise InputError(f"{path}: row {row} holds NaN or infinity; compute its vector again")
    vectors: Float32Array = array
    if array.dtype != np.float32:
        vectors = np.asarray(array, dtype=np.float32)
        if not np.isfinite(vectors).all():
            raise InputError(f"{path}: some numbers are too large for float32; scale the vectors")
    return vectors


def _only(path: Path, names: list[str]) -> str:
    for name in ("vectors", "embeddings"):
        if name in names:
            return name
    if len(names) != 1:
        raise InputError(
            f"{path} holds the arrays {', '.join(names) or '(none)'}; expected one, or one called "
            "'vectors'"
        )
    return names[0]
