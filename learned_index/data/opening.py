"""Open data of any kind: a data folder, or a table."""

from __future__ import annotations

from pathlib import Path

from learned_index.data.folder import DataFolder, open_dataset
from learned_index.data.tables.files import is_table
from learned_index.data.tables.folder import TableFolder
from learned_index.data.tables.options import TableOptions
from learned_index.data.tables.sources import split_tables
from learned_index.errors import InputError
from learned_index.system.progress import Progress


def open_data(
    path: Path | str, table: TableOptions | None = None, *, progress: Progress | None = None
) -> DataFolder:
    """Open a data folder, of which nothing is read yet, or read a table.

    Args:
        path: A folder in a known format; or CSV, TSV, Parquet, JSON lines with a row a point; or a
            folder of these that are called ``train.csv``, ``test.csv`` and so on.
        table: Which columns of a table hold what; None: look for usual names.
        progress: Told how much of a table is read.

    Raises:
        DataFormatError: No such file or folder, or none in a known format.
        InputError: Columns that are not there or can be meant in two ways; or columns named for a
            folder.
        MissingExtraError: A table, and pyarrow is not installed.

    Example:
        >>> options = TableOptions(text=("title",), labels=("tags",), separator="|")
        >>> open_data("articles.csv", options).read("train")  # doctest: +SKIP
        Dataset('train', 19034 points with texts, 812 labels)
    """
    path = Path(path)
    options = table or TableOptions()
    if path.is_dir():
        names = [each.suffix.lower() for each in split_tables(path)]
        # Files called train.jsonl are a data folder, unless their columns are named.
        if names and (options.given or not {".jsonl", ".json", ".gz"} & set(names)):
            return TableFolder(path, options, progress)
    elif is_table(path):
        return TableFolder(path, options, progress)
    folder = open_dataset(path)
    if options.given:
        raise InputError(
            f"{path} is a data folder, and columns are named; they are for tables: leave them out "
            "(--text, --labels and the others)"
        )
    return folder
