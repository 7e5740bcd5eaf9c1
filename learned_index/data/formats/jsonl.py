"""JSON lines: one object a point, with its text and the names of its labels."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from learned_index.data.dataset import SPLITS, Dataset, SplitName
from learned_index.data.formats.base import (
    SHORT_NAMES,
    FormatName,
    check_writable_text,
    named_labels,
    only_file,
    texts_of,
)
from learned_index.data.formats.lines import decode, fail, iter_raw_lines
from learned_index.data.formats.matrices import csr_from_arrays
from learned_index.data.vocabulary import LabelVocabulary
from learned_index.errors import DataFormatError, InputError
from learned_index.persistence.foreign import file_exists

_LABEL_FILE = "lbl.json.gz"
_LONGEST_NAME = 10_000
"""Characters of a label's name or a point's: they are held for all points and shown in errors."""


class _Record(NamedTuple):
    """One point; a label is (name, text, if it has one) or its row in the file of labels."""

    line_number: int
    text: str
    labels: list[tuple[str, str] | int]
    id: str | None


class _Whole(str):
    """A whole number as it stands in the file, of any length."""

    __slots__ = ()


class JsonlFormat:
    """``{split}.jsonl`` (or ``.jsonl.gz``) and perhaps ``labels.txt``.

    A line is ``{"text": "...", "labels": ["name", ...]}``, with an optional ``"id"``; blank lines
    and other fields are ignored. Whole numbers stand for their digits. Other tools' records are
    read too: one ``"label"``, or ``"subjects"`` of ``{"uri": ..., "label": ...}``; and
    ``{trn,dev,tst}.json.gz`` with ``uid``, ``title``, ``content`` and ``target_ind``, the lines
    of ``lbl.json.gz``. With ``labels.txt`` a name is a key or an unambiguous text of it; without,
    the names in all splits, sorted, are the vocabulary.
    """

    name: ClassVar[FormatName] = "jsonl"
    layout: ClassVar[str] = "{train,dev,test}.jsonl and perhaps labels.txt"

    def find_splits(self, folder: Path) -> tuple[SplitName, ...]:
        """Return the splits that have a file in this format."""
        return tuple(split for split in SPLITS if _path(folder, split) is not None)

    def read_vocabulary(self, folder: Path) -> LabelVocabulary:
        """Read ``labels.txt`` or ``lbl.json.gz``, or collect the names of all splits, sorted."""
        vocabulary = named_labels(folder)
        if vocabulary is not None:
            return vocabulary
        if file_exists(folder / _LABEL_FILE):
            return _described_labels(folder / _LABEL_FILE)
        texts: dict[str, str] = {}
        for split in self.find_splits(folder):
            path = _existing(folder, split)
            for record in _records(path):
                for label in record.labels:
                    if isinstance(label, int):
                        problem = f"the labels are lines of {_LABEL_FILE}, which is missing"
                        fail(path, record.line_number, problem)
                    if label[0] not in texts:
                        _check_label(label, path, record.line_number)
                    texts[label[0]] = texts.get(label[0]) or label[1]
        digits = all(name.isdecimal() for name in texts)
        names = sorted(texts, key=lambda name: (len(name) if digits else 0, name))
        return LabelVocabulary(names, [texts[name] for name in names])

    def read(self, folder: Path, split: SplitName, vocabulary: LabelVocabulary) -> Dataset:
        """Read one split.

        Raises:
            DataFormatError: Missing file, a line that is no such object, an unknown label name.
        """
        path = _existing(folder, split)
        texts: list[str] = []
        ids: list[str] = []
        indices, indptr = array("i"), array("q", [0])
        for record in _records(path):
            try:
                indices.extend(_label_id(label, vocabulary) for label in record.labels)
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
        return (record.text for record in _records(_existing(folder, split)))

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


def _path(folder: Path, split: SplitName) -> Path | None:
    names = (f"{split}.jsonl", f"{split}.jsonl.gz", f"{SHORT_NAMES[split]}.json.gz")
    return only_file(folder, names)


def _existing(folder: Path, split: SplitName) -> Path:
    path = _path(folder, split)
    if path is None:
        raise DataFormatError(f"{folder / split}.jsonl is missing")
    return path


def _label_id(label: tuple[str, str] | int, vocabulary: LabelVocabulary) -> int:
    if isinstance(label, int):
        if label >= len(vocabulary):
            raise InputError(
                f"label {label} is out of range: there are {len(vocabulary)} labels, counted from 0"
            )
        return label
    name, text = label
    return vocabulary.id(text if text and name not in vocabulary else name)


def _check_label(label: tuple[str, str], path: Path, line_number: int) -> None:
    try:
        LabelVocabulary([label[0]], [label[1]])
    except InputError as error:
        fail(path, line_number, str(error))


def _described_labels(path: Path) -> LabelVocabulary:
    """Read one label a line, ``{"uid": ..., "title": ...}``."""
    labels: dict[str, str] = {}
    for number, value in _objects(path):
        key = _name(value.get("uid"), '"uid"', path, number)
        title = value.get("title", "")
        if type(title) is not str:
            fail(path, number, f'"title" is {_shown(title)}, expected a string')
        label = (key, " ".join(title.split()))
        _check_label(label, path, number)
        if key in labels:
            fail(path, number, f"the label {key!r} stands in an earlier line already")
        labels[key] = label[1]
    if not labels:
        raise DataFormatError(f"{path} is empty; expected one label a line")
    return LabelVocabulary(labels, labels.values())


def _records(path: Path) -> Iterator[_Record]:
    for number, value in _objects(path):
        text = value.get("text")
        if "text" not in value and "title" in value:
            text, content = value["title"], value.get("content")
            content = "" if content is None else content
            if type(content) is not str:
                fail(path, number, f'"content" is {_shown(content)}, expected a string')
            if content and type(text) is str:
                text = f"{text} {content}" if text else content
        if type(text) is not str:
            fail(path, number, f'"text" is {_shown(text)}, expected a string')
        _check_characters(text, '"text"', path, number)
        point_id = value.get("id", value.get("uid"))
        if point_id is not None:
            point_id = _name(point_id, '"id"', path, number)
        yield _Record(number, text, _labels(value, path, number), point_id)


def _labels(value: dict[str, Any], path: Path, number: int) -> list[tuple[str, str] | int]:
    """Return the labels of a record, from the first of the known fields that it has."""
    field = next((f for f in ("labels", "label", "subjects", "target_ind") if f in value), "labels")
    labels = value.get(field)
    if field == "label" and not isinstance(labels, list):
        labels = [labels]
    if not isinstance(labels, list):
        fail(path, number, f'"{field}" is {_shown(labels)}, expected a list of label names')
    if field == "target_ind":
        if not all(type(row) is _Whole and row.isdecimal() and len(row) < 19 for row in labels):
            fail(path, number, f'"{field}" has {_shown(labels)}, expected numbers of labels from 0')
        return [int(row) for row in labels]
    found: list[tuple[str, str] | int] = []
    for label in labels:
        text: Any = ""
        if isinstance(label, dict):
            uri, text = label.get("uri"), label.get("label", "")
            label, text = (text, "") if uri is None else (uri, text)
            if type(text) is not str:
                fail(path, number, f'a label of "{field}" is {_shown(text)}, expected a string')
            _check_characters(text, f'a label of "{field}"', path, number)
        found.append((_name(label, f'a label of "{field}"', path, number), " ".join(text.split())))
    return found


def _name(value: Any, what: str, path: Path, number: int) -> str:
    """Return a name that is written as a string or as a whole number."""
    if not isinstance(value, str):
        fail(path, number, f"{what} is {_shown(value)}, expected a string or a whole number")
    if len(value) > _LONGEST_NAME:
        fail(path, number, f"{what} has {len(value)} characters, at most {_LONGEST_NAME} are read")
    name = str(value)
    _check_characters(name, what, path, number)
    return name


def _check_characters(text: str, what: str, path: Path, number: int) -> None:
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        fail(path, number, f"{what} holds half a surrogate pair, which is not a character")


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a file with their line numbers; blank lines are left out."""
    for number, raw in enumerate(iter_raw_lines(path), start=1):
        if not raw.strip():
            continue
        line = decode(raw, path, number)
        try:
            value = _DECODER.decode(line)
        except (ValueError, RecursionError) as error:
            fail(path, number, f"not a JSON value ({error}); expected one object a line")
        if not isinstance(value, dict):
            fail(path, number, f"{_shown(value)}, expected an object with text and labels")
        yield number, value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object has a field twice")
    return value


_DECODER = json.JSONDecoder(parse_int=_Whole, object_pairs_hook=_object)


def _shown(value: Any) -> str:
    if value is None or isinstance(value, _Whole):
        return "missing" if value is None else value[:60]
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    return json.dumps(value, ensure_ascii=True)[:60]
