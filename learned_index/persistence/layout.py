"""The manifest of a saved model.

A saved model is one directory. ``manifest.json`` names the kind of object, the format version,
its configuration, and the size and SHA-256 of every other file in the directory and below it.
Nothing in it depends on the time or the machine, so equal models are equal byte for byte.

Whoever wrote it, a manifest is read as if a stranger had: it names regular files inside the
directory, with the sizes and checksums that they have, or it is refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from learned_index.errors import ModelFormatError
from learned_index.persistence.digest import digest, file_digest
from learned_index.persistence.failures import reading_model
from learned_index.persistence.files import read_json, write_json
from learned_index.persistence.recovery import recover

MANIFEST_NAME = "manifest.json"
FORMAT_VERSION = 2
"""1: all models but those that only this version can read. 2: engines with a segment,
and rankers of bytes."""
_MAX_FILES = 100_000
_MAX_BYTES = 64 << 20
"""Of a manifest: room for so many files with long names."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Manifest:
    """Contents of ``manifest.json``.

    Attributes:
        kind: What the directory holds, e.g. ``"learned-graph-index"``.
        format_version: Version of the layout; a newer one than this package knows is refused.
        config: JSON-able configuration of the object.
        files: Relative POSIX path to ``{"bytes": int, "sha256": str}`` for every other file.
        directory: Where it was read from.
    """

    kind: str
    format_version: int
    config: dict[str, Any]
    files: dict[str, dict[str, Any]]
    directory: Path = field(default_factory=Path)

    def file(self, name: str) -> Path:
        """Return the path of a file that the manifest names, and so vouches for.

        Raises:
            ModelFormatError: It does not name the file.
        """
        if name not in self.files:
            raise ModelFormatError(
                f"{self.directory / MANIFEST_NAME} does not name {name}, so nothing vouches for "
                "it; copy the model again"
            )
        return self.directory / name

    @property
    def digest(self) -> str:
        """SHA-256 of all of it, and so of every file's checksum: equal for equal models only."""
        return digest([self.kind, self.format_version, self.config, self.files])


