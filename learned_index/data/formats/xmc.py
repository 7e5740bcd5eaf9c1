"""The sparse text format of the extreme classification repository."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import scipy.sparse as sp

from learned_index.data.dataset import SPLITS, Dataset, SplitName
from learned_index.data.formats.base import (
    SHORT_NAMES,
    FormatName,
    check_declared,
    named_labels,
    only_file,
)
from learned_index.data.formats.lines import (
    UTF8_MARK,
    fail,
    iter_raw_lines,
    parse_ids,
    shown,
    whole_numbers,
)
from learned_index.data.formats.matrices import csr_from_arrays
from learned_index.data.vocabulary import LabelVocabulary
from learned_index.errors import DataFormatError, InputError
from learned_index.persistence.foreign import file_exists, open_file

_HEADER = re.compile(rb"\s*(\d+)\s+(\d+)\s+(\d+)\s*")
_FEATURE = rb"\d+:[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?)"
_FEATURES = re.compile(rb"%b(?:[ \t]+%b)*" % (_FEATURE, _FEATURE))
_LABELS = re.compile(rb"\d+(?:,\d+)*,?")
_MOST_LABELS, _MOST_FEATURES = 2**20, 2**24
"""A header may declare so many without bytes to show for it."""


class XmcFormat:
    """``{split}.xmc.txt`` and perhaps ``labels.txt``.

    The names of downloads are found too, where the file begins with the header: ``train.txt``,
    ``trn.txt``, ``eurlex_train.txt``. The first line is ``points features labels``; each other
    line ``l1,l2 f:v f:v``, ids 0-based.
    A point without labels begins with a blank or with its first feature; features may be missing
    too. Repeated features of a point are summed. Without ``labels.txt`` labels are numbered.
    """

    name: ClassVar[FormatName] = "xmc"
    layout: ClassVar[str] = "{train,dev,test}.xmc.txt and perhaps labels.txt"

    def find_splits(self, folder: Path) -> tuple[SplitName, ...]:
        """Return the splits that have a file in this format."""
        return tuple(split for split in SPLITS if _path(folder, split) is not None)

    def read_vocabulary(self, folder: Path) -> LabelVocabulary:
        """Read ``labels.txt``, or number the labels of the header."""
        vocabulary = named_labels(folder)
        if vocabulary is not None:
            return vocabulary
        paths = [_existing(folder, split) for split in self.find_splits(folder)]
        counts = {path: _header(path)[2] for path in paths}
        if len(set(counts.values())) > 1:
            said = ", ".join(f"{path.name} {count}" for path, count in counts.items())
            raise DataFormatError(
                f"{folder}: the headers disagree about the number of labels: {said}; write the "
                "largest into all"
            )
        path, n_labels = next(iter(counts.items()))
        size = sum(path.stat().st_size for path in paths)
        check_declared(path, n_labels, "labels", _MOST_LABELS, size)
        return LabelVocabulary.numbered(n_labels)

    def read(self, folder: Path, split: SplitName, vocabulary: LabelVocabulary) -> Dataset:
        """Read one split.

        Raises:
            DataFormatError: Missing file, no header, ids out of range, values that are no finite
                numbers, or another number of lines than the header says.
        """
        path = _existing(folder, split)
        n_points, n_features, n_labels = _header(path)
        check_declared(path, n_features, "features", _MOST_FEATURES, path.stat().st_size)
        if n_labels != len(vocabulary):
            fail(
                path,
                1,
                f"the header says {n_labels} labels, but {folder / LabelVocabulary.FILE_NAME} "
                f"names {len(vocabulary)}",
            )
        label_ids, label_ptr = array("i"), array("q", [0])
        feature_ids, values, feature_ptr = array("i"), array("f"), array("q", [0])
        number = 1
        for number, raw in enumerate(iter_raw_lines(path), start=1):
            if number == 1:
                continue
            if number > n_points + 1:
                if raw.strip():
                    fail(path, number, f"more points than the {n_points} of the header")
                number -= 1
                continue
            labels, features = _split_point(raw, path, number)
            label_ids.extend(parse_ids(labels, n_labels, path, number))
            label_ptr.append(len(label_ids))
            if features:
                tokens = features.replace(b":", b" ").split()
                ids = whole_numbers(tokens[::2], "feature id", path, number)
                if max(ids) >= n_features:
                    fail(
                        path,
                        number,
                        f"feature id {max(ids)} is out of range: the header says {n_features} "
                        "features, ids begin at 0",
                    )
                feature_ids.extend(ids)
                values.extend(map(float, tokens[1::2]))
            feature_ptr.append(len(feature_ids))
        if len(label_ptr) - 1 != n_points:
            fail(
                path,
                number,
                f"the file ends after {len(label_ptr) - 1} points, but the header says {n_points}: "
                "it is truncated",
            )
        matrix = csr_from_arrays(feature_ids, values, feature_ptr, n_features)
        if not np.isfinite(matrix.data).all():  # or the sum of repeated features
            bad = int(np.flatnonzero(~np.isfinite(matrix.data))[0])
            row = int(np.searchsorted(matrix.indptr, bad, side="right")) - 1
            fail(path, row + 2, "a value is beyond the range of float32")
        return Dataset(
            split=split,
            labels=csr_from_arrays(label_ids, None, label_ptr, n_labels),
            vocabulary=vocabulary,
            features=matrix,
        )

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
                "as xmc; make tf-idf features first"
            )
        path = folder / f"{dataset.split}.xmc.txt"
        write_xmc(path, dataset.features, dataset.labels)


def write_xmc(path: Path, features_NF: sp.csr_matrix, labels_NL: sp.csr_matrix) -> None:
    """Write the features and labels of N points as text, one line for each after a header.

    Args:
        path: File to write.
        features_NF: Canonical CSR float32.
        labels_NL: Canonical CSR.
    """
    x, y = features_NF, labels_NL
    with path.open("w", encoding="ascii", newline="\n") as file:
        file.write(f"{x.shape[0]} {x.shape[1]} {y.shape[1]}\n")
        for row in range(x.shape[0]):
            labels = y.indices[y.indptr[row] : y.indptr[row + 1]].tolist()
            span = slice(x.indptr[row], x.indptr[row + 1])
            # Nine digits are enough to give back every float32 exactly.
            features = "".join(
                f" {i}:{v:.9g}"
                for i, v in zip(x.indices[span].tolist(), x.data[span].tolist(), strict=True)
            )
            file.write(f"{','.join(map(str, labels))}{features}\n")


def _path(folder: Path, split: SplitName) -> Path | None:
    path = only_file(folder, [f"{split}.xmc.txt"])
    if path is not None:
        return path
    downloads = sorted(path.name for path in folder.glob(f"*_{split}.txt"))
    names = [f"{split}.txt", f"{SHORT_NAMES[split]}.txt", *downloads]
    return only_file(folder, [name for name in names if _begins_with_header(folder / name)])


def _begins_with_header(path: Path) -> bool:
    if not file_exists(path):
        return False
    with open_file(path) as file:
        return _HEADER.fullmatch(file.readline(200).removeprefix(UTF8_MARK)) is not None


def _existing(folder: Path, split: SplitName) -> Path:
    path = _path(folder, split)
    if path is None:
        raise DataFormatError(f"{folder / split}.xmc.txt is missing")
    return path


def _header(path: Path) -> tuple[int, int, int]:
    raw = next(iter_raw_lines(path), b"")
    match = _HEADER.fullmatch(raw)
    if not match:
        fail(
            path,
            1,
            f"the header is {shown(raw)}; expected 'points features labels', three numbers",
        )
    # Nineteen digits are beyond every limit, and a longer number takes time to read.
    n_points, n_features, n_labels = (
        int(group.lstrip(b"0")[:19] or b"0") for group in match.groups()
    )
    for what, count in (("features", n_features), ("labels", n_labels)):
        if count >= 2**31:
            fail(path, 1, f"the header says {count} {what}; at most {2**31 - 1} are possible")
    return n_points, n_features, n_labels


def _split_point(raw: bytes, path: Path, number: int) -> tuple[bytes, bytes]:
    head, *others = [b""] if raw[:1].isspace() or not raw else raw.split(None, 1)
    rest = (others[0] if others else b"" if head else raw).strip()
    if b":" in head:
        head, rest = b"", raw.strip()
    if head and not _LABELS.fullmatch(head):
        fail(path, number, f"{shown(head)} is no list of label ids; expected e.g. '3,17'")
    if rest and not _FEATURES.fullmatch(rest):
        bad = next((t for t in rest.split() if not re.fullmatch(_FEATURE, t)), rest)
        fail(path, number, f"{shown(bad)} is no feature; expected 'id:value' with a finite number")
    return head.replace(b",", b" "), rest
