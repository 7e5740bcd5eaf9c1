"""Write a table as a data folder, a block of its rows in memory at a time."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from learned_index.data.dataset import SplitName, random_rows
from learned_index.data.folder import DataFolder, foreign_data_content, open_dataset
from learned_index.data.formats.jsonl import json_line
from learned_index.data.tables.folder import LabelNames, check_share
from learned_index.data.tables.options import TableOptions
from learned_index.data.tables.points import TableReport
from learned_index.data.tables.roles import Roles
from learned_index.data.tables.sources import open_tables
from learned_index.errors import InputError
from learned_index.persistence.atomic import atomic_directory
from learned_index.system.progress import Progress


class Imported(NamedTuple):
    """A table that became a data folder.

    Attributes:
        folder: The folder, of format jsonl.
        report: What became of the rows.
    """

    folder: DataFolder
    report: TableReport


def import_table(
    source: Path | str,
    target: Path | str,
    options: TableOptions | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Imported:
    """Write a table as a data folder of JSON lines; it appears when it is whole.

    The folder holds a file for each split, ``labels.txt`` and ``source.json``, which tells where
    it is from and what was left out. Rows without text or labels are left out, and rows with
    another number of columns than the header. Of the points, one block is in memory at a time.

    Args:
        source: CSV, TSV, Parquet or JSON lines; or a folder with such files, one a split.
        target: The folder to write.
        options: Which columns hold what, and how to split; None: look for usual names.
        overwrite: Replace a data folder that exists.
        progress: Told how much of the source is read.

    Raises:
        DataFormatError: The source is damaged.
        InputError: Columns that are not there or can be meant in two ways, no row that can be
            used, an existing target.
        MissingExtraError: pyarrow is not installed.

    Example:
        >>> options = TableOptions(text=("title", "abstract"), labels=("tags",), separator="|")
        >>> import_table("articles.csv", "articles", options).report.kept  # doctest: +SKIP
        Counter({'train': 19034})
    """
    source, options = Path(source), options or TableOptions()
    tables = open_tables(source, options)
    report, names = TableReport(), LabelNames(options)
    with atomic_directory(target, overwrite=overwrite, foreign=foreign_data_content) as folder:
        with ExitStack() as stack:
            files: dict[SplitName, Any] = {}
            for point in tables.points(report, progress):
                if point.split not in files:
                    files[point.split] = stack.enter_context(_opened(folder, point.split))
                keys = names.keys(point.labels)
                files[point.split].write(json_line(point.text, keys, point.id))
        check_share(report, options, source)
        if options.test_share is not None:
            _draw_test(folder, report, options.test_share, options.seed)
        names.vocabulary(report).save(folder)
        about = {"source": source.name, "columns": _columns(tables.roles)}
        about |= report.to_dict()
        text = json.dumps(about, ensure_ascii=False, indent=1)
        (folder / "source.json").write_text(text + "\n", encoding="utf-8", newline="\n")
    return Imported(open_dataset(target), report)


def _columns(roles: Roles) -> dict[str, Any]:
    labels = [name for name, _ in roles.labels]
    return {"text": list(roles.text), "labels": labels, "id": roles.id}


def _opened(folder: Path, split: SplitName) -> Any:
    return (folder / f"{split}.jsonl").open("w", encoding="utf-8", newline="\n")


def _draw_test(folder: Path, report: TableReport, share: float, seed: int) -> None:
    """Move lines of the training points to a file of test points."""
    n_points = report.kept["train"]
    if not n_points:
        raise InputError("there are no training points to draw test points from")
    chosen = set(random_rows(n_points, share, seed=seed).tolist())
    whole = folder / "train.jsonl"
    rest = whole.replace(folder / "all.jsonl")
    with (
        rest.open("r", encoding="utf-8", newline="\n") as lines,
        _opened(folder, "train") as train,
        _opened(folder, "test") as test,
    ):
        for row, line in enumerate(lines):
            (test if row in chosen else train).write(line)
    rest.unlink()
    report.kept["train"], report.kept["test"] = n_points - len(chosen), len(chosen)
