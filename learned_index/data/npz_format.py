"""Pairs of scipy sparse matrices: features and labels."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import scipy.sparse as sp

from learned_index.data.dataset import SPLITS, Dataset, SplitName
from learned_index.data.formats import FormatName, check_same_length
from learned_index.data.vocabulary import LabelVocabulary
from learned_index.errors import DataFormatError, InputError
from learned_index.inputs.matrices import canonical_features, canonical_labels

_SHORT = {"train": "trn", "dev": "dev", "test": "tst"}


class NpzFormat:
    """``{split}_X.npz`` and ``{split}_Y.npz``, as ``scipy.sparse.save_npz`` writes them.

    ``X.trn.npz``/``Y.trn.npz`` (``tst``) are read too, and ``X.npz``/``Y.npz`` as the training
    split. Unsorted and repeated indices are put in order; every non-zero of Y is a label; NaN is
    refused; pickled objects are never loaded.
    """

    name: ClassVar[FormatName] = "npz"
    layout: ClassVar[str] = "{train,dev,test}_X.npz, {train,dev,test}_Y.npz and perhaps labels.txt"

    def find_splits(self, folder: Path) -> tuple[SplitName, ...]:
        """Return the splits that have a matrix of features or of labels."""
        return tuple(
            split for split in SPLITS if _path(folder, split, "X") or _path(folder, split, "Y")
        )

    def read_vocabulary(self, folder: Path) -> LabelVocabulary:
        """Read ``labels.txt``, or number the columns of Y."""
        path = folder / LabelVocabulary.FILE_NAME
        if path.is_file():
            return LabelVocabulary.read(path)
        widths = {
            split: _load(_existing(folder, split, "Y")).shape[1]
            for split in self.find_splits(folder)
        }
        if len(set(widths.values())) > 1:
            raise DataFormatError(f"{folder}: the label matrices differ in width: {widths}")
        return LabelVocabulary.numbered(next(iter(widths.values())))

    def read(self, folder: Path, split: SplitName, vocabulary: LabelVocabulary) -> Dataset:
        """Read one split.

        Raises:
            DataFormatError: Missing or damaged file, NaN, unequal numbers of rows, or another
                number of labels than the vocabulary has.
        """
        x_path, y_path = (_existing(folder, split, matrix) for matrix in "XY")
        x_raw, y_raw = _load(x_path), _load(y_path)
        try:
            features = canonical_features(x_raw, what=str(x_path))
            labels = canonical_labels(y_raw, what=str(y_path))
        except InputError as error:
            raise DataFormatError(str(error)) from None
        check_same_length(x_path, features.shape[0], y_path, labels.shape[0], unit="rows")
        if labels.shape[1] != len(vocabulary):
            raise DataFormatError(
                f"{y_path} has {labels.shape[1]} columns, but there are {len(vocabulary)} labels "
                f"in {folder / LabelVocabulary.FILE_NAME} or the other splits"
            )
        return Dataset(split=split, labels=labels, vocabulary=vocabulary, features=features)

    def iter_texts(self, folder: Path, split: SplitName) -> Iterator[str]:
        """Refuse: this format has no texts."""
        raise InputError(f"{folder} has sparse features and no texts")

    def write(self, folder: Path, dataset: Dataset) -> None:
        """Write one split.

        Raises:
            InputError: No features.
        """
        if dataset.features is None:
            raise InputError(
                f"the {dataset.split} split has texts and no sparse features: it cannot be written "
                "as npz; make tf-idf features first"
            )
        sp.save_npz(folder / f"{dataset.split}_X.npz", dataset.features)
        sp.save_npz(folder / f"{dataset.split}_Y.npz", dataset.labels)


def _path(folder: Path, split: SplitName, matrix: str) -> Path | None:
    names = [f"{split}_{matrix}.npz", f"{matrix}.{_SHORT[split]}.npz"]
    if split == "train":
        names.append(f"{matrix}.npz")
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _existing(folder: Path, split: SplitName, matrix: str) -> Path:
    path = _path(folder, split, matrix)
    if path is None:
        raise DataFormatError(
            f"{folder / f'{split}_{matrix}.npz'} is missing; expected X (features) and Y (labels)"
        )
    return path


def _load(path: Path) -> Any:
    try:
        return sp.load_npz(path)  # calls numpy.load with allow_pickle=False
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataFormatError(
            f"{path} cannot be read as a scipy sparse matrix ({error}); write it with "
            "scipy.sparse.save_npz"
        ) from None
