"""Label features and their balanced partition (paper, section 3.2; Parabel, Prabhu et al. 2018)."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp

from learned_index.errors import InputError
from learned_index.kernels.machine.dense import rows_dot
from learned_index.types import Float32Array, Int64Array

Block: TypeAlias = Any
"""Dense float32 array or CSR matrix with one row a label (scipy carries no types)."""


def label_centroids(
    labels_NL: sp.csr_matrix, embeddings_ND: Any, *, chunk_rows: int = 65536
) -> Float32Array:
    """Sum of the normalised embeddings of each label's points, normalised.

    Args:
        labels_NL: CSR, one row a point.
        embeddings_ND: N x D float array, may be memory-mapped; read in chunks.
        chunk_rows: Rows read at a time.

    Returns:
        float32 L x D with unit rows; the zero row where a label has no point.
    """
    total = np.zeros((labels_NL.shape[1], embeddings_ND.shape[1]), np.float32)
    for start in range(0, labels_NL.shape[0], chunk_rows):
        rows = np.asarray(embeddings_ND[start : start + chunk_rows], dtype=np.float32)
        total += labels_NL[start : start + chunk_rows].T @ unit_rows(rows)
    return unit_rows(total)


def unit_rows(rows: Float32Array) -> Float32Array:
    """Rows divided by their lengths; rows of zeros stay."""
    unit: Float32Array = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return unit


def cluster_directions(
    cluster_L: Int64Array, n_clusters: int, directions_LD: Float32Array
) -> Float32Array:
    """Unit vectors of the clusters, float32 C x D: the directions of what they hold, summed."""
    n_labels = len(cluster_L)
    members = sp.csr_matrix(
        (np.ones(n_labels, np.float32), (cluster_L, np.arange(n_labels))),
        shape=(n_clusters, n_labels),
    )
    return unit_rows(members @ directions_LD)


def sparse_label_centroids(
    labels_NL: sp.csr_matrix, features_NV: sp.csr_matrix, *, max_features: int = 256
) -> sp.csr_matrix:
    """Sum of the normalised sparse features of each label's points, normalised.

    Args:
        labels_NL: CSR, one row a point.
        features_NV: CSR, e.g. tf-idf.
        max_features: Largest entries kept per label; bounds the memory for frequent labels.

    Returns:
        CSR float32 L x V with unit rows.
    """
    normalised = _unit_sparse_rows(features_NV)
    by_label = labels_NL.T.tocsr()
    pieces = []
    for start in range(0, by_label.shape[0], 16384):
        pieces.append(_keep_largest(by_label[start : start + 16384] @ normalised, max_features))
    total = sp.vstack(pieces, format="csr").astype(np.float32)
    return _unit_sparse_rows(total)


def _unit_sparse_rows(matrix: sp.csr_matrix) -> sp.csr_matrix:
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    return (sp.diags((1.0 / np.maximum(lengths, 1e-12)).astype(np.float32)) @ matrix).tocsr()


def _keep_largest(matrix: sp.csr_matrix, n: int) -> sp.csr_matrix:
    matrix = matrix.tocsr()
    if matrix.shape[0] == 0 or int(np.diff(matrix.indptr).max()) <= n:
        return matrix
    keep = np.ones(matrix.nnz, bool)
    for row in np.flatnonzero(np.diff(matrix.indptr) > n):
        span = slice(matrix.indptr[row], matrix.indptr[row + 1])
        order = np.argsort(-matrix.data[span], kind="stable")
        keep[span][order[n:]] = False
    # A running count also holds for rows without entries (labels that no point has).
    indptr = np.concatenate([[0], np.cumsum(keep)])[matrix.indptr]
    return sp.csr_matrix((matrix.data[keep], matrix.indices[keep], indptr), shape=matrix.shape)


def _take(block: Block, mask: np.ndarray[Any, np.dtype[np.bool_]]) -> Block:
    """Rows of a block; of a sparse one without the columns that these rows do not use."""
    part = block[mask]
    if sp.issparse(part) and part.nnz < 4 * part.shape[1]:
        used, indices = np.unique(part.indices, return_inverse=True)
        part = sp.csr_matrix((part.data, indices, part.indptr), shape=(part.shape[0], len(used)))
    return part


def _scores(block: Block, direction: Float32Array) -> Float32Array:
    if sp.issparse(block):
        return np.asarray(block @ direction, dtype=np.float32)
    return rows_dot(block, direction)


def _sum_rows(block: Block, mask: np.ndarray[Any, np.dtype[np.bool_]]) -> Float32Array:
    if sp.issparse(block):
        return np.asarray(block.T @ mask.astype(np.float32), dtype=np.float32).ravel()
    return np.asarray(np.add.reduce(block[mask], axis=0, dtype=np.float32))


def _unit(parts: list[Float32Array]) -> list[Float32Array]:
    # No BLAS: its threads meet at every product, which takes longer than the product.
    squares = (float(np.add.reduce(np.square(p, dtype=np.float64))) for p in parts)
    norm = np.sqrt(sum(squares))
    return [p / np.float32(max(norm, 1e-12)) for p in parts]


def _split(
    blocks: list[Block], n_left: int, rng: np.random.Generator, max_iterations: int
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Balanced spherical 2-means: boolean mask of the ``n_left`` rows that go left."""
    n = blocks[0].shape[0]
    first, second = rng.choice(n, size=2, replace=False)
    pick = np.zeros(n, bool)
    left, right = pick.copy(), pick.copy()
    left[first], right[second] = True, True
    best = -np.inf
    mask = left
    for _ in range(max_iterations):
        centre_left = _unit([_sum_rows(block, left) for block in blocks])
        centre_right = _unit([_sum_rows(block, right) for block in blocks])
        gain = np.zeros(n, np.float32)
        for block, a, b in zip(blocks, centre_left, centre_right, strict=True):
            gain += _scores(block, a - b)
        # A stable order breaks ties by position, so equal rows split the same way every time.
        order = np.argsort(-gain, kind="stable")
        mask = np.zeros(n, bool)
        mask[order[:n_left]] = True
        objective = float(gain[mask].sum(dtype=np.float64) - gain[~mask].sum(dtype=np.float64)) / n
        if objective <= best + 1e-4 * abs(best):
            break
        best = objective
        left, right = mask, ~mask
    return mask


