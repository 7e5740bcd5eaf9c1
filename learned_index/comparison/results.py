"""Finished measurements of a comparison, kept so that a run can go on where it stopped."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from learned_index.comparison.method import MethodInputs, MethodSpec, ModelLoader
from learned_index.errors import ModelFormatError
from learned_index.persistence import atomic_file, read_json, write_json

MODEL_SOURCES = ("graph", "engine", "kernels")
"""Parts of the package whose code the measurements of the learned index depend on."""


class KeptResults:
    """One JSON file for each method measured, used again under the same conditions.

    Args:
        folder: Where the files lie; made when the first is written.
        data: Digest of what is searched, and with what.
        training: Digest of the training data, by the kind of method that learns from it.
        conditions: What else measurements depend on, JSON-able: threads, versions, ...
    """

    def __init__(
        self,
        folder: Path,
        *,
        data: str,
        training: Mapping[MethodInputs, str],
        conditions: Mapping[str, Any],
    ) -> None:
        self.folder = folder
        self._data, self._training, self._conditions = data, training, conditions
        self._digests: dict[str, str | None] = {}

    def find(self, spec: MethodSpec, loader: ModelLoader) -> list[dict[str, Any]] | None:
        """Return the points of an earlier run under the same conditions; None if there are none."""
        path, digest = self._path(spec.name), self._digest_of(spec, loader)
        if digest is None or not path.is_file():
            return None
        try:
            kept = read_json(path)
        except ModelFormatError:  # cut off or edited: measured again
            return None
        if not isinstance(kept, dict) or kept.get("digest") != digest:
            return None
        points = kept.get("points")
        return points if isinstance(points, list) else None

    def keep(
        self, spec: MethodSpec, loader: ModelLoader, points: Sequence[Mapping[str, Any]]
    ) -> None:
        """Keep the points of a method unless it failed; the file appears when it is whole."""
        digest = self._digest_of(spec, loader)
        if digest is None or points[0]["error"] is not None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(self._path(spec.name)) as temporary:
            write_json(temporary, {"digest": digest, "method": spec.name, "points": list(points)})

    def _digest_of(self, spec: MethodSpec, loader: ModelLoader) -> str | None:
        if spec.name not in self._digests:
            self._digests[spec.name] = method_digest(
                spec,
                loader,
                data=self._data + self._training.get(spec.inputs, ""),
                conditions=self._conditions,
            )
        return self._digests[spec.name]

    def _path(self, method: str) -> Path:
        plain = re.sub(r"[^A-Za-z0-9.-]+", "_", method).strip("_")
        return self.folder / f"{plain}-{_digest([method.encode()])[:8]}.json"


def data_digest(arrays: Iterable[Any]) -> str:
    """Return a digest of arrays (shapes, types and content)."""

    def parts() -> Iterable[Any]:
        for array in arrays:
            array = np.ascontiguousarray(array)
            yield f"{array.dtype.str}{array.shape}".encode()
            yield array.reshape(-1).view(np.uint8)

    return _digest(parts())


def method_digest(
    spec: MethodSpec,
    loader: ModelLoader,
    *,
    data: str,
    conditions: Mapping[str, Any],
) -> str | None:
    """Return a digest of all that a method's measurements depend on.

    That is the method with its build arguments, the code of its adapter, the data, the conditions
    and, for methods built from the model, the model and its code.

    Args:
        spec: The method.
        loader: The model's loader. It may have a method ``digest()``, a text that changes with
            the model.
        data: Digest of the data.
        conditions: How and with which packages it is measured, JSON-able.

    Returns:
        The digest; None for a method built from a model that cannot tell its digest.
    """
    sources = [inspect.getsourcefile(type(spec.create()))]
    parts: list[Any] = [repr(spec), data, dict(conditions)]
    if spec.inputs == "model":
        digest = getattr(loader, "digest", None)
        if digest is None:
            return None
        parts.append(digest())
        package = Path(__file__).parents[1]
        sources += sorted(
            str(path) for name in MODEL_SOURCES for path in (package / name).rglob("*.py")
        )
    code = [Path(source).read_bytes() for source in sources if source is not None]
    return _digest([json.dumps(parts, sort_keys=True, default=repr).encode(), *code])


def _digest(parts: Iterable[Any]) -> str:
    hashed = hashlib.sha256()
    for part in parts:
        hashed.update(part)
        hashed.update(b"\0")
    return hashed.hexdigest()