def directory_bytes(directory: Path) -> int:
    """Size of all files in a directory and below it; 0 where there is none."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def write_manifest(
    directory: Path, *, kind: str, config: Mapping[str, Any], version: int = 1
) -> None:
    """Write ``manifest.json`` for all files that ``directory`` now holds.

    Args:
        directory: Where they lie.
        kind: What they are together.
        config: What the manifest says beside their names.
        version: The first format version that can read them.
    """
    files = {
        path.relative_to(directory).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": file_digest(path),
        }
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path != directory / MANIFEST_NAME
    }
    write_json(
        directory / MANIFEST_NAME,
        {"kind": kind, "format_version": version, "config": dict(config), "files": files},
    )


def saved_kind(directory: Path | str) -> str:
    """Return the kind of object that is saved in a directory.

    Raises:
        ModelFormatError: Nothing is, or its manifest is damaged or from a newer version.
    """
    return _manifest(existing_directory(directory, "model")).kind


def named_files(directory: Path | str) -> list[str]:
    """Return the relative POSIX paths of the files that a directory's manifest names.

    Raises:
        ModelFormatError: It has no manifest, or a damaged one, or one from a newer version.
    """
    return list(_manifest(Path(directory)).files)


def read_manifest(
    directory: Path | str, *, kind: str, verify: bool = True, exact: bool = False
) -> Manifest:
    """Read and check ``manifest.json`` and the files it names.

    Args:
        directory: A directory written with :func:`write_manifest`.
        kind: The kind expected.
        verify: Check every file's SHA-256 (reads all of it); sizes are always checked.
        exact: Refuse any file that the manifest does not name. Else such files may lie at the
            top of the directory, where loaders read through :meth:`Manifest.file`; never in the
            folders of its parts. Names that begin with a dot are nobody's.

    Raises:
        ModelFormatError: No manifest, another kind, a newer format, a missing, truncated, edited
            or added file, a name that leads outside.
        StorageError: A file cannot be read.
    """
    directory = existing_directory(directory, kind)
    manifest = _manifest(directory)
    if manifest.kind != kind:
        raise ModelFormatError(f"{directory} holds a {manifest.kind!r}, expected a {kind!r}")
    roots = _roots(directory)
    for name, expected in manifest.files.items():
        with reading_model(directory, kind):
            _check_file(directory / name, roots, expected, verify=verify)
    parts = {PurePosixPath(name).parts[0] for name in manifest.files if "/" in name}
    for name in _present(directory):
        is_inside = exact or PurePosixPath(name).parts[0] in parts
        if is_inside and name not in manifest.files and not _is_hidden(name):
            raise ModelFormatError(
                f"{directory} holds {name}, which its manifest does not name; remove it, or copy "
                "the model again"
            )
    return manifest


def foreign_content(directory: Path) -> str:
    """Say what in a directory is no part of a saved model; empty where there is nothing."""
    try:
        files = _manifest(directory).files
    except ModelFormatError:
        return f"it is no saved model (it has no {MANIFEST_NAME} of this package)"
    for name in _present(directory):
        if name not in files:
            return f"it holds {name}, which is no part of the saved model"
    return ""


def existing_directory(directory: Path | str, kind: str) -> Path:
    """Return the path of a directory that is there, taken back from a killed writer if need be.

    Args:
        directory: The path.
        kind: What it should hold, for the message.

    Raises:
        ModelFormatError: There is no directory of that name.
    """
    directory = Path(directory)
    if not _is_directory(directory):
        recover(directory)
    if not _is_directory(directory):
        raise ModelFormatError(f"{directory} is not a directory; expected a saved {kind}")
    return directory


def _is_directory(path: Path) -> bool:
    return os.path.isdir(path)  # noqa: PTH112 - pathlib raises for names that are too long


def _manifest(directory: Path) -> Manifest:
    """Read ``manifest.json`` and check its form, not the files that it names."""
    path = directory / MANIFEST_NAME
    raw = read_json(path, max_bytes=_MAX_BYTES)
    expected = {"kind": str, "format_version": int, "config": dict, "files": dict}
    if not isinstance(raw, dict) or any(type(raw.get(k)) is not t for k, t in expected.items()):
        raise ModelFormatError(f"{path} was not written by this package; expected a saved model")
    version, files = raw["format_version"], raw["files"]
    if not 1 <= version <= FORMAT_VERSION:
        raise ModelFormatError(
            f"{directory} has format version {version}, this package reads 1 to "
            f"{FORMAT_VERSION}; upgrade learned-index"
        )
    if len(files) > _MAX_FILES:
        raise ModelFormatError(f"{path} names {len(files)} files, expected at most {_MAX_FILES}")
    for name, facts in files.items():
        _check_name(path, name)
        size = facts.get("bytes") if isinstance(facts, dict) else None
        digest = facts.get("sha256") if isinstance(facts, dict) else None
        # type(), because True is an int, too.
        sound = type(size) is int and size >= 0 and isinstance(digest, str)
        if not sound or not _SHA256.fullmatch(str(digest)):
            raise ModelFormatError(
                f"{path} gives {name!r} no size and checksum that a file can have; copy the model "
                "again"
            )
    return Manifest(raw["kind"], version, raw["config"], files, directory)


def _check_name(path: Path, name: str) -> None:
    plain = PurePosixPath(name)
    bad = plain.is_absolute() or ".." in plain.parts or plain.as_posix() != name
    # Backslash and colon separate folders, drives and streams on Windows.
    if bad or name in ("", ".", MANIFEST_NAME) or any(c in name for c in "\\:\0"):
        raise ModelFormatError(
            f"{path} names {name!r}, which lies outside the directory or is no name of a file"
        )


def _roots(directory: Path) -> tuple[str, ...]:
    """Where the files of a directory may lie, each with a separator at its end.

    That is the directory; of one in the cache of the Hugging Face hub also the folder that its
    files are links into: ``models--USER--NAME/snapshots/COMMIT/FILE -> ../../blobs/DIGEST``.
    """
    root = os.path.realpath(directory)
    # With the separator, or model2 would lie inside model; the root directory ends with one.
    roots = [root.rstrip(os.sep) + os.sep]
    for folder in Path(root).parents:
        if folder.name == "snapshots" and folder.parent.name.startswith("models--"):
            # Not resolved: a folder of blobs that is itself a link leads elsewhere.
            roots.append(f"{folder.parent / 'blobs'}{os.sep}")
    return tuple(roots)


def _check_file(
    path: Path, roots: tuple[str, ...], expected: Mapping[str, Any], *, verify: bool
) -> None:
    if not os.path.realpath(path).startswith(roots):
        raise ModelFormatError(
            f"{path} is a link that leads outside the directory; copy the model again"
        )
    if not path.is_file():
        raise ModelFormatError(f"{path} is missing or no file; copy the model again")
    # Before the checksum: a file that was cut off is found without reading it.
    size = path.stat().st_size
    if size != expected["bytes"]:
        raise ModelFormatError(
            f"{path} has {size} bytes, expected {expected['bytes']}: it is truncated or was "
            "edited; copy the model again"
        )
    if verify and file_digest(path) != expected["sha256"]:
        raise ModelFormatError(
            f"{path} does not match its checksum: it was edited or damaged; copy the model again"
        )


def _present(directory: Path) -> Iterator[str]:
    """Relative POSIX paths of everything in a directory but folders and its own manifest."""
    for folder, folders, names in os.walk(directory):
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in [*names, *links]:
            found = (Path(folder) / name).relative_to(directory).as_posix()
            if found != MANIFEST_NAME:
                yield found


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(name).parts)