def balanced_partition(
    blocks: list[Block], n_clusters: int, *, seed: int = 0, max_iterations: int = 20
) -> Int64Array:
    """Cut labels into clusters of equal size by recursive balanced 2-means.

    Cluster sizes differ by one at most, for any ``n_clusters``. Neighbouring cluster numbers come
    from neighbouring branches of the recursion. The result depends on the seed alone, not on the
    thread count.

    Args:
        blocks: Feature blocks with L rows each, dense float32 (C order) or CSR, side by side;
            normalise each block's rows to weigh the blocks equally.
        n_clusters: C, at most L.
        seed: Seed of the initial centres.
        max_iterations: Iterations of one split at most.

    Returns:
        int64 L, the cluster of each label.

    Raises:
        InputError: ``n_clusters`` is not in 1..L.
    """
    n_labels = blocks[0].shape[0]
    if not 1 <= n_clusters <= n_labels:
        raise InputError(
            f"n_clusters is {n_clusters}, expected 1 to {n_labels} (the number of labels)"
        )
    cluster_L = np.zeros(n_labels, np.int64)
    edges = [n_labels * c // n_clusters for c in range(n_clusters + 1)]
    root = [b if sp.issparse(b) else np.ascontiguousarray(b, np.float32) for b in blocks]
    stack: list[tuple[Int64Array, list[Block], int, int]] = [
        (np.arange(n_labels), root, 0, n_clusters)
    ]
    while stack:
        rows, parts, low, high = stack.pop()
        if high - low == 1:
            cluster_L[rows] = low
            continue
        middle = (low + high) // 2
        rng = np.random.default_rng([seed, low, high])
        mask = _split(parts, edges[middle] - edges[low], rng, max_iterations)
        stack.append((rows[~mask], [_take(p, ~mask) for p in parts], middle, high))
        stack.append((rows[mask], [_take(p, mask) for p in parts], low, middle))
    return cluster_L
