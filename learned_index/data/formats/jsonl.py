"""JSON lines: one object a point, with its text and the names of its labels."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from learned_index.data.dataset import Dataset, SplitName
from learned_index.data.formats.base import (
    SHORT_NAMES,
    Format,
    FormatName,
    check_characters,
    only_file,
)
from learned_index.data.formats.lines import Line, has_half_pair, iter_raw_lines
from learned_index.data.formats.matrices import GrowingRows, iter_rows
from learned_index.data.vocabulary import LabelVocabulary
from learned_index.errors import DataFormatError, InputError
from learned_index.persistence.files import unique_keys

_LABEL_FILE = "lbl.json.gz"
LONGEST_NAME = 10_000
"""Characters of a label's name or a point's: they are held for all points and shown in errors."""


class _Record(NamedTuple):
    """One point; a label is (name, text, if it has one) or its row in the file of labels."""

    line: Line
    text: str
    labels: list[tuple[str, str] | int]
    id: str | None


class Whole(str):
    """A whole number as it stands in the file, of any length."""

    __slots__ = ()


class JsonlFormat(Format):
    """``{split}.jsonl`` (or ``.jsonl.gz``) and perhaps ``labels.txt``.

    A line is ``{"text": "...", "labels": ["name", ...]}``, with an optional ``"id"``; blank lines
    and other fields are ignored. Whole numbers stand for their digits. Other tools' records are
    read too: one ``"label"``, or ``"subjects"`` of ``{"uri": ..., "label": ...}``; and
    ``{trn,dev,tst}.json.gz`` (or ``.json``) with ``uid``, ``title``, ``content``, ``target_ind``,
    the lines of ``lbl.json.gz``, and ``target_rel``, which is 0 where a line is no label. With
    ``labels.txt`` a name is a key or an unambiguous text of it; without, the names in all splits,
    sorted, are the vocabulary.
    """

    name: ClassVar[FormatName] = "jsonl"
    layout: ClassVar[str] = "{train,dev,test}.jsonl and perhaps labels.txt"
    has_texts: ClassVar[bool] = True
    ending: ClassVar[str] = ".jsonl"

    def read(self, folder: Path, split: SplitName, vocabulary: LabelVocabulary) -> Dataset:
        """Read one split; see :meth:`Format.read`."""
        texts: list[str] = []
        ids: list[str] = []
        labels = GrowingRows()
        for record in _records(self._path(folder, split)):
            try:
                labels.add(_label_id(label, vocabulary) for label in record.labels)
            except InputError as error:
                record.line.fail(str(error))
            texts.append(record.text)
            if record.id is not None:
                ids.append(record.id)
            if ids and len(ids) != len(texts):
                record.line.fail('some points have an "id" and some have none')
        return Dataset(
            split=split,
            labels=labels.matrix(len(vocabulary)),
            vocabulary=vocabulary,
            texts=texts,
            ids=ids or None,
        )

    def iter_texts(self, folder: Path, split: SplitName) -> Iterator[str]:
        """Stream the texts of one split."""
        return (record.text for record in _records(self._path(folder, split)))

    def is_download(self, folder: Path) -> bool:
        """Whether a file is called ``trn.json.gz``, or the like."""
        paths = [self._path(folder, split) for split in self.find_splits(folder)]
        return any(path.name.removesuffix(".gz").endswith(".json") for path in paths)

    def _unlisted_files(self, folder: Path) -> list[Path]:
        described = label_file(folder)
        return [] if described is None else [described]

    def _find(self, folder: Path, split: SplitName) -> Path | None:
        short = SHORT_NAMES[split]
        names = (f"{split}.jsonl", f"{split}.jsonl.gz", f"{short}.json.gz", f"{short}.json")
        return only_file(folder, names)

    def _unlisted_labels(self, folder: Path) -> LabelVocabulary:
        """Read ``lbl.json.gz``, or collect the names of all splits, sorted."""
        described = label_file(folder)
        if described is not None:
            return described_labels(described)
        texts: dict[str, str] = {}
        for split in self.find_splits(folder):
            for record in _records(self._path(folder, split)):
                for label in record.labels:
                    if isinstance(label, int):
                        record.line.fail(f"the labels are lines of {_LABEL_FILE}, which is missing")
                    if label[0] not in texts:
                        _check_label(label, record.line)
                    texts[label[0]] = texts.get(label[0]) or label[1]
        names = sorted_names(texts)
        return LabelVocabulary(names, [texts[name] for name in names])

    def _write(self, folder: Path, dataset: Dataset, points: Any) -> None:
        """Write one split; a label goes by its text, or by its key where the text is ambiguous."""
        names = dataset.vocabulary.unique_names
        path = folder / f"{dataset.split}.jsonl"
        with path.open("w", encoding="utf-8", newline="\n") as file:
            for row, (text, (labels, _)) in enumerate(
                zip(points, iter_rows(dataset.labels), strict=True)
            ):
                check_characters(text, row)
                point_id = None if dataset.ids is None else dataset.ids[row]
                file.write(json_line(text, [names[i] for i in labels.tolist()], point_id))


def json_line(text: str, labels: list[str], point_id: str | None) -> str:
    """One point as a line of a file in this format."""
    record: dict[str, Any] = {} if point_id is None else {"id": point_id}
    return json.dumps(record | {"text": text, "labels": labels}, ensure_ascii=False) + "\n"


def sorted_names(names: Iterable[str]) -> list[str]:
    """Names of labels in the alphabet's order, or in that of their size where all are numbers."""
    found = list(names)
    # By their lengths: they may be too long to read.
    digits = all(name.isdecimal() for name in found)
    return sorted(found, key=lambda name: (len(name) if digits else 0, name))


