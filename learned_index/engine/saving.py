"""Save and open an engine: one directory, a .npy file for each array, and a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from learned_index.engine.arrays import EngineArrays
from learned_index.engine.config import EngineConfig
from learned_index.persistence import (
    atomic_directory,
    read_manifest,
    reading_model,
    write_manifest,
)

if TYPE_CHECKING:
    from learned_index.engine.search_engine import SearchEngine

KIND = "search-engine"


def save_engine(engine: SearchEngine, directory: Path, *, overwrite: bool) -> None:
    """See :meth:`SearchEngine.save_pretrained`."""
    with atomic_directory(directory, overwrite=overwrite) as temporary:
        for name, array in engine.arrays.named().items():
            np.save(temporary / f"{name}.npy", array, allow_pickle=False)
        write_manifest(
            temporary,
            kind=KIND,
            config={
                "engine": engine.config.to_dict(),
                "constants": engine.constants._asdict(),
                "complete": engine.is_partial,
            },
        )


def load_engine(directory: Path, *, verify: bool) -> SearchEngine:
    """See :meth:`SearchEngine.from_pretrained`."""
    from learned_index.engine.search_engine import Constants, SearchEngine

    manifest = read_manifest(directory, kind=KIND, verify=verify)
    with reading_model(directory, "search engine"):
        arrays = EngineArrays(
            **{name: _opened(manifest.file(f"{name}.npy")) for name in EngineArrays.names()}
        )
        return SearchEngine(
            arrays,
            EngineConfig.from_dict(manifest.config["engine"]),
            Constants(**manifest.config["constants"]),
            complete=bool(manifest.config["complete"]),
        )


def _opened(path: Path) -> npt.NDArray[Any]:
    """Map an array; one without elements cannot be mapped and is read."""
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        reader = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if reader is None:
            raise ValueError(f"{path.name} has .npy format version {version}")
        shape, _, _ = reader(file)
    mode: Literal["r"] | None = None if 0 in shape else "r"
    array: npt.NDArray[Any] = np.load(path, mmap_mode=mode, allow_pickle=False)
    return array
