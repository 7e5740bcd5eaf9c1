"""Saved-model layout: one directory, safetensors and JSON, checksummed, written atomically."""

from learned_index.persistence.atomic import atomic_directory, atomic_file
from learned_index.persistence.layout import (
    MANIFEST_NAME,
    Manifest,
    directory_bytes,
    load_arrays,
    read_json,
    read_manifest,
    save_arrays,
    write_json,
    write_manifest,
)

__all__ = [
    "MANIFEST_NAME",
    "Manifest",
    "atomic_directory",
    "atomic_file",
    "directory_bytes",
    "load_arrays",
    "read_json",
    "read_manifest",
    "save_arrays",
    "write_json",
    "write_manifest",
]
