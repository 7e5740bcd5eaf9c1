"""Downloads of the extreme classification repository in which texts and matrices lie apart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from learned_index.data.dataset import Dataset, SplitName
from learned_index.data.formats.base import (
    SHORT_NAMES,
    Format,
    FormatName,
    check_declared,
    check_same_length,
    only_file,
)
from learned_index.data.formats.jsonl import described_labels, label_file, sorted_names
from learned_index.data.formats.lines import iter_lines
from learned_index.data.formats.matrices import GrowingRows
from learned_index.data.formats.npz import load_matrix, n_columns
from learned_index.data.formats.sparse_text import read_header, read_matrix
from learned_index.data.vocabulary import LabelVocabulary
from learned_index.errors import DataFormatError, InputError
from learned_index.inputs.matrices import canonical_features, canonical_labels
from learned_index.persistence.foreign import file_exists

_LABEL_TEXTS = (
    *("raw/Y.txt", "raw/lbl.txt", "raw/lbl_X.txt", "Y.txt", "lbl.txt", "label_map.txt"),
    *("output-items.txt", "raw_data/label.raw.txt", "raw_data/lbl.raw.txt", "lbl_raw_texts.txt"),
)
"""Where the texts of the labels are, one a line in the order of the columns."""


class RepositoryFormat(Format):
    """Labels as ``{trn,tst}_X_Y.txt`` or ``Y.{trn,tst}.npz``, and beside them the points.

    The points are texts, a line each: ``raw/trn_X.txt`` (the layout of ELIAS), ``trn_X.txt``,
    ``X.trn.txt``, ``train_raw_texts.txt``, ``raw_data/train.raw.txt``; or, where there are none,
    the features ``trn_X_Xf.txt`` (``X.trn.npz`` with ``Y.trn.npz`` is read as npz). A matrix as
    text begins with ``rows columns``; each other line is ``column:value column:value``.
    ``train_raw_texts.txt`` with ``train_labels.txt`` and no ``labels.txt`` is read too: there a
    line names the labels of a text. The labels' texts are ``raw/Y.txt``, ``Y.txt``,
    ``lbl.json.gz``, ``label_map.txt``, ...: as many lines as there are columns. Read only.
    """

    name: ClassVar[FormatName] = "repository"
    layout: ClassVar[str] = "{trn,tst}_X_Y.txt or Y.{trn,tst}.npz beside raw/{trn,tst}_X.txt, ..."
    has_texts: ClassVar[bool] = True
    ending: ClassVar[str] = "_X_Y.txt"
    is_written: ClassVar[bool] = False

    def holds_texts(self, folder: Path) -> bool:
        """Whether all splits have texts."""
        return all(_texts(folder, split) for split in self.find_splits(folder))

    def files(self, folder: Path, split: SplitName) -> list[Path]:
        """The files of one split."""
        points = _texts if self.holds_texts(folder) else _features
        found = [self._find(folder, split), points(folder, split)]
        return [path for path in found if path is not None]

    def _unlisted_files(self, folder: Path) -> list[Path]:
        if any(_is_named(path) for path in self._label_paths(folder)):
            return []
        texts = only_first(folder, _LABEL_TEXTS) or label_file(folder)
        return [] if texts is None else [texts]

    def read(self, folder: Path, split: SplitName, vocabulary: LabelVocabulary) -> Dataset:
        """Read one split; see :meth:`Format.read`."""
        path = self._path(folder, split)
        labels = _read_labels(path, vocabulary)
        if labels.shape[1] != len(vocabulary):
            raise DataFormatError(
                f"{path} has {labels.shape[1]} labels, but {len(vocabulary)} are named or stand in "
                "the other splits"
            )
        texts, features = None, None
        points = (_texts if self.holds_texts(folder) else _features)(folder, split)
        if points is None:
            raise DataFormatError(
                f"{folder} has labels of the {split} split ({path.name}), but neither texts nor "
                f"features of its points such as those of the others: expected {_TEXTS[0]} or "
                f"{_FEATURES}".format(short=SHORT_NAMES[split], split=split)
            )
        if self.holds_texts(folder):
            texts = list(self.iter_texts(folder, split))
            check_same_length(points, len(texts), path, labels.shape[0], unit="points")
        else:
            check_declared(points, read_header(points).n_columns, "features", _size(points))
            features = canonical_features(read_matrix(points, "feature"))
            check_same_length(points, features.shape[0], path, labels.shape[0], unit="points")
        return Dataset(
            split=split, labels=labels, vocabulary=vocabulary, texts=texts, features=features
        )

    def iter_texts(self, folder: Path, split: SplitName) -> Iterator[str]:
        """Stream the texts of one split."""
        path = _texts(folder, split)
        if path is None:
            return super().iter_texts(folder, split)
        return (line.removesuffix("\r") for line in iter_lines(path))

    def _find(self, folder: Path, split: SplitName) -> Path | None:
        short = SHORT_NAMES[split]
        texts, matrix = _texts(folder, split), only_file(folder, [f"{short}_X_Y.txt"])
        if matrix is not None and (texts or _features(folder, split)):
            return matrix
        if texts is None:
            return None
        matrix = only_file(folder, [f"Y.{short}.npz"])
        if matrix is not None or file_exists(folder / LabelVocabulary.FILE_NAME):
            return matrix
        return only_file(folder, [f"{split}_labels.txt"])

    def _label_paths(self, folder: Path) -> list[Path]:
        return [self._path(folder, split) for split in self.find_splits(folder)]

    def _unlisted_labels(self, folder: Path) -> LabelVocabulary:
        """Give the columns their texts, or number them; or collect the names of all splits."""
        paths = self._label_paths(folder)
        if any(map(_is_named, paths)):
            names = {name for path in paths for line in iter_lines(path) for name in line.split()}
            return LabelVocabulary(sorted_names(names))
        widths = {path: _width(path) for path in paths}
        if len(set(widths.values())) > 1:
            said = ", ".join(f"{path.name} {width}" for path, width in widths.items())
            raise DataFormatError(f"{folder}: the splits differ in their number of labels: {said}")
        path, width = next(iter(widths.items()))
        texts = only_first(folder, _LABEL_TEXTS)
        if texts is None:
            described = label_file(folder)
            if described is not None:
                return described_labels(described)
            check_declared(path, width, "labels", sum(map(_size, paths)))
            return LabelVocabulary.numbered(width)
        lines = [" ".join(line.split()) for line in iter_lines(texts)]
        check_same_length(texts, len(lines), path, width, unit="labels")
        return LabelVocabulary(map(str, range(width)), lines)

    def _write(self, folder: Path, dataset: Dataset, points: Any) -> None:
        raise InputError("the repository's layout is read only; write jsonl, npz or xmc")


_TEXTS = (
    *("raw/{short}_X.txt", "{short}_X.txt", "X.{short}.txt", "{split}_raw_texts.txt"),
    *("raw_data/{short}_X.txt", "raw_data/{split}.raw.txt"),
)
_FEATURES = "{short}_X_Xf.txt"


def only_first(folder: Path, names: tuple[str, ...]) -> Path | None:
    """The first of several files that is there; None where none is."""
    return next((folder / name for name in names if file_exists(folder / name)), None)


def _texts(folder: Path, split: SplitName) -> Path | None:
    short = SHORT_NAMES[split]
    return only_first(folder, tuple(name.format(short=short, split=split) for name in _TEXTS))


def _features(folder: Path, split: SplitName) -> Path | None:
    return only_first(folder, (_FEATURES.format(short=SHORT_NAMES[split]),))


def _is_named(path: Path) -> bool:
    """Whether a file names labels, and is no matrix."""
    return path.name.endswith("_labels.txt")


def _size(path: Path) -> int:
    return path.stat().st_size


def _width(path: Path) -> int:
    return n_columns(path) if path.suffix == ".npz" else read_header(path).n_columns


def _read_labels(path: Path, vocabulary: LabelVocabulary) -> sp.csr_matrix:
    if _is_named(path):
        rows = GrowingRows()
        for line in iter_lines(path):
            rows.add(vocabulary.ids(line.split()).tolist())
        return rows.matrix(len(vocabulary))
    if path.suffix == ".npz":
        matrix = load_matrix(path, are_features=False)
    else:
        check_declared(
            path, read_header(path).n_columns, "labels", max(_size(path), len(vocabulary))
        )
        matrix = read_matrix(path, "label")
    matrix = canonical_features(matrix, what=str(path))
    if matrix.nnz and np.min(matrix.data) < 0:
        raise DataFormatError(f"{path} has negative relevances; expected 1 for each label")
    return canonical_labels(matrix != 0, what=str(path))
