"""The manifest and array files of a saved model.

A saved model is one directory. ``manifest.json`` names the kind of object, the format version,
its configuration, and the size and SHA-256 of every other file in the directory and below it.
Nothing in it depends on the time or the machine, so equal models are equal byte for byte.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from learned_index.errors import ModelFormatError

MANIFEST_NAME = "manifest.json"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Manifest:
    """Contents of ``manifest.json``.

    Attributes:
        kind: What the directory holds, e.g. ``"learned-graph-index"``.
        format_version: Version of the layout; a newer one than this package knows is refused.
        config: JSON-able configuration of the object.
        files: Relative POSIX path to ``{"bytes": int, "sha256": str}`` for every other file.
    """

    kind: str
    format_version: int
    config: dict[str, Any]
    files: dict[str, dict[str, Any]]

    @property
    def digest(self) -> str:
        """SHA-256 of all of it, and so of every file's checksum: equal for equal models only."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def directory_bytes(directory: Path) -> int:
    """Size of all files in a directory and below it; 0 where there is none."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys and a final newline; NaN and infinity are refused."""
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ModelFormatError: The file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelFormatError(f"{path} is missing; the directory is not a saved model") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelFormatError(
            f"{path} is not valid JSON ({error}); save the model again"
        ) from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(directory: Path, *, kind: str, config: Mapping[str, Any]) -> None:
    """Write ``manifest.json`` for all files that ``directory`` now holds."""
    files = {
        path.relative_to(directory).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": _sha256(path),
        }
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path != directory / MANIFEST_NAME
    }
    write_json(
        directory / MANIFEST_NAME,
        {"kind": kind, "format_version": FORMAT_VERSION, "config": dict(config), "files": files},
    )


def read_manifest(directory: Path | str, *, kind: str, verify: bool = True) -> Manifest:
    """Read and check ``manifest.json`` and the files it names.

    Args:
        directory: A directory written with :func:`write_manifest`.
        kind: The kind expected.
        verify: Check every file's SHA-256 (reads all of it); sizes are always checked.

    Raises:
        ModelFormatError: No manifest, another kind, a newer format, a missing, truncated or
            edited file.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise ModelFormatError(f"{directory} is not a directory; expected a saved {kind}")
    raw = read_json(directory / MANIFEST_NAME)
    if not isinstance(raw, dict) or not {"kind", "format_version", "config", "files"} <= set(raw):
        raise ModelFormatError(
            f"{directory / MANIFEST_NAME} was not written by this package; expected a saved {kind}"
        )
    if raw["kind"] != kind:
        raise ModelFormatError(f"{directory} holds a {raw['kind']!r}, expected a {kind!r}")
    if not isinstance(raw["format_version"], int) or raw["format_version"] > FORMAT_VERSION:
        raise ModelFormatError(
            f"{directory} has format version {raw['format_version']}, this package reads up to "
            f"{FORMAT_VERSION}; upgrade learned-index"
        )
    for name, expected in raw["files"].items():
        path = directory / name
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise ModelFormatError(
                f"{directory}: the manifest names {name!r}, outside the directory"
            )
        if not path.is_file():
            raise ModelFormatError(f"{path} is missing; copy the model again")
        size = path.stat().st_size
        if size != expected["bytes"]:
            raise ModelFormatError(
                f"{path} has {size} bytes, expected {expected['bytes']}: it is truncated or was "
                "edited; copy the model again"
            )
        if verify and _sha256(path) != expected["sha256"]:
            raise ModelFormatError(
                f"{path} does not match its checksum: it was edited or damaged; copy the model "
                "again"
            )
    return Manifest(**{key: raw[key] for key in ("kind", "format_version", "config", "files")})


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Write named arrays as one safetensors file (C order, names sorted)."""
    save_file({name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}, str(path))


def load_arrays(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Read what :func:`save_arrays` wrote.

    Raises:
        ModelFormatError: The file is missing or is not a whole safetensors file.
    """
    try:
        return dict(load_file(str(path)))
    except FileNotFoundError:
        raise ModelFormatError(f"{path} is missing; copy the model again") from None
    except SafetensorError as error:
        raise ModelFormatError(
            f"{path} is not a whole safetensors file ({error}); copy the model again"
        ) from None
