"""The folder of text files: one document a line, one line of label ids for each."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import scipy.sparse as sp

from learned_index.data.dataset import SPLITS, Dataset, SplitName
from learned_index.data.formats.base import (
    FormatName,
    check_same_length,
    check_writable_text,
    named_labels,
    texts_of,
)
from learned_index.data.formats.lines import fail, iter_lines, iter_raw_lines, parse_ids
from learned_index.data.formats.matrices import csr_from_arrays
from learned_index.data.vocabulary import LabelVocabulary
from learned_index.errors import InputError
from learned_index.persistence.foreign import file_exists

_FEW = 10_000
_SPREAD = 20
"""Without ``labels.txt``, ids may run to so many times their number: each below is a label."""


class TextFormat:
    r"""``{split}_texts.txt``, ``{split}_labels.txt`` and ``labels.txt``.

    A text ends at "\\n" only; every other character, also a carriage return, belongs to it.
    Label lines hold 0-based ids with white space between them; an empty line is a point without
    labels. Without ``labels.txt`` the labels are numbered up to the largest id.
    """

    name: ClassVar[FormatName] = "text"
    layout: ClassVar[str] = "{train,dev,test}_texts.txt, {train,dev,test}_labels.txt, labels.txt"

    def find_splits(self, folder: Path) -> tuple[SplitName, ...]:
        """Return the splits that have a file of texts."""
        return tuple(split for split in SPLITS if file_exists(folder / f"{split}_texts.txt"))

    def read_vocabulary(self, folder: Path) -> LabelVocabulary:
        """Read ``labels.txt``, or number the labels up to the largest id in any split."""
        vocabulary = named_labels(folder)
        if vocabulary is not None:
            return vocabulary
        largest, place, different = -1, (folder, 0), set[int]()
        for split in self.find_splits(folder):
            path = folder / f"{split}_labels.txt"
            for number, raw in enumerate(iter_raw_lines(path), start=1):
                ids = parse_ids(raw, None, path, number)
                different.update(ids)
                if ids and max(ids) > largest:
                    largest, place = max(ids), (path, number)
        if largest >= max(_FEW, _SPREAD * len(different)):
            fail(
                *place,
                f"label id {largest} is far beyond the {len(different)} different ids that occur, "
                "and every number below it would be a label. Ids are the line numbers of "
                "labels.txt, from 0: write that file; or write JSON lines, which take names or "
                "authority numbers for labels",
            )
        return LabelVocabulary.numbered(largest + 1)

    def read(self, folder: Path, split: SplitName, vocabulary: LabelVocabulary) -> Dataset:
        """Read one split.

        Raises:
            DataFormatError: Missing file, not UTF-8, an id that is no number or out of range,
                unequal numbers of lines.
        """
        texts = list(self.iter_texts(folder, split))
        labels_path = folder / f"{split}_labels.txt"
        labels = _read_label_lines(labels_path, vocabulary)
        check_same_length(folder / f"{split}_texts.txt", len(texts), labels_path, labels.shape[0])
        return Dataset(split=split, labels=labels, vocabulary=vocabulary, texts=texts)

    def iter_texts(self, folder: Path, split: SplitName) -> Iterator[str]:
        """Stream the texts of one split."""
        return iter_lines(folder / f"{split}_texts.txt")

    def write(self, folder: Path, dataset: Dataset) -> None:
        """Write one split.

        Raises:
            InputError: No texts, or a text with a line feed.
        """
        texts = texts_of(dataset, self.name)
        path = folder / f"{dataset.split}_texts.txt"
        with path.open("w", encoding="utf-8", newline="\n") as file:
            for row, text in enumerate(texts):
                check_writable_text(
                    text, row, "one line is one text: convert to jsonl instead", forbidden="\n"
                )
                if "\0" in text:
                    raise InputError(f"the text of point {row} holds a NUL byte; remove it")
                if row == 0 and text.startswith("\ufeff"):
                    file.write("\ufeff")  # the reader takes the first mark for the file's own
                file.write(f"{text}\n")
        labels = dataset.labels
        with (folder / f"{dataset.split}_labels.txt").open("w", encoding="ascii") as file:
            for row in range(dataset.n_points):
                ids = labels.indices[labels.indptr[row] : labels.indptr[row + 1]].tolist()
                file.write(" ".join(map(str, ids)) + "\n")


def _read_label_lines(path: Path, vocabulary: LabelVocabulary) -> sp.csr_matrix:
    indices, indptr = array("i"), array("q", [0])
    for number, raw in enumerate(iter_raw_lines(path), start=1):
        indices.extend(parse_ids(raw, len(vocabulary), path, number, keys=vocabulary))
        indptr.append(len(indices))
    return csr_from_arrays(indices, None, indptr, len(vocabulary))
