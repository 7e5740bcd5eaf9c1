"""Open data of any kind: a data folder, or a table."""

from __future__ import annotations

from pathlib import Path

from learned_index.data.folder import DataFolder, open_dataset
from learned_index.data.tables.files import is_table
from learned_index.data.tables.folder import TableFolder
from learned_index.data.tables.options import TableOptions
from learned_index.errors import InputError
from learned_index.system.progress import Progress


def open_data(
    path: Path | str, table: TableOptions | None = None, *, progress: Progress | None = None
) -> DataFolder:
    """Open a data folder, of which nothing is read yet, or read a table.

    Args:
        path: A folder in a known format; or CSV, TSV, Parquet, JSON lines with a row a point.
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
    if is_table(path) and not path.is_dir():
        return TableFolder(path, table or TableOptions(), progress)
    folder = open_dataset(path)
    if table is not None and table.given:
        raise InputError(
            f"{path} is a data folder, and columns are named; they are for tables: leave them out "
            "(--text, --labels and the others)"
        )
    return folder