def _label_id(label: tuple[str, str] | int, vocabulary: LabelVocabulary) -> int:
    if isinstance(label, int):
        if label >= len(vocabulary):
            raise InputError(
                f"label {label} is out of range: there are {len(vocabulary)} labels, counted from 0"
            )
        return label
    name, text = label
    return vocabulary.id(text if text and name not in vocabulary else name)


def _check_label(label: tuple[str, str], line: Line) -> None:
    try:
        LabelVocabulary([label[0]], [label[1]])
    except InputError as error:
        line.fail(str(error))


def label_file(folder: Path) -> Path | None:
    """The file that describes the labels of a download; None where there is none."""
    return only_file(folder, (_LABEL_FILE, _LABEL_FILE.removesuffix(".gz")))


def described_labels(path: Path) -> LabelVocabulary:
    """Read one label a line, ``{"uid": ..., "title": ...}``."""
    labels: dict[str, str] = {}
    for line, value in iter_objects(path):
        key = _name(value.get("uid"), '"uid"', line)
        title = _string(value.get("title", ""), '"title"', line)
        label = (key, " ".join(title.split()))
        _check_label(label, line)
        if key in labels:
            line.fail(f"the label {key!r} stands in an earlier line already")
        labels[key] = label[1]
    if not labels:
        raise DataFormatError(f"{path} is empty; expected one label a line")
    return LabelVocabulary(labels, labels.values())


def _records(path: Path) -> Iterator[_Record]:
    for line, value in iter_objects(path):
        text = value.get("text")
        if "text" not in value and "title" in value:
            text, content = value["title"], value.get("content")
            content = _string("" if content is None else content, '"content"', line)
            if content and type(text) is str:
                text = f"{text} {content}" if text else content
        if text is None:
            line.fail(f'"text" is missing, expected a string: {_keys(value)}')
        text = _string(text, '"text"', line)
        point_id = next((value[f] for f in ("id", "uid", "document_id") if f in value), None)
        if point_id is not None:
            point_id = _name(point_id, '"id"', line)
        yield _Record(line, text, _labels(value, line), point_id)


