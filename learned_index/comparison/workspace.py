"""The files through which the comparison hands data to the processes that measure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from learned_index.comparison.data import ComparisonData
from learned_index.comparison.features import WORDS, PointFeatures
from learned_index.comparison.method import (
    OVER_CLASSIFIERS,
    Inputs,
    LabelClassifiers,
    ModelQueries,
)
from learned_index.errors import InputError
from learned_index.inputs.vectors import as_array
from learned_index.persistence import read_json, write_json
from learned_index.types import Float32Array

# Several packages fall back to code without vector instructions, ten times as slow, where the
# dimension is odd.
LIFTED_MULTIPLE = 32
TRAINING_FILES: Mapping[Inputs, tuple[str, ...]] = {
    "classifiers": ("items",),
    "classifiers+queries": ("items", "train_lifted"),
    "training": ("train_embeddings", "train_labels"),
}
"""What the kinds of methods are built from that take neither the model nor features."""


@dataclass(frozen=True)
class Workspace:
    """A folder of ``.npy`` files that every measuring process maps into its memory.

    Sparse matrices are ``.npz`` files, which are read.

    Attributes:
        folder: Where the files lie.
    """

    folder: Path

    def save(self, name: str, matrix: Any) -> None:
        """Write an array or a sparse matrix."""
        if sp.issparse(matrix):
            sp.save_npz(self._path(name, ".npz"), sp.csr_matrix(matrix), compressed=False)
        else:
            np.save(self._path(name), matrix, allow_pickle=False)

    def load(self, name: str) -> Any:
        """Map an array into memory, read-only; read a sparse matrix."""
        if self._path(name, ".npz").exists():
            return sp.csr_matrix(sp.load_npz(self._path(name, ".npz")))
        return np.load(self._path(name), mmap_mode="r", allow_pickle=False)

    def has(self, name: str) -> bool:
        """Tell whether there is an array or a sparse matrix of this name."""
        return any(self._path(name, suffix).exists() for suffix in (".npy", ".npz"))

    def save_model_queries(self, queries: ModelQueries) -> None:
        """Write the test points as a whole model takes them."""
        for number, x_ND in enumerate(queries.vectors):
            self.save(f"model_vectors{number}", np.asarray(x_ND))
        if queries.features is not None:
            self.save("model_features", queries.features)
        if sp.issparse(queries.points):
            self.save("model_points", queries.points)
        else:
            write_json(self._texts, list(queries.points))

    def load_model_queries(self) -> ModelQueries:
        """Read them; vectors are copied, as no user would map them from a file."""
        names = sorted(path.stem for path in self.folder.glob("model_vectors*.npy"))
        return ModelQueries(
            self.load("model_points") if self.has("model_points") else read_json(self._texts),
            tuple(np.array(self.load(name)) for name in names),
            self.load("model_features") if self.has("model_features") else None,
        )

    def save_features(self, wanted: PointFeatures, train: Any, queries: Any) -> None:
        """Write the features of training and test points."""
        for name, matrix in zip(feature_files(wanted), (train, queries), strict=True):
            self.save(name, matrix)

    def queries(self, inputs: Inputs, features: PointFeatures | None = None) -> Any:
        """Return the queries that methods of a kind get: dense, CSR, or those of a model.

        Args:
            inputs: The kind.
            features: Which features, for ``"points"``; None: words.
        """
        if inputs == "points":
            return self.load(feature_files(features or WORDS)[1])
        if inputs == "model":
            return self.load_model_queries()
        return np.array(self.load("lifted" if inputs in OVER_CLASSIFIERS else "queries"))

    def training_data(
        self, inputs: Inputs, features: PointFeatures | None = None
    ) -> tuple[Any, ...]:
        """Return what methods of a kind are built from, unless that is the model.

        Args as for :meth:`queries`.
        """
        if inputs == "points":
            return self.load(feature_files(features or WORDS)[0]), self.load("train_labels")
        return tuple(map(self.load, TRAINING_FILES[inputs]))

    @property
    def _texts(self) -> Path:
        return self._path("model_points", ".json")

    def _path(self, name: str, suffix: str = ".npy") -> Path:
        return self.folder / f"{name}{suffix}"


def feature_files(features: PointFeatures) -> tuple[str, str]:
    """Return the names under which features of training and of test points are written."""
    return f"train_features-{features.title}", f"query_features-{features.title}"


def prepare(
    workspace: Workspace,
    model: LabelClassifiers,
    data: ComparisonData,
    *,
    with_training_queries: bool = False,
) -> None:
    """Write what the methods need: queries, items, training data.

    A search over the label classifiers needs no projection per query: where ``project(x)`` is
    ``x A + c``, the score ``project(x) . w + b`` is ``x . (A w) + (b + c . w)``. So the items are
    ``[A w_l, b_l + c . w_l]`` and the queries ``[x, 1]``, both made before any clock starts and
    padded with zeros to a multiple of 32. A model whose projection is not affine has its queries
    projected beforehand.

    Args:
        workspace: Where to write.
        model: The trained index, or other label classifiers.
        data: Queries and training data.
        with_training_queries: Write the training vectors as queries over the items, too.

    Raises:
        InputError: The label classifiers have other shapes than L x D and L.
    """
    queries = np.ascontiguousarray(_float32(data.queries_ND))
    workspace.save("queries", queries)
    # Without labels no method learns from them, and they may be large.
    if data.embeddings_ND is not None and data.labels_NL is not None:
        workspace.save("train_embeddings", as_array(data.embeddings_ND, name="embeddings"))
    if data.labels_NL is not None:
        workspace.save("train_labels", data.labels_NL)
    for wanted, (train, test) in data.all_features().items():
        workspace.save_features(wanted, train, test)
    if data.model_queries is not None:
        workspace.save_model_queries(data.model_queries)
    projected = _float32(model.project(queries))
    affine = affine_map(model.project, queries, projected)
    workspace.save("items", _items(model, affine))
    workspace.save("lifted", lifted(queries if affine is not None else projected))
    if with_training_queries:
        rows = _float32(data.embeddings_ND)
        if affine is None:
            rows = _float32(model.project(rows))
        workspace.save("train_lifted", lifted(rows))


def _items(
    model: LabelClassifiers, affine: tuple[Float32Array, Float32Array] | None
) -> Float32Array:
    """Return the label classifiers as items, an affine projection folded in."""
    weights_LD, bias_L = map(_float32, model.label_classifiers())
    if weights_LD.ndim != 2 or bias_L.shape != weights_LD.shape[:1]:
        raise InputError(
            f"label classifiers have shapes {weights_LD.shape} and {bias_L.shape}, expected L x D "
            "and L"
        )
    if affine is None:
        return lifted(weights_LD, last=bias_L)
    matrix_DD, offset_D = affine
    # Without a projection the items keep the very bits of the classifiers.
    identity = np.array_equal(matrix_DD, np.eye(*matrix_DD.shape))
    folded_LD = weights_LD if identity else weights_LD @ matrix_DD.T
    return lifted(folded_LD, last=bias_L + weights_LD @ offset_D)


def lifted(vectors_ND: Float32Array, *, last: Float32Array | float = 1.0) -> Float32Array:
    """Return ``[x, last, 0, ...]`` for each vector, float32 N x E, E a multiple of 32 above D."""
    n_rows, dim = vectors_ND.shape
    lifted_NE = np.zeros((n_rows, -(-(dim + 1) // LIFTED_MULTIPLE) * LIFTED_MULTIPLE), np.float32)
    lifted_NE[:, :dim] = vectors_ND
    lifted_NE[:, dim] = last
    return lifted_NE


def affine_parts(project: Callable[[Any], Any], dim: int) -> tuple[Float32Array, Float32Array]:
    """A, D x D, and c, D, of a map of vectors that is ``x A + c``."""
    offset = _float32(project(np.zeros((1, dim), np.float32)))[0]
    return _float32(project(np.eye(dim, dtype=np.float32))) - offset, offset


def affine_map(
    project: Callable[[Any], Any], queries_ND: Float32Array, projected_ND: Float32Array
) -> tuple[Float32Array, Float32Array] | None:
    """Return A and c with ``project(x) = x A + c``; None if there are none."""
    matrix, offset = affine_parts(project, queries_ND.shape[1])
    error = np.abs(queries_ND @ matrix + offset - projected_ND).max(initial=0.0)
    # Relative to the largest value: the rounding of float32 sums, far below what a curve does.
    tolerable = 1e-4 * max(float(np.abs(projected_ND).max(initial=0.0)), 1e-6)
    return (matrix, offset) if error <= tolerable else None


def _float32(matrix: Any) -> Float32Array:
    return np.asarray(as_array(matrix, name="vectors"), dtype=np.float32)
