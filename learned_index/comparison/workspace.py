"""The files through which the comparison hands data to the processes that measure."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from learned_index.comparison.method import OVER_CLASSIFIERS, ClassifierModel, MethodInputs
from learned_index.errors import InputError
from learned_index.types import DenseMatrix, Float32Array, Int64Array

LIFTED_MULTIPLE = 32


@dataclass(frozen=True)
class Workspace:
    """A folder of ``.npy`` files that every measuring process maps into its memory.

    Sparse matrices are ``.npz`` files, which are read.

    Attributes:
        folder: Where the files lie.
    """

    folder: Path

    def save(self, name: str, array: np.ndarray[Any, Any]) -> None:
        """Write one array."""
        np.save(self._path(name), array, allow_pickle=False)

    def load(self, name: str) -> Any:
        """Map one array into memory, read-only."""
        return np.load(self._path(name), mmap_mode="r", allow_pickle=False)

    def save_sparse(self, name: str, matrix: sp.csr_matrix) -> None:
        """Write one sparse matrix."""
        sp.save_npz(self._path(name, ".npz"), sp.csr_matrix(matrix), compressed=False)

    def load_sparse(self, name: str) -> sp.csr_matrix:
        """Read one sparse matrix."""
        return sp.csr_matrix(sp.load_npz(self._path(name, ".npz")))

    def has(self, name: str) -> bool:
        """Tell whether there is an array or a sparse matrix of this name."""
        return any(self._path(name, suffix).exists() for suffix in (".npy", ".npz"))

    def queries(self, inputs: MethodInputs) -> Any:
        """Return the queries that methods of a kind get: dense, or CSR."""
        if inputs == "points":
            return self.load_sparse("query_features")
        return np.array(self.load("lifted" if inputs in OVER_CLASSIFIERS else "queries"))

    def _path(self, name: str, suffix: str = ".npy") -> Path:
        return self.folder / f"{name}{suffix}"


def prepare(
    workspace: Workspace,
    *,
    model: ClassifierModel,
    queries_ND: DenseMatrix,
    embeddings_ND: DenseMatrix | None,
    labels_NL: sp.csr_matrix | None,
    features_NF: sp.csr_matrix | None = None,
    query_features_NF: sp.csr_matrix | None = None,
    with_training_queries: bool = False,
) -> None:
    """Write what the methods need: queries, items, training data.

    A search over the label classifiers needs no projection per query: where ``project(x)`` is
    ``x A + c``, the score ``project(x) . w + b`` is ``x . (A w) + (b + c . w)``. So the items are
    ``[A w_l, b_l + c . w_l]`` and the queries ``[x, 1]``, both made before any clock starts and
    padded with zeros to a multiple of 32: several packages fall back to code without vector
    instructions, ten times as slow, where the dimension is odd. A model whose projection is not
    affine has its queries projected beforehand.

    Args:
        workspace: Where to write.
        model: The trained index.
        queries_ND: Test vectors.
        embeddings_ND: Training vectors, or None.
        labels_NL: Labels of the training points, or None.
        features_NF: Sparse features of the training points, or None.
        query_features_NF: Those of the test points, or None.
        with_training_queries: Write the training vectors as queries over the items, too.
    """
    queries = np.ascontiguousarray(to_numpy(queries_ND), dtype=np.float32)
    workspace.save("queries", queries)
    if embeddings_ND is not None and labels_NL is not None:
        workspace.save("train_embeddings", np.asarray(to_numpy(embeddings_ND)))
    for name, matrix in (
        ("train_labels", labels_NL),
        ("train_features", features_NF),
        ("query_features", query_features_NF),
    ):
        if matrix is not None:
            workspace.save_sparse(name, matrix)
    weights_LD, bias_L = (
        np.asarray(to_numpy(part), dtype=np.float32) for part in model.label_classifiers()
    )
    if weights_LD.ndim != 2 or bias_L.shape != weights_LD.shape[:1]:
        raise InputError(
            f"label classifiers have shapes {weights_LD.shape} and {bias_L.shape}, expected L x D "
            "and L"
        )
    projected = np.asarray(to_numpy(model.project(queries)), dtype=np.float32)
    affine = affine_map(model.project, queries, projected)
    if affine is None:
        items_LE = lifted(weights_LD, last=bias_L)
    else:
        matrix_DD, offset_D = affine
        identity = np.array_equal(matrix_DD, np.eye(*matrix_DD.shape))
        items_LE = lifted(
            weights_LD if identity else weights_LD @ matrix_DD.T,
            last=bias_L + weights_LD @ offset_D,
        )
    workspace.save("items", items_LE)
    workspace.save("lifted", lifted(queries if affine is not None else projected))
    if with_training_queries:
        rows = np.asarray(to_numpy(embeddings_ND), dtype=np.float32)
        if affine is None:
            rows = np.asarray(to_numpy(model.project(rows)), dtype=np.float32)
        workspace.save("train_lifted", lifted(rows))


def lifted(vectors_ND: Float32Array, *, last: Float32Array | float = 1.0) -> Float32Array:
    """Return ``[x, last, 0, ...]`` for each vector, float32 N x E, E a multiple of 32 above D."""
    n_rows, dim = vectors_ND.shape
    lifted_NE = np.zeros((n_rows, -(-(dim + 1) // LIFTED_MULTIPLE) * LIFTED_MULTIPLE), np.float32)
    lifted_NE[:, :dim] = vectors_ND
    lifted_NE[:, dim] = last
    return lifted_NE


def affine_map(
    project: Callable[[Any], Any], queries_ND: Float32Array, projected_ND: Float32Array
) -> tuple[Float32Array, Float32Array] | None:
    """Return A and c with ``project(x) = x A + c``; None if there are none."""
    dim = queries_ND.shape[1]
    offset = np.asarray(to_numpy(project(np.zeros((1, dim), np.float32))), dtype=np.float32)[0]
    rows = np.asarray(to_numpy(project(np.eye(dim, dtype=np.float32))), dtype=np.float32)
    matrix = rows - offset
    error = np.abs(queries_ND @ matrix + offset - projected_ND).max(initial=0.0)
    tolerable = 1e-4 * max(float(np.abs(projected_ND).max(initial=0.0)), 1e-6)
    return (matrix, offset) if error <= tolerable else None


def exact_neighbours(
    queries_NE: Float32Array, items_LE: Float32Array, k: int, *, block_floats: int = 2**24
) -> tuple[Int64Array, Float32Array]:
    """Return ids and scores of the k items with the largest inner products, best first.

    Fewer than k items give fewer columns.
    """
    width = min(k, len(items_LE))
    with warnings.catch_warnings():  # about a file mapped read-only, which is only read here
        warnings.simplefilter("ignore", UserWarning)
        items = torch.from_numpy(np.ascontiguousarray(items_LE))
    step = max(1, block_floats // max(len(items_LE), 1))
    ids = np.empty((len(queries_NE), width), dtype=np.int64)
    scores = np.empty((len(queries_NE), width), dtype=np.float32)
    for start in range(0, len(queries_NE), step):
        block = torch.from_numpy(np.ascontiguousarray(queries_NE[start : start + step]))
        values, places = torch.topk(block @ items.T, width, dim=1)
        ids[start : start + step], scores[start : start + step] = places.numpy(), values.numpy()
    return ids, scores


def to_numpy(matrix: Any) -> Any:
    """Return a tensor as an array; arrays are returned as they are."""
    return matrix.detach().cpu().numpy() if isinstance(matrix, torch.Tensor) else matrix
