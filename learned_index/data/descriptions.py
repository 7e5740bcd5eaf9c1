"""What is known of labels beyond their texts: synonyms and descriptions, in a file of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from learned_index.data.formats.lines import fail, iter_lines, write_lines

DESCRIPTIONS_FILE = "label_descriptions.txt"
"""Name of the file beside ``labels.txt``, in a data folder and in a model directory."""


def read_descriptions(path: Path, id_of_key: Mapping[str, int]) -> tuple[str, ...]:
    """Read ``KEY<TAB>DESCRIPTION`` lines; several of one label are joined in their order.

    Args:
        path: The file.
        id_of_key: The labels.

    Returns:
        A description for each label, empty where it has none.

    Raises:
        DataFormatError: Not UTF-8, a line without a tab, a key that no label has. Names the line.
    """
    found: list[list[str]] = [[] for _ in id_of_key]
    for number, line in enumerate(iter_lines(path), start=1):
        if not line.strip():
            continue
        key, tab, description = line.rstrip("\r").partition("\t")
        if not tab:
            fail(path, number, f"{line[:60]!r} has no tab; expected KEY<TAB>DESCRIPTION")
        if key not in id_of_key:
            fail(path, number, f"no label has the key {key!r:.80}; expected one of labels.txt")
        if description.strip():
            found[id_of_key[key]].append(description.strip())
    return tuple("; ".join(parts) for parts in found)


def write_descriptions(path: Path, keys: Sequence[str], descriptions: Sequence[str]) -> None:
    """Write what :func:`read_descriptions` reads, a line for each label that has a description."""
    pairs = zip(keys, descriptions, strict=True)
    write_lines(path, (f"{key}\t{text}" for key, text in pairs if text))
