"""JSON lines: one object a point, with its text and the names of its labels."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from learned_index.data.dataset import Dataset, SplitName
from learned_index.data.formats import FormatName, check_writable_text, splits_with, texts_of
from learned_index.data.lines import decode, fail, iter_raw_lines
from learned_index.data.matrices import csr_from_arrays
from learned_index.data.vocabulary import LabelVocabulary
from learned_index.errors import InputError


class _Record(NamedTuple):
    line_number: int
    text: str
    labels: list[str]
    id: str | None


class JsonlFormat:
    """``{split}.jsonl`` and perhaps ``labels.txt``.

    A line is ``{"text": "...", "labels": ["name", ...]}``, with an optional string ``"id"``; other
    fields are ignored. With ``labels.txt`` a name is a key or an unambiguous text of it; without,
    the names in all splits, sorted, are the vocabulary.
    """

    name: ClassVar[FormatName] = "jsonl"
    layout: ClassVar[str] = "{train,dev,test}.jsonl and perhaps labels.txt"

    def find_splits(self, folder: Path) -> tuple[SplitName, ...]:
        """Return the splits that have a file in this format."""
        return splits_with(folder, "{}.jsonl")

    def read_vocabulary(self, folder: Path) -> LabelVocabulary:
        """Read ``labels.txt``, or collect the names of all splits, sorted."""
        path = folder / LabelVocabulary.FILE_NAME
        if path.is_file():
            return LabelVocabulary.read(path)
        names: set[str] = set()
        for split in self.find_splits(folder):
            split_path = folder / f"{split}.jsonl"
            for record in _records(split_path):
                for name in record.labels:
                    if name not in names:
                        try:
                            LabelVocabulary([name])
                        except InputError as error:
                            fail(split_path, record.line_number, str(error))
                        names.add(name)
        return LabelVocabulary(sorted(names))

    def read(self, folder: Path, split: SplitName, vocabulary: LabelVocabulary) -> Dataset:
        """Read one split.

        Raises:
            DataFormatError: Missing file, a line that is no such object, an unknown label name.
        """
        path = folder / f"{split}.jsonl"
        texts: list[str] = []
        ids: list[str] = []
        indices, indptr = array("i"), array("q", [0])
        for record in _records(path):
            try:
                indices.extend(vocabulary.id(name) for name in record.labels)
            except InputError as error:
                fail(path, record.line_number, str(error))
            indptr.append(len(indices))
            texts.append(record.text)
            if record.id is not None:
                ids.append(record.id)
            if ids and len(ids) != len(texts):
                fail(path, record.line_number, 'some points have an "id" and some have none')
        return Dataset(
            split=split,
            labels=csr_from_arrays(indices, None, indptr, len(vocabulary)),
            vocabulary=vocabulary,
            texts=texts,
            ids=ids or None,
        )

    def iter_texts(self, folder: Path, split: SplitName) -> Iterator[str]:
        """Stream the texts of one split."""
        return (record.text for record in _records(folder / f"{split}.jsonl"))

    def write(self, folder: Path, dataset: Dataset) -> None:
        """Write one split; a label goes by its text, or by its key where the text is ambiguous.

        Raises:
            InputError: No texts.
        """
        texts = texts_of(dataset, self.name)
        names = dataset.vocabulary.unique_names
        y = dataset.labels
        path = folder / f"{dataset.split}.jsonl"
        with path.open("w", encoding="utf-8", newline="\n") as file:
            for row, text in enumerate(texts):
                check_writable_text(text, row, "", forbidden="")
                record: dict[str, Any] = {} if dataset.ids is None else {"id": dataset.ids[row]}
                record["text"] = text
                record["labels"] = [
                    names[i] for i in y.indices[y.indptr[row] : y.indptr[row + 1]].tolist()
                ]
                file.write(json.dumps(record, ensure_ascii=False) + "\n")


def _records(path: Path) -> Iterator[_Record]:
    for number, raw in enumerate(iter_raw_lines(path), start=1):
        line = decode(raw, path, number)
        try:
            value = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            fail(path, number, f"not a JSON value ({error}); expected one object a line")
        if not isinstance(value, dict):
            fail(path, number, f"a {type(value).__name__}, expected an object with text and labels")
        text, labels, point_id = value.get("text"), value.get("labels"), value.get("id")
        if not isinstance(text, str):
            fail(path, number, f'"text" is {_shown(text)}, expected a string')
        if not isinstance(labels, list) or not all(isinstance(name, str) for name in labels):
            fail(path, number, f'"labels" is {_shown(labels)}, expected a list of label names')
        if point_id is not None and not isinstance(point_id, str):
            fail(path, number, f'"id" is {_shown(point_id)}, expected a string')
        if "\\u" in line and any("\ud800" <= character <= "\udfff" for character in text):
            fail(path, number, '"text" holds half a surrogate pair, which is not a character')
        yield _Record(number, text, labels, point_id)


def _shown(value: Any) -> str:
    return "missing" if value is None else json.dumps(value, ensure_ascii=True)[:60]
