"""One text a line, and for each a line of label ids."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from learned_index.data.dataset import Dataset, SplitName
from learned_index.data.formats.base import (
    Format,
    FormatName,
    check_characters,
    check_same_length,
    only_file,
)
from learned_index.data.formats.lines import iter_lines, iter_raw_lines, parse_ids
from learned_index.data.formats.matrices import GrowingRows, iter_rows
from learned_index.data.vocabulary import LabelVocabulary
from learned_index.errors import InputError
from learned_index.inputs.labels import is_far_beyond


class TextFormat(Format):
    r"""``{split}_texts.txt``, ``{split}_labels.txt`` and ``labels.txt``.

    A text ends at "\\n" only; every other character, also a carriage return, belongs to it.
    Label lines hold 0-based ids with white space between them; an empty line is a point without
    labels. Without ``labels.txt`` the labels are numbered up to the largest id.
    """

    name: ClassVar[FormatName] = "text"
    layout: ClassVar[str] = "{train,dev,test}_texts.txt, {train,dev,test}_labels.txt, labels.txt"
    has_texts: ClassVar[bool] = True
    ending: ClassVar[str] = "_texts.txt"

    def read(self, folder: Path, split: SplitName, vocabulary: LabelVocabulary) -> Dataset:
        """Read one split; see :meth:`Format.read`."""
        texts = list(self.iter_texts(folder, split))
        labels_path = folder / f"{split}_labels.txt"
        labels = GrowingRows()
        for line in iter_raw_lines(labels_path):
            labels.add(parse_ids(line, len(vocabulary), keys=vocabulary))
        check_same_length(folder / f"{split}_texts.txt", len(texts), labels_path, len(labels))
        matrix = labels.matrix(len(vocabulary))
        return Dataset(split=split, labels=matrix, vocabulary=vocabulary, texts=texts)

    def iter_texts(self, folder: Path, split: SplitName) -> Iterator[str]:
        """Stream the texts of one split."""
        return iter_lines(folder / f"{split}_texts.txt")

    def files(self, folder: Path, split: SplitName) -> list[Path]:
        """The files of one split."""
        return [self._path(folder, split), folder / f"{split}_labels.txt"]

    def _find(self, folder: Path, split: SplitName) -> Path | None:
        return only_file(folder, [f"{split}_texts.txt"])

    def _unlisted_labels(self, folder: Path) -> LabelVocabulary:
        """Number the labels up to the largest id in any split."""
        largest, different = -1, set[int]()
        for split in self.find_splits(folder):
            for line in iter_raw_lines(folder / f"{split}_labels.txt"):
                ids = parse_ids(line)
                different.update(ids)
                if ids and max(ids) > largest:
                    largest, place = max(ids), line
        if is_far_beyond(largest, len(different)):
            place.fail(
                f"label id {largest} is far beyond the {len(different)} different ids that occur, "
                "and every number below it would be a label. Ids are the line numbers of "
                "labels.txt, from 0: write that file; or write JSON lines, which take names or "
                "authority numbers for labels"
            )
        return LabelVocabulary.numbered(largest + 1)

    def _write(self, folder: Path, dataset: Dataset, points: Any) -> None:
        path = folder / f"{dataset.split}_texts.txt"
        # Else Windows would write a carriage return, which belongs to the text when it is read.
        with path.open("w", encoding="utf-8", newline="\n") as file:
            for row, text in enumerate(points):
                if "\n" in text:
                    raise InputError(
                        f"the text of point {row} holds a line feed; one line is one text: convert "
                        "to jsonl instead"
                    )
                if "\0" in text:
                    raise InputError(f"the text of point {row} holds a NUL byte; remove it")
                check_characters(text, row)
                if row == 0 and text.startswith("\ufeff"):
                    file.write("\ufeff")  # the reader takes the first mark for the file's own
                file.write(f"{text}\n")
        with (folder / f"{dataset.split}_labels.txt").open(
            "w", encoding="ascii", newline="\n"
        ) as file:
            for ids, _ in iter_rows(dataset.labels):
                file.write(" ".join(map(str, ids.tolist())) + "\n")
