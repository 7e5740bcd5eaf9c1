"""What every data format offers: find its splits, read and write them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

from learned_index.data.dataset import SPLITS, Dataset, SplitName
from learned_index.data.descriptions import DESCRIPTIONS_FILE
from learned_index.data.formats.lines import has_half_pair
from learned_index.data.vocabulary import LabelVocabulary
from learned_index.errors import DataFormatError, InputError
from learned_index.persistence.foreign import file_exists

FormatName: TypeAlias = Literal["text", "xmc", "npz", "jsonl", "repository"]

SHORT_NAMES: dict[SplitName, str] = {"train": "trn", "dev": "dev", "test": "tst"}
"""What the splits are called in the files of the extreme classification repository."""
_DECLARED = {"labels": 2**20, "features": 2**24}
"""A file may declare so many without bytes to show for it."""


class Format(ABC):
    """Reader and writer of one format. Every method works on a folder."""

    name: ClassVar[FormatName]
    layout: ClassVar[str]
    """The files it consists of, for error messages."""
    has_texts: ClassVar[bool]
    """Whether its points are texts (else sparse features)."""
    ending: ClassVar[str]
    """What follows the split's name in the file that is written (the first one of two)."""

    is_written: ClassVar[bool] = True
    """Whether folders are written in it; else it is only read."""

    def holds_texts(self, folder: Path) -> bool:
        """Whether the points of a folder are texts."""
        return self.has_texts

    def is_download(self, folder: Path) -> bool:
        """Whether the files have names that this package gives to none that it writes."""
        return not self.is_written

    def files(self, folder: Path, split: SplitName) -> list[Path]:
        """The files of one split that are read."""
        return [self._path(folder, split)]

    def vocabulary_files(self, folder: Path) -> list[Path]:
        """The files that tell of the labels: ``labels.txt``, or what is there in its place."""
        names = (LabelVocabulary.FILE_NAME, DESCRIPTIONS_FILE)
        found = [folder / name for name in names if file_exists(folder / name)]
        listed = any(path.name == LabelVocabulary.FILE_NAME for path in found)
        return found if listed else [*found, *self._unlisted_files(folder)]

    def _unlisted_files(self, folder: Path) -> list[Path]:
        """The files that tell of the labels where there is no ``labels.txt``."""
        return []

    def find_splits(self, folder: Path) -> tuple[SplitName, ...]:
        """Return the splits that the folder has in this format; empty if it has none."""
        return tuple(split for split in SPLITS if self._find(folder, split))

    def read_vocabulary(self, folder: Path) -> LabelVocabulary:
        """Read ``labels.txt`` and the descriptions, or make a vocabulary from the splits."""
        path = folder / LabelVocabulary.FILE_NAME
        listed = LabelVocabulary.read(path) if file_exists(path) else self._unlisted_labels(folder)
        return listed.described_in(folder)

    @abstractmethod
    def read(self, folder: Path, split: SplitName, vocabulary: LabelVocabulary) -> Dataset:
        """Read one split.

        Raises:
            DataFormatError: A file is missing, damaged, or does not follow the format (the line is
                named), names other labels than the vocabulary, or belongs to other files.
        """

    def iter_texts(self, folder: Path, split: SplitName) -> Iterator[str]:
        """Stream the texts of one split without holding them.

        Raises:
            InputError: The format has none.
        """
        raise InputError(f"{folder} has sparse features and no texts")

    def write(self, folder: Path, dataset: Dataset) -> None:
        """Write one split (not the vocabulary).

        Raises:
            InputError: The points are not what the format holds, or a text cannot be written in it.
        """
        points: Any = dataset.texts if self.has_texts else dataset.features
        if points is None:
            problem = (
                f"sparse features and no texts: it cannot be written as {self.name}; choose xmc or "
                "npz"
                if self.has_texts
                else f"texts and no sparse features: it cannot be written as {self.name}; make "
                "tf-idf features first"
            )
            raise InputError(f"the {dataset.split} split has {problem}")
        self._write(folder, dataset, points)

    @abstractmethod
    def _find(self, folder: Path, split: SplitName) -> Path | None:
        """The file of a split (the first one of two); None where there is none."""

    def _path(self, folder: Path, split: SplitName) -> Path:
        """The same, which must be there."""
        path = self._find(folder, split)
        if path is None:
            raise DataFormatError(f"{folder / split}{self.ending} is missing")
        return path

    @abstractmethod
    def _unlisted_labels(self, folder: Path) -> LabelVocabulary:
        """Make a vocabulary from the splits, for a folder without ``labels.txt``."""

    @abstractmethod
    def _write(self, folder: Path, dataset: Dataset, points: Any) -> None:
        """Write one split, of which the texts or the features are there."""


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


def numbered_labels(counts: Mapping[Path, int], problem: str) -> LabelVocabulary:
    """Number the labels that the files of a folder declare; they must agree.

    Args:
        counts: Labels that each file declares.
        problem: What is wrong where they do not agree.
    """
    path, count = next(iter(counts.items()))
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{path.name} {count}" for path, count in counts.items())
        raise DataFormatError(f"{path.parent}: {problem}: {said}")
    check_declared(path, count, "labels", sum(path.stat().st_size for path in counts))
    return LabelVocabulary.numbered(count)


def check_declared(
    path: Path, count: int, what: Literal["labels", "features"], bytes_there: int
) -> None:
    """Refuse a declared width that decides memory and has no relation to the files.

    Args:
        path: File that declares it.
        count: How many there are said to be.
        what: Of what.
        bytes_there: Size of the files that declare it together; so many are accepted.
    """
    if count > max(_DECLARED[what], bytes_there):
        raise DataFormatError(
            f"{path}:1: {count} {what} are declared, but {bytes_there} bytes of data cannot hold "
            f"so many: each takes memory; declare as many as there are"
            + (", or name them all in labels.txt" if what == "labels" else "")
        )


def check_characters(text: str, row: int) -> None:
    """Refuse to write a text that is no UTF-8.

    Raises:
        InputError: It holds half a surrogate pair.
    """
    if has_half_pair(text):
        raise InputError(
            f"the text of point {row} holds half a surrogate pair, which is not a character; "
            "repair the text"
        )


def check_same_length(
    path: Path, count: int, other: Path, other_count: int, *, unit: str = "lines"
) -> None:
    """Refuse two files that belong together and differ in length."""
    if count != other_count:
        raise DataFormatError(
            f"{path} has {count} {unit}, but {other} has {other_count}; expected one for each point"
        )
