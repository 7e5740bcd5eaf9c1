"""What lies in a data folder and is not read, which its owner may not know."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

_DATA = {".txt", ".npz", ".json", ".jsonl", ".gz", ".csv", ".tsv", ".parquet", ".raw"}
"""Endings of files that may hold points, labels or their texts; vectors (.npy) are others'."""
_FOLDERS = ("raw", "raw_data")
_NO_DATA = ("readme", "license", "licence", "source.json", "stats.json", "features.txt")
_SHOWN = 8


def unread(folder: Path, read: Iterable[Path]) -> tuple[str, ...]:
    """Files of a data folder that look like data and are not among those that are read.

    Args:
        folder: The folder.
        read: What is read of it.

    Returns:
        Their names within the folder, sorted.
    """
    known = set(read)
    there = [*folder.iterdir()]
    for name in _FOLDERS:
        if (folder / name).is_dir():
            there += (folder / name).iterdir()
    found = []
    for path in there:
        name = path.name.lower()
        if path in known or name.startswith((".", *_NO_DATA)) or path.suffix not in _DATA:
            continue
        if path.is_file():
            found.append(path.relative_to(folder).as_posix())
    return tuple(sorted(found))


def ignored_message(folder: Path, read: Iterable[Path], ignored: tuple[str, ...]) -> str:
    """The warning about files that are not read."""
    names = ", ".join(sorted(path.relative_to(folder).as_posix() for path in read))
    more = f" and {len(ignored) - _SHOWN} more" if len(ignored) > _SHOWN else ""
    said = f"{folder}: read are {names}; not read: {', '.join(ignored[:_SHOWN])}{more}"
    if any("lbl_X_Xf" in name for name in ignored):
        said += " (features of labels have no use here; texts of labels would)"
    return said
