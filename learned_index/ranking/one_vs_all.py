"""Linear classifiers of all labels, each trained on all points: DiSMEC's problem, solved here.

The ranker solves the same problem on the hard points of each label alone
(:class:`~learned_index.ranking.sparse_ranker.SparseRanker`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from learned_index.errors import InputError
from learned_index.inputs.matrices import canonical_features, canonical_labels, kernel_arrays
from learned_index.inputs.vectors import as_float32_rows, as_vectors
from learned_index.kernels.machine.parallel import collect_ranges, split_evenly
from learned_index.ranking.dual_descent import train_one_vs_all
from learned_index.system.progress import Progress
from learned_index.system.threads import current_threads
from learned_index.types import DenseMatrix, Float32Array

_LABELS_AT_A_TIME = 64
"""Labels in a piece of work: enough that threads end together and the progress moves."""


class LinearClassifiers(NamedTuple):
    """One linear classifier for each label; the margin is ``x_V . w_V + x_D . w_D + b``.

    Attributes:
        weight_LV: CSR float32, L x V; weights of sparse features, those below the threshold gone.
        weight_LD: float32, L x D; those of dense features.
        bias_L: float32.
    """

    weight_LV: sp.csr_matrix
    weight_LD: Float32Array
    bias_L: Float32Array


def train_all_points(
    sparse_NV: sp.csr_matrix,
    dense_ND: DenseMatrix,
    labels_NL: sp.csr_matrix,
    *,
    cost: float = 1.0,
    threshold: float = 0.01,
    max_iterations: int = 10,
    tolerance: float = 0.1,
    seed: int = 0,
    progress: Progress | None = None,
) -> LinearClassifiers:
    """Train a classifier for each label with all points that lack the label as negatives.

    The problem of DiSMEC (Babbar & Schölkopf, WSDM 2017, equation 1): L2-regularised squared hinge,
    weights below a threshold dropped afterwards. It is convex: ``seed`` only orders the
    coordinates. What a label gets does not depend on the number of threads.

    Args:
        sparse_NV: CSR float32, N x V.
        dense_ND: N x D; N x 0 without dense features.
        labels_NL: The points' labels, N x L.
        cost: C of violations of the margin.
        threshold: Weights below it become 0 (DiSMEC's Δ); biases stay.
        max_iterations: Passes over the points of a label at most.
        tolerance: Largest violation of optimality at which a label is done.
        seed: Order of the coordinates.
        progress: Told labels done and all.

    Raises:
        InputError: Shapes that do not fit, NaN or infinity.
    """
    x_NV = canonical_features(sparse_NV, what="the sparse features", copy=False)
    dense = np.zeros((x_NV.shape[0], 0), np.float32)
    if np.shape(dense_ND)[1]:
        dense = as_float32_rows(as_vectors(dense_ND, name="dense features"), name="dense features")
    by_label = canonical_labels(labels_NL).tocsc()
    if not x_NV.shape[0] == dense.shape[0] == by_label.shape[0]:
        raise InputError(
            f"got {x_NV.shape[0]} rows of sparse features, {dense.shape[0]} of dense ones and "
            f"{by_label.shape[0]} of labels; expected as many"
        )
    n_labels, n_features = by_label.shape[1], int(x_NV.shape[1])
    x, (label_indptr, label_points, _) = kernel_arrays(x_NV), kernel_arrays(by_label)
    squares = np.asarray(x_NV.multiply(x_NV).sum(axis=1), np.float64).ravel()
    norms_N = (squares + np.einsum("nd,nd->n", dense, dense) + 1.0).astype(np.float32)
    sum_V = np.asarray(x_NV.sum(axis=0, dtype=np.float64)).ravel()
    sum_D = dense.sum(axis=0, dtype=np.float64)
    # The best common dual variable of n negatives: n / (|sum of [x, 1]|^2 + n / 2C).
    n_points = len(norms_N)
    squared = float(sum_V @ sum_V + sum_D @ sum_D) + n_points**2
    negative = n_points / max(squared + n_points / (2.0 * cost), 1e-12)
    weight_LD = np.zeros((n_labels, dense.shape[1]), np.float32)
    bias_L, counts_L = np.zeros(n_labels, np.float32), np.zeros(n_labels, np.int64)
    parts = max(4 * current_threads(), n_labels // _LABELS_AT_A_TIME)

    def train(start: int, stop: int) -> Any:
        return train_one_vs_all(
            start, stop, label_indptr, label_points, *x, dense, norms_N,
            np.full(2, cost, np.float32),
            max_iterations, np.float32(tolerance), seed, np.float32(threshold),
            sum_V.astype(np.float32), sum_D.astype(np.float32), np.float32(negative),
            weight_LD, bias_L, counts_L,
        )  # fmt: skip

    results = collect_ranges(split_evenly(n_labels, parts), train, progress)
    features, values = (np.concatenate(arrays) for arrays in zip(*results, strict=True))
    offsets = np.concatenate([[0], np.cumsum(counts_L)])
    weight_LV = sp.csr_matrix((values, features, offsets), shape=(n_labels, n_features))
    return LinearClassifiers(weight_LV, weight_LD, bias_L)
