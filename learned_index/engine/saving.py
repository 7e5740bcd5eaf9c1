"""The arrays of an engine as files: those of the main part, and those of a segment in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from learned_index.engine.arrays import OF_LABELS, EngineArrays
from learned_index.engine.mapping import SEGMENT, Source, open_array
from learned_index.persistence import Manifest


def write_arrays(arrays: EngineArrays, folder: Path) -> None:
    """Write an .npy file for each array."""
    for place, some in ((folder, arrays.named()), (folder / SEGMENT, arrays.of_segment())):
        for name, array in some.items():
            place.mkdir(exist_ok=True)
            np.save(place / f"{name}.npy", array, allow_pickle=False)


def open_arrays(manifest: Manifest) -> EngineArrays:
    """Map what :func:`write_arrays` wrote; its contents are not checked here.

    Raises:
        ModelFormatError: A file that the manifest does not name.
        DataFormatError: A file that is no array.
    """
    source = Source(manifest.directory.resolve(), manifest.digest)
    main: dict[str, Any] = {
        name: open_array(manifest.file(f"{name}.npy")) for name in EngineArrays.names()
    }
    arrays = EngineArrays(**main, source=source)
    if "segment" not in manifest.config:
        return arrays
    return arrays.with_segment(
        {name: open_array(manifest.file(f"{SEGMENT}/{name}.npy")) for name in OF_LABELS},
        source._replace(part=SEGMENT),
    )
