"""Arrays that are mapped from the files of a saved engine, and the place they were mapped from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from learned_index.errors import ModelFormatError
from learned_index.persistence import read_manifest
from learned_index.persistence.foreign import read_npy_header

KIND = "search-engine"
SEGMENT = "segment"
"""Folder of a saved engine that holds the arrays of labels that joined it."""


class Source(NamedTuple):
    """A saved engine, as another process on this machine can find it.

    Attributes:
        directory: Its absolute path, links followed.
        digest: Of its manifest, see :attr:`Manifest.digest`.
        part: The folder in it that holds these arrays; "": the directory itself.
    """

    directory: Path
    digest: str
    part: str = ""

    def open(self, names: Iterable[str]) -> dict[str, npt.NDArray[Any]]:
        """Map some of its arrays.

        Raises:
            ModelFormatError: The directory has gone, or does not hold what it held.
        """
        try:
            found = read_manifest(self.directory, kind=KIND, verify=False).digest
            folder = self.directory / self.part
            arrays = {name: open_array(folder / f"{name}.npy") for name in names}
        except (ModelFormatError, OSError, ValueError) as error:
            raise ModelFormatError(
                f"an engine was sent by the path of its files, which cannot be opened ({error}); "
                "keep the directory while engines of it are sent, and send to processes that see it"
            ) from error
        if found != self.digest:
            raise ModelFormatError(
                f"an engine was sent by the path of its files, but {self.directory} holds another "
                "one now; open it again with from_pretrained before it is sent"
            )
        return arrays


def open_array(path: Path) -> npt.NDArray[Any]:
    """Map an array; one without elements cannot be mapped and is read.

    Raises:
        DataFormatError: Not an .npy file of numbers, or cut off.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        header = read_npy_header(file, path.stat().st_size, path.name)
    mode: Literal["r"] | None = None if 0 in header.shape else "r"
    array: npt.NDArray[Any] = np.load(path, mmap_mode=mode, allow_pickle=False)
    return array
