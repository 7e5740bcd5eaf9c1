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

from learned_index.errors import InputError
from learned_index.evaluation.method import ClassifierModel
from learned_index.types import DenseMatrix, Float32Array, Int64Array


@dataclass(frozen=True)
class Workspace:
    """A folder of ``.npy`` files that every measuring process maps into its memory.

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

    def has(self, name: str) -> bool:
        """Tell whether there is an array of this name."""
        return self._path(name).exists()

    def save_labels(self, labels_NL: sp.csr_matrix) -> None:
        """Write the training labels."""
        sp.save_npz(self.folder / "train_labels.npz", labels_NL, compressed=False)

    def load_labels(self) -> sp.csr_matrix:
        """Read the training labels."""
        return sp.csr_matrix(sp.load_npz(self.folder / "train_labels.npz"))

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npy"


def prepare(
    workspace: Workspace,
    *,
    model: ClassifierModel,
    queries_ND: DenseMatrix,
    embeddings_ND: DenseMatrix | None,
    labels_NL: sp.csr_matrix | None,
) -> bool:
    """Write what the methods need: queries, items, projection, training data.

    The projection of the queries, ``x + P x`` in the index, is part of any search over its label
    classifiers, so it is timed with it. It is handed over as matrix and offset, so that no method
    has to hold the index in memory; a model whose projection is not affine has its queries
    projected beforehand.

    Returns:
        Whether the projection is part of the times that will be measured.
    """
    queries = np.ascontiguousarray(to_numpy(queries_ND), dtype=np.float32)
    workspace.save("queries", queries)
    if embeddings_ND is not None and labels_NL is not None:
        workspace.save("train_embeddings", np.asarray(to_numpy(embeddings_ND)))
        workspace.save_labels(labels_NL)
    weights_LD, bias_L = (
        np.asarray(to_numpy(part), dtype=np.float32) for part in model.label_classifiers()
    )
    if weights_LD.ndim != 2 or bias_L.shape != weights_LD.shape[:1]:
        raise InputError(
            f"label classifiers have shapes {weights_LD.shape} and {bias_L.shape}, expected L x D "
            "and L"
        )
    workspace.save("items", np.concatenate([weights_LD, bias_L[:, None]], axis=1))
    projected = np.asarray(to_numpy(model.project(queries)), dtype=np.float32)
    affine = affine_map(model.project, queries, projected)
    if affine is None:
        workspace.save("projected", projected)
        return False
    matrix_DD, offset_D = affine
    if not (np.array_equal(matrix_DD, np.eye(*matrix_DD.shape)) and not offset_D.any()):
        workspace.save("projection", matrix_DD)
        workspace.save("offset", offset_D)
    return True


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


def make_lift(workspace: Workspace) -> tuple[Callable[[Any], Float32Array], Float32Array]:
    """Return the map from queries to ``[project(q), 1]``, and the queries that it is given."""
    if workspace.has("projected"):
        source = np.array(workspace.load("projected"))
        matrix = offset = None
    else:
        source = np.array(workspace.load("queries"))
        linear = workspace.has("projection")
        matrix = np.array(workspace.load("projection")) if linear else None
        offset = np.array(workspace.load("offset")) if linear else None

    def lift(queries_BD: Float32Array) -> Float32Array:
        moved_BD = queries_BD if matrix is None else queries_BD @ matrix + offset
        lifted_BE = np.ones((len(moved_BD), moved_BD.shape[1] + 1), dtype=np.float32)
        lifted_BE[:, :-1] = moved_BD
        return lifted_BE

    return lift, source


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
