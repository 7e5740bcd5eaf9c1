"""Tables as a data folder: their points in memory, split as the user says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from learned_index.data.dataset import SPLITS, Dataset, SplitName, hold_out
from learned_index.data.folder import DataFolder
from learned_index.data.formats.jsonl import sorted_names
from learned_index.data.formats.matrices import GrowingRows
from learned_index.data.label_texts import named_by_text, read_label_texts, with_texts
from learned_index.data.tables.options import TableOptions
from learned_index.data.tables.points import TableReport
from learned_index.data.tables.sources import open_tables
from learned_index.data.vocabulary import LabelVocabulary
from learned_index.errors import InputError
from learned_index.inputs.labels import relabelled
from learned_index.system.progress import Progress


class LabelNames:
    """Labels that come one after the other with the rows of a table; they get numbers.

    Attributes:
        numbers: The number of each key, in the order in which they come.
        texts: Texts that came with them.
        file: Labels of a file of texts, or None.
    """

    def __init__(self, options: TableOptions) -> None:
        self.numbers: dict[str, int] = {}
        self.texts: dict[str, str] = {}
        self.file: LabelVocabulary | None = None
        if options.vocabulary is not None:
            self.file = read_label_texts(options.vocabulary, language=options.language)

    def keys(self, labels: list[tuple[str, str]]) -> list[str]:
        """The keys of a point's labels."""
        found = []
        for name, text in labels:
            key = name if self.file is None else named_by_text(self.file, name)
            self.numbers.setdefault(key, len(self.numbers))
            if text and not self.texts.get(key):
                self.texts[key] = text
            found.append(key)
        return list(dict.fromkeys(found))

    def vocabulary(self, report: TableReport) -> LabelVocabulary:
        """All labels: those of the file of texts first, the others sorted."""
        vocabulary, unknown = with_texts(sorted_names(self.numbers), self.texts, self.file)
        report.labels_without_text = unknown
        return vocabulary


def check_share(report: TableReport, options: TableOptions, path: Path) -> None:
    """Refuse to draw test points from a table that says which they are."""
    if options.test_share is not None and report.kept["test"]:
        raise InputError(
            f"{path} has {report.kept['test']} test points already, by a column or by the name of "
            "a file; leave out --test-share"
        )


class TableFolder(DataFolder):
    """Tables that were read whole.

    Attributes:
        report: What became of its rows.
        roles: Its columns.
    """

    def __init__(self, path: Path, options: TableOptions, progress: Progress | None = None) -> None:
        tables = open_tables(path, options)
        self.roles = tables.roles
        self._files = tuple(table.path for table, _ in tables.tables)
        self.report = TableReport()
        names = LabelNames(options)
        texts: dict[str, list[str]] = {split: [] for split in SPLITS}
        ids: dict[str, list[str]] = {split: [] for split in SPLITS}
        rows = {split: GrowingRows() for split in SPLITS}
        for point in tables.points(self.report, progress):
            texts[point.split].append(point.text)
            if point.id is not None:
                ids[point.split].append(point.id)
            rows[point.split].add(names.numbers[key] for key in names.keys(point.labels))
        check_share(self.report, options, path)
        self._labels = names.vocabulary(self.report)
        order = self._labels.ids(names.numbers)
        self._parts: dict[SplitName, Dataset] = {}
        for split in SPLITS:
            if texts[split]:
                labels = rows[split].matrix(len(names.numbers))
                self._parts[split] = Dataset(
                    split=split,
                    labels=relabelled(labels, order, len(self._labels)),
                    vocabulary=self._labels,
                    texts=texts[split],
                    ids=ids[split] or None,
                )
        if options.test_share is not None:
            whole = self._parts.get("train")
            if whole is None:
                raise InputError(f"{path} has no training points to draw test points from")
            train, test = hold_out(whole, options.test_share, seed=options.seed, split="test")
            self._parts |= {"train": train, "test": test}
        super().__init__(path, "jsonl", tuple(s for s in SPLITS if s in self._parts))

    @property
    def vocabulary(self) -> LabelVocabulary:
        """The labels' names."""
        return self._labels

    @property
    def layout(self) -> str:
        """Where its splits are, for errors."""
        return (
            "a column names them, --split-column; or files in a folder, train.csv, test.csv; or "
            "--test-share draws a test split"
        )

    @property
    def files(self) -> tuple[Path, ...]:
        """The tables that were read."""
        return self._files

    def read(self, split: SplitName) -> Dataset:
        """Return one split."""
        self._check(split)
        return self._parts[split]

    def iter_texts(self, split: SplitName) -> Iterator[str]:
        """Iterate over the texts of one split."""
        return iter(self.read(split).texts or ())
