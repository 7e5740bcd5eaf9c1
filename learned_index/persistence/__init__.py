"""Saved-model layout: one directory, safetensors and JSON, checksummed, written atomically."""

from learned_index.persistence.atomic import (
    atomic_directory,
    atomic_file,
    check_replaceable,
    remove_directory,
    scratch_directory,
    sweep_directory,
    write_result,
)
from learned_index.persistence.failures import reading_model, writing
from learned_index.persistence.files import (
    load_arrays,
    read_json,
    save_arrays,
    write_json,
)
from learned_index.persistence.layout import (
    MANIFEST_NAME,
    Manifest,
    directory_bytes,
    existing_directory,
    read_manifest,
    saved_kind,
    write_manifest,
)
from learned_index.persistence.locks import path_lock
from learned_index.persistence.recovery import recover
from learned_index.persistence.saved import Saved
from learned_index.persistence.tables import write_csv

__all__ = [
    "MANIFEST_NAME",
    "Manifest",
    "Saved",
    "atomic_directory",
    "atomic_file",
    "check_replaceable",
    "directory_bytes",
    "existing_directory",
    "load_arrays",
    "path_lock",
    "read_json",
    "read_manifest",
    "reading_model",
    "recover",
    "remove_directory",
    "save_arrays",
    "saved_kind",
    "scratch_directory",
    "sweep_directory",
    "write_csv",
    "write_json",
    "write_manifest",
    "write_result",
    "writing",
]
