"""Which finished measurements of an earlier run still hold."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from learned_index.comparison.data import MEASUREMENTS
from learned_index.comparison.elsewhere import versions_of
from learned_index.comparison.method import (
    FROM_THE_MODEL,
    MethodSpec,
    ModelLoader,
)
from learned_index.comparison.reference import Reference
from learned_index.comparison.workspace import Workspace
from learned_index.errors import InputError
from learned_index.persistence.digest import bytes_digest, data_digest, digest
from learned_index.persistence.kept import KeptResults
from learned_index.system.environment import versions

CONDITIONS = (
    *("cpu", "cpus", "platform", "k", "threads", "batch_size", "latency_queries"),
    *("repeats", "timing_seconds", "isolation", "seed"),
)
"""Parts of the environment under which a measurement of an earlier run still holds."""
MODEL_SOURCES = ("index", "engine", "kernels", "elias", "ranking")
"""Parts of the package whose code the measurements of what was trained depend on."""


class KeptMethods:
    """The measurements of each finished method, used again under the same conditions.

    Args:
        folder: Where they lie; None keeps nothing.
        workspace: Holds the training data.
        reference: Holds items, queries and truth.
        environment: Of this run.

    Attributes:
        store: The measurements, by the name of the method and its :meth:`key`.
    """

    def __init__(
        self,
        folder: Path | None,
        workspace: Workspace,
        reference: Reference,
        environment: Mapping[str, Any],
    ) -> None:
        self.store = KeptResults(folder)
        self._versions: dict[str, str] = environment["versions"]
        self._conditions = {name: environment[name] for name in CONDITIONS}
        self._data = ""
        self._training: dict[str, str] = {}
        if folder is not None:
            truth_NL, pairs = reference.truth_NL, reference.filtered_NL
            self._data = data_digest(
                reference.items_LE,
                reference.queries_NE,
                truth_NL.indptr,
                truth_NL.indices,
                np.asarray(reference.propensities),
                *(() if pairs is None else (pairs.indptr, pairs.indices)),
            )
            self._training = training_digests(workspace)

    def key(self, spec: MethodSpec, loader: ModelLoader) -> str | None:
        """Return a digest of all that a method's measurements depend on.

        That is the method with its build arguments, the code of its adapter, the data, the
        conditions, the packages and, for methods built from the model, the model and its code.
        None where nothing is kept, for a method built from a model that cannot tell its digest,
        and for one measured by an interpreter that does not run.
        """
        if self.store.folder is None:
            return None
        parts: list[Any] = [spec.name, sorted((k, repr(v)) for k, v in spec.options.items())]
        parts += [
            MEASUREMENTS,
            self._data,
            self._training.get(_learned_from(spec), ""),
            self._conditions,
        ]
        try:
            parts.append(self._versions if spec.python is None else {})
            parts.append(package_versions(spec))
        except InputError:
            return None
        sources = [inspect.getsourcefile(spec.adapter)]
        if spec.inputs in FROM_THE_MODEL:
            told = getattr(loader, "digest", None)
            if told is None:
                return None
            parts.append(told())
            package = Path(__file__).parents[1]
            sources += sorted(
                str(path) for name in MODEL_SOURCES for path in (package / name).rglob("*.py")
            )
        code = bytes_digest(Path(source).read_bytes() for source in sources if source is not None)
        return digest([parts, code])


def package_versions(spec: MethodSpec) -> dict[str, str | None]:
    """Return the versions of what a method needs beside this package, where it is measured.

    Raises:
        InputError: Its interpreter cannot be run.
    """
    package = spec.adapter.about.package
    if spec.python is not None:
        return versions_of(spec.python, ["numpy", "scipy", *([package] if package else [])])
    return {package: versions([package]).get(package)} if package else {}


def _learned_from(spec: MethodSpec) -> str:
    """Key of what a method learns from, in :func:`training_digests`."""
    features = spec.point_features
    return spec.inputs if features is None else features.title


def training_digests(workspace: Workspace) -> dict[str, str]:
    """Return a digest of what each kind of method learns from, queries of its own included.

    Kinds are named by ``inputs``, features by their title.
    """
    digests: dict[str, str] = {}
    if workspace.has("train_embeddings"):
        digests["training"] = data_digest(*workspace.training_data("training"))
    if workspace.has("train_lifted"):
        digests["classifiers+queries"] = data_digest(workspace.load("train_lifted"))
    for path in sorted(workspace.folder.glob("train_features-*.npz")):
        title = path.stem.partition("-")[2]
        names = (path.stem, f"query_features-{title}", "train_labels")
        digests[title] = data_digest(*(workspace.load(name) for name in names))
    if workspace.has("model_vectors0"):
        queries = workspace.load_model_queries()
        digests["model"] = data_digest(queries.points, *queries.vectors, queries.features)
    return digests
