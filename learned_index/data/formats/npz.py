"""Pairs of scipy sparse matrices: features and labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    numbered_labels,
    only_file,
)
from learned_index.data.vocabulary import LabelVocabulary
from learned_index.errors import DataFormatError, InputError
from learned_index.inputs.matrices import canonical_features, canonical_labels, check_places
from learned_index.persistence.foreign import read_npz

_MOST_ROWS = 2**24
"""A matrix may declare so many without bytes to show for it."""


class NpzFormat(Format):
    """``{split}_X.npz`` and ``{split}_Y.npz``, as ``scipy.sparse.save_npz`` writes them.

    ``X.trn.npz``/``Y.trn.npz`` (``tst``) are read too, and ``X.npz``/``Y.npz`` as the training
    split, in any of scipy's formats. Unsorted and repeated indices are put in order; every
    non-zero of Y is a label; NaN is refused; pickled objects are never loaded.
    """

    name: ClassVar[FormatName] = "npz"
    layout: ClassVar[str] = "{train,dev,test}_X.npz, {train,dev,test}_Y.npz and perhaps labels.txt"
    has_texts: ClassVar[bool] = False
    ending: ClassVar[str] = "_X.npz"

    def read(self, folder: Path, split: SplitName, vocabulary: LabelVocabulary) -> Dataset:
        """Read one split; see :meth:`Format.read`."""
        x_path, y_path = (_existing(folder, split, matrix) for matrix in "XY")
        x_raw, y_raw = (
            load_matrix(x_path, are_features=True),
            load_matrix(y_path, are_features=False),
        )
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

    def files(self, folder: Path, split: SplitName) -> list[Path]:
        """The files of one split."""
        return [path for matrix in "XY" if (path := _path(folder, split, matrix)) is not None]

    def is_download(self, folder: Path) -> bool:
        """Whether a file is called ``X.trn.npz``, or the like."""
        paths = [self._path(folder, split) for split in self.find_splits(folder)]
        return any(path.name[1] == "." for path in paths)

    def _find(self, folder: Path, split: SplitName) -> Path | None:
        return _path(folder, split, "X") or _path(folder, split, "Y")

    def _unlisted_labels(self, folder: Path) -> LabelVocabulary:
        """Number the columns of Y."""
        paths = [_existing(folder, split, "Y") for split in self.find_splits(folder)]
        widths = {path: n_columns(path) for path in paths}
        return numbered_labels(widths, "the label matrices differ in width")

    def _write(self, folder: Path, dataset: Dataset, points: Any) -> None:
        sp.save_npz(folder / f"{dataset.split}_X.npz", points)
        sp.save_npz(folder / f"{dataset.split}_Y.npz", dataset.labels)


def _path(folder: Path, split: SplitName, matrix: str) -> Path | None:
    names = [f"{split}_{matrix}.npz", f"{matrix}.{SHORT_NAMES[split]}.npz"]
    return only_file(folder, names + [f"{matrix}.npz"] * (split == "train"))


def _existing(folder: Path, split: SplitName, matrix: str) -> Path:
    path = _path(folder, split, matrix)
    if path is None:
        raise DataFormatError(
            f"{folder / f'{split}_{matrix}.npz'} is missing; expected X (features) and Y (labels)"
        )
    return path


def n_columns(path: Path) -> int:
    """Columns that a matrix declares; it is not read."""
    return _shape(path, read_npz(path, {"shape"}))[1]


def _shape(path: Path, arrays: Mapping[str, Any]) -> tuple[int, int]:
    shape = arrays.get("shape")
    if shape is None or shape.shape != (2,) or shape.dtype.kind not in "iu" or shape.min() < 0:
        raise _no_matrix(path, "it has no shape of two numbers")
    rows, columns = map(int, shape)
    if columns >= 2**31:
        raise _no_matrix(path, f"it has {columns} columns")
    return rows, columns


def _no_matrix(path: Path, why: object) -> DataFormatError:
    return DataFormatError(
        f"{path} cannot be read as a scipy sparse matrix ({why}); write it with "
        "scipy.sparse.save_npz"
    )


def load_matrix(path: Path, *, are_features: bool) -> Any:
    """Build the matrix that a file describes, without trusting any of its numbers."""
    arrays = read_npz(path)
    shape = _shape(path, arrays)
    size = sum(array.nbytes for array in arrays.values())
    if are_features:
        check_declared(path, shape[1], "features", size)
    if shape[0] > max(_MOST_ROWS, size):
        raise _no_matrix(path, f"it has {shape[0]} rows in {size} bytes")
    try:
        name = np.ravel(arrays["format"])
        kind = str(name.astype(str)[0]) if name.size == 1 and name.dtype.kind in "SU" else "unknown"
        if kind not in _BUILDERS:
            raise ValueError(f"its format is {kind[:20]!r}, expected one of {', '.join(_BUILDERS)}")
        build, dimensions = _BUILDERS[kind]
        # scipy computes in the byte order of the machine only.
        data = arrays["data"].astype(arrays["data"].dtype.newbyteorder("="))
        if data.dtype.kind not in "biuf" or data.ndim != dimensions:
            raise ValueError(f"its data are {data.dtype} of {data.ndim} dimensions")
        if data.dtype == np.float16:  # which scipy does not compute with
            data = data.astype(np.float32)
        return build(kind, data, arrays, shape)
    except KeyError as error:
        raise _no_matrix(path, f"the array {error} is missing") from None
    except ValueError as error:
        raise _no_matrix(path, error) from None


def _compressed(kind: str, data: Any, arrays: Mapping[str, Any], shape: tuple[int, int]) -> Any:
    counts = list(shape)
    if kind == "bsr":
        sides = data.shape[1:]
        if 0 in sides or shape[0] % sides[0] or shape[1] % sides[1]:
            raise ValueError(f"blocks of shape {sides} do not fill {shape}")
        counts = [shape[0] // sides[0], shape[1] // sides[1]]
    major, minor = reversed(counts) if kind == "csc" else counts
    indices = _places(arrays["indices"], "indices", len(data), minor)
    indptr = _places(arrays["indptr"], "indptr", major + 1, len(data) + 1)
    if indptr[0] != 0 or (np.diff(indptr) < 0).any():
        raise ValueError("its indptr does not rise from 0")
    classes = {"csr": sp.csr_matrix, "csc": sp.csc_matrix, "bsr": sp.bsr_matrix}
    return classes[kind]((data, indices, indptr), shape=shape)


def _coordinates(_: str, data: Any, arrays: Mapping[str, Any], shape: tuple[int, int]) -> Any:
    rows, columns = arrays["coords"] if "coords" in arrays else (arrays["row"], arrays["col"])
    rows = _places(rows, "rows", len(data), shape[0])
    columns = _places(columns, "columns", len(data), shape[1])
    return sp.coo_matrix((data, (rows, columns)), shape=shape)


def _diagonals(_: str, data: Any, arrays: Mapping[str, Any], shape: tuple[int, int]) -> Any:
    if arrays["offsets"].dtype.kind not in "iu":
        raise ValueError(f"its offsets are {arrays['offsets'].dtype}, expected whole numbers")
    rows_up = arrays["offsets"].astype(np.int64) + shape[0]  # a diagonal may begin in any row
    _places(rows_up, "offsets", len(data), sum(shape))
    return sp.dia_matrix((data, rows_up - shape[0]), shape=shape)


def _places(array: Any, name: str, count: int, below: int) -> Any:
    """Return indices as int64, all of them in range."""
    check_places(array, name, count=count, below=below)
    return array.astype(np.int64)


_BUILDERS: dict[str, tuple[Callable[..., Any], int]] = {
    "csr": (_compressed, 1),
    "csc": (_compressed, 1),
    "bsr": (_compressed, 3),
    "coo": (_coordinates, 1),
    "dia": (_diagonals, 2),
}
"""By scipy's name of a format: what builds it, and the dimensions of its data."""
