"""Open a data folder of any known format, and write one."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path

from learned_index.data.beside import ignored_message, unread
from learned_index.data.dataset import SPLITS, Dataset, SplitName
from learned_index.data.descriptions import DESCRIPTIONS_FILE
from learned_index.data.filters import FILTER_FILES, filtered, write_filter
from learned_index.data.formats.base import Format, FormatName
from learned_index.data.formats.jsonl import JsonlFormat
from learned_index.data.formats.npz import NpzFormat
from learned_index.data.formats.repository import RepositoryFormat
from learned_index.data.formats.text import TextFormat
from learned_index.data.formats.xmc import XmcFormat
from learned_index.data.tables.files import is_table
from learned_index.data.vocabulary import LabelVocabulary
from learned_index.errors import DataFormatError, InputError
from learned_index.persistence.atomic import atomic_directory
from learned_index.persistence.foreign import reading
from learned_index.persistence.recovery import recover

logger = logging.getLogger(__name__)

FORMATS: dict[FormatName, Format] = {
    "text": TextFormat(),
    "xmc": XmcFormat(),
    "npz": NpzFormat(),
    "jsonl": JsonlFormat(),
    "repository": RepositoryFormat(),
}
"""Every known format, by name."""

_PREFERRED: tuple[FormatName, ...] = ("jsonl", "repository", "text", "npz", "xmc")
"""What is read of a download that holds several formats: texts before features."""
_SPLIT_FILES = ("_texts.txt", "_labels.txt", ".xmc.txt", "_X.npz", "_Y.npz", ".jsonl")
_OTHER_FILES = {
    LabelVocabulary.FILE_NAME,
    DESCRIPTIONS_FILE,
    "features.txt",
    "source.json",
    "stats.json",
    "label_weights.npy",
    "label_bias.npy",
    *FILTER_FILES.values(),
}


def foreign_data_content(directory: Path) -> str:
    """Say what in a directory is no part of a data folder; empty where there is nothing."""
    known = _OTHER_FILES | {f"{split}{ending}" for split in SPLITS for ending in _SPLIT_FILES}
    for path in sorted(directory.iterdir()):
        if path.name not in known or not path.is_file():
            return f"it holds {path.name}, which is no part of a data folder"
    return ""


class DataFolder:
    """A folder with one or more splits in one format. Splits are read when asked for.

    Attributes:
        path: The folder.
        format: Name of its format.
        splits: The splits it has, in the order train, dev, test.
    """

    def __init__(self, path: Path, format_name: FormatName, splits: tuple[SplitName, ...]) -> None:
        self.path = path
        self.format: FormatName = format_name
        self.splits = splits

    @property
    def has_texts(self) -> bool:
        """Whether the points are texts (else sparse features)."""
        return FORMATS[self.format].holds_texts(self.path)

    @property
    def layout(self) -> str:
        """Where its splits are, for errors."""
        return FORMATS[self.format].layout

    @property
    def written_format(self) -> FormatName:
        """A format in which the points can be written: this one, unless it is only read."""
        if FORMATS[self.format].is_written:
            return self.format
        return "jsonl" if self.has_texts else "npz"

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that are read."""
        handler = FORMATS[self.format]
        found = [path for split in self.splits for path in handler.files(self.path, split)]
        filters = (self.path / FILTER_FILES[split] for split in self.splits)
        found += [path for path in filters if path.is_file()]
        return (*found, *handler.vocabulary_files(self.path))

    @cached_property
    def ignored(self) -> tuple[str, ...]:
        """Names of files that look like data and are not read."""
        return unread(self.path, self.files)

    @cached_property
    def vocabulary(self) -> LabelVocabulary:
        """The labels' names.

        Raises:
            DataFormatError: ``labels.txt`` is malformed.
        """
        return FORMATS[self.format].read_vocabulary(self.path)

    def read(self, split: SplitName) -> Dataset:
        """Read one split, without the pairs of its filter file; nothing is cached.

        Raises:
            InputError: The folder has no such split.
            DataFormatError: A file is malformed; names the file and the line.
        """
        self._check(split)
        return filtered(FORMATS[self.format].read(self.path, split, self.vocabulary), self.path)

    def iter_texts(self, split: SplitName) -> Iterator[str]:
        """Stream the texts of one split without holding them in memory.

        Raises:
            InputError: No such split, or no texts in this format.
        """
        self._check(split)
        return FORMATS[self.format].iter_texts(self.path, split)

    def _check(self, split: SplitName) -> None:
        if split not in self.splits:
            raise InputError(
                f"{self.path} has no {split} split; it has {', '.join(self.splits)} ({self.layout})"
            )

    def __repr__(self) -> str:
        return f"DataFolder({str(self.path)!r}, {self.format}, {'/'.join(self.splits)})"


