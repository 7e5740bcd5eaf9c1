"""What every data format offers: find its splits, read and write them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Literal, Protocol, TypeAlias

from learned_index.data.dataset import SPLITS, Dataset, SplitName
from learned_index.data.vocabulary import LabelVocabulary
from learned_index.errors import DataFormatError, InputError

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


def splits_with(folder: Path, pattern: str) -> tuple[SplitName, ...]:
    """Return the splits whose file exists; ``pattern`` has ``{}`` for the split's name."""
    return tuple(split for split in SPLITS if (folder / pattern.format(split)).is_file())


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
