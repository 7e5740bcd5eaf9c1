"""Save and open an engine: one directory, a .npy file for each array, and a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from learned_index.engine.arrays import EngineArrays
from learned_index.engine.config import EngineConfig
from learned_index.engine.constants import Constants
from learned_index.engine.mapping import KIND, Source, open_array
from learned_index.persistence import (
    atomic_directory,
    read_manifest,
    reading_model,
    write_manifest,
)

if TYPE_CHECKING:
    from learned_index.engine.search_engine import SearchEngine


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
    from learned_index.engine.search_engine import SearchEngine

    manifest = read_manifest(directory, kind=KIND, verify=verify)
    with reading_model(directory, "search engine"):
        arrays = EngineArrays(
            **{name: open_array(manifest.file(f"{name}.npy")) for name in EngineArrays.names()},
            source=Source(directory.resolve(), manifest.digest),
        )
        return SearchEngine(
            arrays,
            EngineConfig.from_dict(manifest.config["engine"]),
            Constants(**manifest.config["constants"]),
            complete=bool(manifest.config["complete"]),
        )
