"""Vectors that somebody computed already, by position in the data set's splits."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from learned_index.encoders.base import EncoderBase, check_texts
from learned_index.encoders.chunked_file import texts_digest
from learned_index.encoders.vector_files import SPLITS, read_vectors, split_file
from learned_index.errors import InputError, NotFittedError
from learned_index.persistence.digest import bytes_digest, digest, file_digest
from learned_index.types import Float32Array


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
    needs_fit: ClassVar[bool] = False

    def __init__(self, path: str | Path) -> None:
        self._begin(str(path))
        found = [file for file in map(self._file, ("train", "test", "dev")) if file is not None]
        first = found[0] if found else split_file(self.path, "train")  # which says what is missing
        self._dim = int(read_vectors(first).shape[1])

    def _begin(self, path: str, dim: int = 0) -> None:
        self.path, self._dim = path, dim
        self._splits: dict[str, tuple[list[str], str, Float32Array]] = {}
        self._row_of: dict[str, tuple[str, int]] = {}

    def _file(self, split: str) -> Path | None:
        """Return the file of a split; None where there is none."""
        with suppress(InputError):
            return split_file(self.path, split)
        return None

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
        """Tie the rows of the train split to the training texts, as :meth:`bind`."""
        return self.bind(texts, "train")

    def bind(self, texts: Sequence[str], split: str) -> Self:
        """Tie the rows of a split to its texts; see :meth:`EncoderBase.bind`.

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
        # Anew: a split that was tied before may be tied to other texts now.
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
                return vectors  # by position, so that texts that occur twice keep their own rows
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

    def fingerprint(self) -> str:
        """SHA-256 of the files' content."""
        files = [(split, self._file(split)) for split in SPLITS]
        content = bytes_digest(f"{s}:{file_digest(file)}".encode() for s, file in files if file)
        return digest([self.kind, content])

    def _save_into(self, directory: Path) -> None:
        """Nothing but the configuration is stored."""

    @classmethod
    def _load_from(cls, directory: Path, config: dict[str, Any]) -> Self:
        # The files may have moved since: searching with vectors needs no encoder at all, so
        # they are looked for when a split is asked for.
        encoder = cls.__new__(cls)
        encoder._begin(str(config["path"]), int(config["dim"]))
        return encoder
