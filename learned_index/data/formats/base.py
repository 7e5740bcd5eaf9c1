"""What every data format offers: find its splits, read and write them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Literal, Protocol, TypeAlias

from learned_index.data.dataset import Dataset, SplitName
from learned_index.data.vocabulary import LabelVocabulary
from learned_index.errors import DataFormatError, InputError
from learned_index.persistence.foreign import file_exists

FormatName: TypeAlias = Literal["text", "xmc", "npz", "jsonl"]


class Format(Protocol):
    """Reader and writer of one format. Every method works on a folder."""

    name: ClassVar[FormatName]
    layout: ClassVar[str]
    """The files it consists of, for error messages."""

    def find_splits(self, folder: Path) -> tuple[SplitName, ...]:
        """Return the splits that the folder has in this format; empty if it has none."""
        ...

    def read_vocabulary(self, folder: Path) -> LabelVocabulary:
        """Read ``labels.txt``, or make a vocabulary from the splits where there is none."""
        ...

    def read(self, folder: Path, split: SplitName, vocabulary: LabelVocabulary) -> Dataset:
        """Read one split, validating every line."""
        ...

    def iter_texts(self, folder: Path, split: SplitName) -> Iterator[str]:
        """Stream the texts of one split without holding them."""
        ...

    def write(self, folder: Path, dataset: Dataset) -> None:
        """Write one split (not the vocabulary)."""
        ...


SHORT_NAMES: dict[SplitName, str] = {"train": "trn", "dev": "dev", "test": "tst"}
"""What the splits are called in the files of the extreme classification repository."""


def only_file(folder: Path, names: Iterable[str]) -> Path | None:
    """Return the one file of these names that is there; None where there is none.

    Raises:
        DataFormatError: Several are there, or something of that name is no file.
    """
    found = [path for name in dict.fromkeys(names) if file_exists(path := folder / name)]
    if len(found) > 1:
        raise DataFormatError(
            f"{found[0]} and {found[1].name} are both there for one split; keep one of them"
        )
    return found[0] if found else None


def named_labels(folder: Path) -> LabelVocabulary | None:
    """Read ``labels.txt``; None where there is none."""
    path = folder / LabelVocabulary.FILE_NAME
    return LabelVocabulary.read(path) if file_exists(path) else None


def check_declared(path: Path, count: int, what: str, most: int, bytes_there: int) -> None:
    """Refuse a declared width that decides memory and has no relation to the files.

    Args:
        path: File that declares it.
        count: How many there are said to be.
        what: ``labels`` or ``features``.
        most: As many are always accepted.
        bytes_there: Size of the files that declare it together; so many are accepted too.
    """
    if count > max(most, bytes_there):
        raise DataFormatError(
            f"{path}:1: {count} {what} are declared, but {bytes_there} bytes of data cannot hold "
            f"so many: each takes memory; declare as many as there are"
            + (", or name them all in labels.txt" if what == "labels" else "")
        )


def check_writable_text(text: str, row: int, advice: str, *, forbidden: str) -> None:
    """Refuse a text that a line-based format cannot hold.

    Raises:
        InputError: A forbidden character, or half a surrogate pair.
    """
    if any(character in text for character in forbidden):
        raise InputError(f"the text of point {row} holds a line feed; {advice}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(
            f"the text of point {row} holds half a surrogate pair, which is not a character; "
            "repair the text"
        ) from None


def texts_of(dataset: Dataset, format_name: str) -> Sequence[str]:
    """Return the texts of a data set that is to be written as text.

    Raises:
        InputError: It has features only.
    """
    if dataset.texts is None:
        raise InputError(
            f"the {dataset.split} split has sparse features and no texts: it cannot be written as "
            f"{format_name}; choose xmc or npz"
        )
    return dataset.texts


def check_same_length(
    path: Path, count: int, other: Path, other_count: int, *, unit: str = "lines"
) -> None:
    """Refuse two files that belong together and differ in length."""
    if count != other_count:
        raise DataFormatError(
            f"{path} has {count} {unit}, but {other} has {other_count}; expected one for each point"
        )