def _labels(value: dict[str, Any], line: Line) -> list[tuple[str, str] | int]:
    """Return the labels of a record, from the first of the known fields that it has."""
    field = next((f for f in ("labels", "label", "subjects", "target_ind") if f in value), "labels")
    labels = value.get(field)
    if field == "label" and not isinstance(labels, list):
        labels = [labels]
    if labels is None and field == "labels":
        line.fail(f'"labels" is missing, expected a list of label names: {_keys(value)}')
    if not isinstance(labels, list):
        line.fail(f'"{field}" is {_shown(labels)}, expected a list of label names')
    if field == "target_ind":
        # Of 19 digits and more are no lines of a file, and they may not fit 64 bits.
        if not all(type(row) is Whole and row.isdecimal() and len(row) < 19 for row in labels):
            line.fail(f'"{field}" has {_shown(labels)}, expected numbers of labels from 0')
        relevant = _relevances(value, len(labels), line)
        return [int(row) for row, kept in zip(labels, relevant, strict=True) if kept]
    what = f'a label of "{field}"'
    found: list[tuple[str, str] | int] = []
    for label in labels:
        text: Any = ""
        if isinstance(label, dict):
            uri, text = label.get("uri"), label.get("label", "")
            label, text = (text, "") if uri is None else (uri, text)
            text = _string(text, what, line)
        found.append((_name(label, what, line), " ".join(text.split())))
    return found


def _relevances(value: dict[str, Any], count: int, line: Line) -> list[bool]:
    """Which of the labels of a download are labels: those whose ``target_rel`` is not 0."""
    given = value.get("target_rel")
    if given is None:
        return [True] * count
    if not isinstance(given, list) or len(given) != count:
        line.fail(f'"target_rel" is {_shown(given)}, expected a number for each of "target_ind"')
    try:
        numbers = [float(number) for number in given]
    except (TypeError, ValueError):
        numbers = [-1.0]
    if not all(0 <= number < float("inf") for number in numbers):
        line.fail('"target_rel" holds something else than numbers from 0')
    return [number > 0 for number in numbers]


def _keys(value: dict[str, Any]) -> str:
    """The keys that a record has, and how others than the usual ones are read."""
    keys = ", ".join(json.dumps(key, ensure_ascii=True)[:40] for key in list(value)[:12])
    return (
        f'the object has {f"the keys {keys}" if value else "no keys"}; expected "text" (or '
        '"title" and "content") and "labels" (or "label", "subjects", "target_ind"); files with '
        "other keys are read as tables (li data import FILE --text KEY --labels KEY)"
    )


def _string(value: Any, what: str, line: Line) -> str:
    """Return a text that is written as a string, and not as a whole number."""
    if type(value) is not str:
        line.fail(f"{what} is {_shown(value)}, expected a string")
    _check_pairs(value, what, line)
    return value


def _name(value: Any, what: str, line: Line) -> str:
    """Return a name that is written as a string or as a whole number."""
    if not isinstance(value, str):
        line.fail(f"{what} is {_shown(value)}, expected a string or a whole number")
    if len(value) > LONGEST_NAME:
        line.fail(f"{what} has {len(value)} characters, at most {LONGEST_NAME} are read")
    _check_pairs(value, what, line)
    return str(value)


def _check_pairs(text: str, what: str, line: Line) -> None:
    if has_half_pair(text):
        line.fail(f"{what} holds half a surrogate pair, which is not a character")


def iter_objects(path: Path) -> Iterator[tuple[Line, dict[str, Any]]]:
    """Yield the objects of a file with their lines; blank lines are left out."""
    for line in iter_raw_lines(path):
        if not line.raw.strip():
            continue
        text = line.text()
        try:
            value = _DECODER.decode(text)
        except (ValueError, RecursionError) as error:
            is_array = isinstance(error, ValueError) and text.lstrip().startswith("[")
            if line.number == 1 and is_array:
                line.fail(f"the file is one JSON array; {_ARRAY}")
            line.fail(f"not a JSON value ({error}); expected one object a line")
        if not isinstance(value, dict):
            hint = f"; {_ARRAY}" if line.number == 1 and isinstance(value, list) else ""
            line.fail(f"{_shown(value)}, expected an object with text and labels{hint}")
        yield line, value


_ARRAY = "one object a line is expected (jq -c '.[]' makes lines of an array)"
_DECODER = json.JSONDecoder(parse_int=Whole, object_pairs_hook=unique_keys)


def _shown(value: Any) -> str:
    if value is None or isinstance(value, Whole):
        return "missing" if value is None else value[:60]
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    return json.dumps(value, ensure_ascii=True)[:60]
