"""Vectors that somebody computed already, by position in the data set's splits."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from safetensors import SafetensorError, safe_open

from learned_index.encoders.base import EncoderBase, check_texts, digest
from learned_index.encoders.chunked_file import texts_digest
from learned_index.errors import DataFormatError, InputError, ModelFormatError, NotFittedError
from learned_index.persistence import read_json
from learned_index.persistence.foreign import NpyHeader, open_file, read_npy_header, read_npz
from learned_index.types import Float32Array

SUFFIXES = (".npy", ".npz", ".safetensors")
SPLITS = ("train", "dev", "test")
_ROWS_PER_CHECK = 65_536


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
                header = read_npy_header(file, os.fstat(file.fileno()).st_size, str(path))
                array = _mapped(path, header)
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
    for start in range(0, len(array), _ROWS_PER_CHECK):
        finite_B = np.isfinite(array[start : start + _ROWS_PER_CHECK]).all(axis=1)
        if not finite_B.all():
            row = start + int(np.flatnonzero(~finite_B)[0])
            raise InputError(f"{path}: row {row} holds NaN or infinity; compute its vector again")
    vectors: Float32Array = array
    if array.dtype != np.float32:
        vectors = np.asarray(array, dtype=np.float32)
        if not np.isfinite(vectors).all():
            raise InputError(f"{path}: some numbers are too large for float32; scale the vectors")
    return vectors


def _mapped(path: Path, header: NpyHeader) -> Any:
    if 0 in header.shape:  # nothing to map
        return np.empty(header.shape, dtype=header.dtype)
    return np.memmap(
        path,
        dtype=header.dtype,
        mode="r",
        offset=header.start,
        shape=header.shape,
        order="F" if header.fortran_order else "C",
    )


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


class PrecomputedEncoder(EncoderBase):
    """Vectors from files, for texts that are known beforehand.

    Rows belong to texts by position: row n of the split's file is text n of the split.
    ``fit(train_texts)`` ties the train split, ``bind(texts, "test")`` any other; from then on
    ``encode`` finds the vectors of these texts, in any order and number. A whole split comes
    back as the file's memory map. A text that occurs twice in a split has its first row's
    vector, unless the whole split is asked for. Vectors are used as they are, not normalised.

    Saved, it is the path and the dimension, not the vectors.

    Args:
        path: See :func:`split_file`: a folder, a ``{split}`` pattern, or a file.

    Raises:
        InputError: The train split's file (or, without one, any split's) is missing or unusable.
    """

    kind: ClassVar[str] = "precomputed"

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self._dim = 0
        self._splits: dict[str, tuple[list[str], str, Float32Array]] = {}
        self._row_of: dict[str, tuple[str, int]] = {}
        for split in ("train", "test", "dev"):
            try:
                found = split_file(self.path, split)
            except InputError:
                continue
            self._dim = int(read_vectors(found).shape[1])
            break
        else:
            split_file(self.path, "train")

    @property
    def needs_fit(self) -> bool:
        """False: :meth:`fit` ties rows to texts, it learns nothing."""
        return False

    @property
    def dim(self) -> int:
        """Number of columns of the files."""
        return self._dim

    def vectors(self, split: str) -> Float32Array:
        """Return the vectors of a split, N x D float32 (memory-mapped where the file allows).

        Raises:
            InputError: No such file, or it is unusable, or has another dimension.
        """
        path = split_file(self.path, split)
        vectors = read_vectors(path)
        if vectors.shape[1] != self._dim:
            raise InputError(
                f"{path} has {vectors.shape[1]} columns, expected {self._dim} as in the other "
                "splits; compute the splits with the same encoder"
            )
        return vectors

    def fit(self, texts: Sequence[str]) -> Self:
        """Tie the rows of the train split to the training texts.

        Raises:
            InputError: The number of rows is not the number of texts.
        """
        return self.bind(texts, "train")

    def bind(self, texts: Sequence[str], split: str) -> Self:
        """Tie the rows of a split to its texts.

        Args:
            texts: All texts of the split in the order of the data set.
            split: Name of the split.

        Raises:
            InputError: The number of rows is not the number of texts.
        """
        checked = check_texts(texts)
        vectors = self.vectors(split)
        if len(vectors) != len(checked):
            raise InputError(
                f"{split_file(self.path, split)} has {len(vectors)} rows, the {split} split has "
                f"{len(checked)} texts; expected one row for each text, in the same order"
            )
        self._splits[split] = (checked, texts_digest(checked), vectors)
        self._row_of = {}
        for name, (known, _, _) in self._splits.items():
            for row, text in enumerate(known):
                self._row_of.setdefault(text, (name, row))
        return self

    def encode(self, texts: Sequence[str]) -> Float32Array:
        """Return the vectors of texts that were tied to a split, B x D float32.

        Raises:
            NotFittedError: No split was tied yet.
            InputError: A text of no tied split: stored vectors cannot encode new text.
        """
        checked = check_texts(texts)
        if not checked:
            return np.zeros((0, self._dim), dtype=np.float32)
        if not self._splits:
            raise NotFittedError(
                "stored vectors cannot encode new texts: search with vectors (the model's "
                "index.search), or train with an encoder; for texts that have stored vectors call "
                "fit(train_texts) or bind(texts, split) first"
            )
        for known, known_digest, vectors in self._splits.values():
            if len(known) == len(checked) and texts_digest(checked) == known_digest:
                return vectors
        rows = np.zeros((len(checked), self._dim), dtype=np.float32)
        for number, text in enumerate(checked):
            if text not in self._row_of:
                raise InputError(
                    f"text {number} ({text!r:.60}) is in none of the splits "
                    f"{', '.join(self._splits)}; stored vectors cannot encode new text. Train "
                    "with an encoder such as lsa or minilm to ask questions in words"
                )
            split, row = self._row_of[text]
            rows[number] = self._splits[split][2][row]
        return rows

    def _config(self) -> dict[str, Any]:
        return {"path": str(Path(self.path).expanduser().absolute()), "dim": self._dim}

    def _content_digest(self) -> str:
        sha = hashlib.sha256()
        for split in SPLITS:
            try:
                path = split_file(self.path, split)
            except InputError:
                continue
            with path.open("rb") as file:
                sha.update(f"{split}:{hashlib.file_digest(file, 'sha256').hexdigest()}".encode())
        return sha.hexdigest()

    def fingerprint(self) -> str:
        """SHA-256 of the files' content."""
        return digest([self.kind, self._content_digest()])

    def _write(self, directory: Path) -> None:
        """Nothing but the configuration is stored."""

    @classmethod
    def _read(cls, directory: Path, config: dict[str, Any]) -> Self:
        # The files may have moved since: searching with vectors needs no encoder at all, so
        # they are looked for when a split is asked for.
        encoder = cls.__new__(cls)
        encoder.path = str(config["path"])
        encoder._dim = int(config["dim"])
        encoder._splits = {}
        encoder._row_of = {}
        return encoder