def open_dataset(path: Path | str) -> DataFolder:
    """Find out which format a folder has; read nothing yet.

    Args:
        path: A folder in one of the :data:`FORMATS`.

    Raises:
        DataFormatError: The folder is missing, empty, of no known or of several formats.

    Example:
        >>> train = open_dataset("my-data").read("train")  # doctest: +SKIP
    """
    path = Path(path)
    with reading(path):
        if not path.exists():
            recover(path)
        if not path.exists():
            raise DataFormatError(f"{path} does not exist; expected a data folder")
        if path.is_file() and is_table(path):
            raise DataFormatError(
                f"{path} is a table, expected a data folder; li data import makes one of it"
            )
        if not path.is_dir():
            raise DataFormatError(
                f"{path} is a file; expected a data folder (give the folder it is in), or a table "
                "called .csv, .tsv, .parquet, .jsonl or .json"
            )
        names = sorted(entry.name for entry in path.iterdir())
    found = {
        name: splits for name, handler in FORMATS.items() if (splits := handler.find_splits(path))
    }
    if len(found) > 1 and any(FORMATS[name].is_download(path) for name in found):
        found = {name: found[name] for name in _PREFERRED if name in found}
    elif len(found) > 1:
        raise DataFormatError(
            f"{path} holds files of several formats ({', '.join(found)}); keep one in each folder"
        )
    if not found:
        content = f"holds {', '.join(names[:5])}{' ...' if len(names) > 5 else ''}"
        layouts = "; ".join(f"{name}: {handler.layout}" for name, handler in FORMATS.items())
        raise DataFormatError(
            f"{path} {content if names else 'is empty'}; expected a data folder. Formats: {layouts}"
        )
    name, splits = next(iter(found.items()))
    folder = DataFolder(path, name, splits)
    if folder.ignored:
        logger.warning("%s", ignored_message(path, folder.files, folder.ignored))
    return folder


def write_dataset(
    path: Path | str,
    splits: Iterable[Dataset],
    *,
    format_name: FormatName,
    overwrite: bool = False,
    extra_files: Mapping[str, str] | None = None,
) -> DataFolder:
    """Write splits of one data set as a folder; it appears when it is whole.

    Args:
        path: The folder to make.
        splits: Data sets with the same vocabulary; a generator keeps one in memory at a time.
        format_name: One of the :data:`FORMATS`.
        overwrite: Replace a data folder that exists.
        extra_files: Further files by name with their text.

    Raises:
        InputError: No splits, a split twice, different vocabularies, points that the format
            cannot hold, an existing folder, or an unknown format.
    """
    if format_name not in FORMATS or not FORMATS[format_name].is_written:
        known = ", ".join(name for name in FORMATS if FORMATS[name].is_written)
        raise InputError(f"format {format_name!r} is unknown; expected one of {known}")
    with atomic_directory(path, overwrite=overwrite, foreign=foreign_data_content) as temporary:
        vocabulary: LabelVocabulary | None = None
        written: set[str] = set()
        for dataset in splits:
            if vocabulary is None:
                vocabulary = dataset.vocabulary
                vocabulary.save(temporary)
            elif vocabulary is not dataset.vocabulary and vocabulary != dataset.vocabulary:
                raise InputError(f"the {dataset.split} split has another vocabulary than the first")
            if dataset.split in written:
                raise InputError(f"two splits are called {dataset.split}; rename one")
            written.add(dataset.split)
            FORMATS[format_name].write(temporary, dataset)
            write_filter(temporary, dataset)
        if not written:
            raise InputError("there is no split to write")
        for name, text in (extra_files or {}).items():
            # With "\n" on every system: equal data are equal bytes.
            (temporary / name).write_text(text, encoding="utf-8", newline="\n")
    return open_dataset(path)
