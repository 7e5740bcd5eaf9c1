"""The sparse text format of the extreme classification repository."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import scipy.sparse as sp

from learned_index.data.dataset import Dataset, SplitName
from learned_index.data.formats.base import (
    SHORT_NAMES,
    Format,
    FormatName,
    check_declared,
    numbered_labels,
    only_file,
)
from learned_index.data.formats.lines import (
    UTF8_MARK,
    Line,
    fail,
    iter_raw_lines,
    parse_ids,
    shown,
)
from learned_index.data.formats.matrices import GrowingRows, iter_rows
from learned_index.data.formats.sparse_text import check_finite, declared_numbers, parse_pairs
from learned_index.data.vocabulary import LabelVocabulary
from learned_index.persistence.foreign import file_exists, open_file

_HEADER = re.compile(rb"\s*(\d+)\s+(\d+)\s+(\d+)\s*")
_LABELS = re.compile(rb"\d+(?:,\d+)*,?")


class _Header(NamedTuple):
    """What the first line of a file says."""

    n_points: int
    n_features: int
    n_labels: int


class XmcFormat(Format):
    """``{split}.xmc.txt`` and perhaps ``labels.txt``.

    The names of downloads are found too, where the file begins with the header: ``train.txt``,
    ``trn.txt``, ``eurlex_train.txt``. The first line is ``points features labels``; each other
    line ``l1,l2 f:v f:v``, ids 0-based.
    A point without labels begins with a blank or with its first feature; features may be missing
    too. Repeated features of a point are summed. Without ``labels.txt`` labels are numbered.
    """

    name: ClassVar[FormatName] = "xmc"
    layout: ClassVar[str] = "{train,dev,test}.xmc.txt and perhaps labels.txt"
    has_texts: ClassVar[bool] = False
    ending: ClassVar[str] = ".xmc.txt"

    def read(self, folder: Path, split: SplitName, vocabulary: LabelVocabulary) -> Dataset:
        """Read one split; see :meth:`Format.read`."""
        path = self._path(folder, split)
        header = _header(path)
        check_declared(path, header.n_features, "features", path.stat().st_size)
        if header.n_labels != len(vocabulary):
            problem = (
                f"the header says {header.n_labels} labels, but "
                f"{folder / LabelVocabulary.FILE_NAME} names {len(vocabulary)}"
            )
            fail(path, 1, problem)
        labels, features = _points(path, header)
        matrix = features.matrix(header.n_features)
        check_finite(path, matrix)
        return Dataset(
            split=split,
            labels=labels.matrix(header.n_labels),
            vocabulary=vocabulary,
            features=matrix,
        )

    def is_download(self, folder: Path) -> bool:
        """Whether a file is called ``train.txt``, or the like."""
        paths = [self._path(folder, split) for split in self.find_splits(folder)]
        return not all(path.name.endswith(self.ending) for path in paths)

    def _find(self, folder: Path, split: SplitName) -> Path | None:
        path = only_file(folder, [f"{split}.xmc.txt"])
        if path is not None:
            return path
        downloads = sorted(path.name for path in folder.glob(f"*_{split}.txt"))
        names = [f"{split}.txt", f"{SHORT_NAMES[split]}.txt", *downloads]
        return only_file(folder, [name for name in names if _begins_with_header(folder / name)])

    def _unlisted_labels(self, folder: Path) -> LabelVocabulary:
        """Number the labels of the header."""
        paths = [self._path(folder, split) for split in self.find_splits(folder)]
        counts = {path: _header(path).n_labels for path in paths}
        problem = "the headers disagree about the number of labels (write the largest into all)"
        return numbered_labels(counts, problem)

    def _write(self, folder: Path, dataset: Dataset, points: Any) -> None:
        write_xmc(folder / f"{dataset.split}.xmc.txt", points, dataset.labels)


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
        for (ids, values), (labels, _) in zip(iter_rows(x), iter_rows(y), strict=True):
            # Nine digits are enough to give back every float32 exactly.
            pairs = zip(ids.tolist(), values.tolist(), strict=True)
            features = "".join(f" {i}:{value:.9g}" for i, value in pairs)
            file.write(f"{','.join(map(str, labels.tolist()))}{features}\n")


def _begins_with_header(path: Path) -> bool:
    if not file_exists(path):
        return False
    with open_file(path) as file:
        # A file of another format may be one line of any length.
        return _HEADER.fullmatch(file.readline(200).removeprefix(UTF8_MARK)) is not None


def _header(path: Path) -> _Header:
    line = next(iter_raw_lines(path), Line(b"", path, 1))
    match = _HEADER.fullmatch(line.raw)
    if not match:
        shape = "'points features labels', three numbers"
        line.fail(f"the header is {shown(line.raw)}; expected {shape}")
    header = _Header(*declared_numbers(match))
    for what, count in (("features", header.n_features), ("labels", header.n_labels)):
        if count >= 2**31:  # ids are held in 32 bits
            line.fail(f"the header says {count} {what}; at most {2**31 - 1} are possible")
    return header


def _points(path: Path, header: _Header) -> tuple[GrowingRows, GrowingRows]:
    """Read the labels and the features of as many points as the header says."""
    all_labels, all_features = GrowingRows(), GrowingRows()
    lines = iter_raw_lines(path)
    next(lines)  # the header
    for line in lines:
        if len(all_labels) == header.n_points:
            if line.raw.strip():
                line.fail(f"more points than the {header.n_points} of the header")
            continue
        labels, features = _split_point(line)
        all_labels.add(parse_ids(line._replace(raw=labels), header.n_labels))
        all_features.add(*parse_pairs(features, line, header.n_features, "feature"))
    if len(all_labels) != header.n_points:
        problem = (
            f"the file ends after {len(all_labels)} points, but the header says "
            f"{header.n_points}: it is truncated"
        )
        fail(path, len(all_labels) + 1, problem)
    return all_labels, all_features


def _split_point(line: Line) -> tuple[bytes, bytes]:
    raw = line.raw
    head, *others = [b""] if raw[:1].isspace() or not raw else raw.split(None, 1)
    rest = (others[0] if others else b"" if head else raw).strip()
    if b":" in head:
        head, rest = b"", raw.strip()
    if head and not _LABELS.fullmatch(head):
        line.fail(f"{shown(head)} is no list of label ids; expected e.g. '3,17'")
    return head.replace(b",", b" "), rest
