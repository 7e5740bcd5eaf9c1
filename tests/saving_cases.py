"""A small saved object, shared by the tests of saving."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest

from learned_index.persistence import (
    atomic,
    atomic_directory,
    read_manifest,
    write_json,
    write_manifest,
)


def save(target: Path, value: int, **options: object) -> None:
    with atomic_directory(target, **options) as folder:
        write_json(folder / "value.json", value)
        write_manifest(folder, kind="test", config={"value": value})


def value(target: Path) -> int:
    return read_manifest(target, kind="test").config["value"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(params=["exchange", "two renames"])
def way(request, monkeypatch) -> str:
    """How the old and the new directory change names."""
    if request.param == "two renames":
        monkeypatch.setattr(atomic, "exchange", lambda _first, _second: False)
    elif sys.platform != "linux":
        pytest.skip("exchanging names in one step is tested on Linux")
    return request.param


def sign(folder: Path) -> None:
    """Make the sizes and checksums of a manifest true again."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"] = {
        name: {
            "bytes": (folder / name).stat().st_size,
            "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest(),
        }
        for name in manifest["files"]
    }
    path.write_text(json.dumps(manifest))
