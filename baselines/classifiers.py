"""What the methods share that train label classifiers of their own: budget, projection, size.

Model and budget are the index's, less the index: ``p_l = sigmoid(w_l (x + P x) + b_l)``, binary
cross-entropy, AdamW, linear warm-up and linear decay. So methods differ in which labels a training
point is scored against, and in how a query finds the labels it is scored against.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import numpy as np

from learned_index.baselines.vectors import DenseMethod
from learned_index.comparison.method import Inputs
from learned_index.config import parameter, seed_parameter
from learned_index.errors import InputError
from learned_index.inputs.vectors import as_float32_rows, as_vectors
from learned_index.types import Float32Array


class TrainedClassifiers(DenseMethod):
    """Label classifiers over frozen vectors, with an input projection; ``_index`` finds labels.

    Attributes:
        inputs: Embeddings and labels of the training points.
    """

    inputs: ClassVar[Inputs] = "training"

    epochs: int = parameter(14, "passes over the training points")
    batch_size: int = parameter(256, "points per step")
    learning_rate: float = parameter(0.02, "peak rate of classifiers and biases", low=0.0)
    projection_learning_rate: float = parameter(0.001, "peak rate of P", low=0.0)
    weight_decay: float = parameter(0.0, "decoupled decay of W and P", low=0.0)
    warmup: float = parameter(0.1, "share of the steps in which the rate rises", low=0.0, high=1.0)
    projection: Literal["none", "residual"] = parameter(
        "residual", "x + P x with P zero at the start, or x"
    )
    # A label starts as its own nearest-centroid classifier; 10 is the index's label_init_scale.
    centroid_scale: float = parameter(10.0, "norm of the warm start of w_l; 0: at zero", low=0.0)
    initial_bias: float | None = parameter(
        None, "bias of every label at the start; default: log of (labels per point / L)"
    )
    dropout: float = parameter(0.0, "part of the input set to zero", low=0.0, below=1.0)
    averaging_fraction: float = parameter(
        0.0, "last part of the steps whose weights are averaged; 0 is off", low=0.0, high=1.0
    )
    seed: int = seed_parameter("of shuffling, dropout and what else is drawn")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._projection_DD: Float32Array | None = None

    def starting_bias(self, labels: Any) -> float:
        """Return the bias before the first step.

        Args:
            labels: Canonical CSR N x L; points without labels do not count.
        """
        if self.initial_bias is not None:
            return self.initial_bias
        labelled = max(1, int(np.count_nonzero(np.diff(labels.indptr))))
        return float(np.log(max(1, labels.nnz) / (labelled * labels.shape[1])))

    def projected(self, rows: Float32Array) -> Float32Array:
        """Return ``[x + P x, 1]``, float32 B x (D + 1): what ``[w_l, b_l]`` is applied to."""
        items_BE = np.ones((len(rows), rows.shape[1] + 1), dtype=np.float32)
        items_BE[:, :-1] = rows
        if self._projection_DD is not None:
            items_BE[:, :-1] += rows @ self._projection_DD.T
        return items_BE

    def disk_bytes(self) -> int:
        """Return the bytes of what finds the labels, and of P in float32."""
        self.require_built()
        projection = self._projection_DD
        return int(self._index.disk_bytes()) + (0 if projection is None else projection.nbytes)


def training_vectors(embeddings: Any) -> Any:
    """Return the training embeddings N x D; memory-mapped ones stay on disk.

    Raises:
        InputError: No points.
    """
    embeddings_ND = as_vectors(embeddings)
    if len(embeddings_ND) == 0:
        raise InputError(f"embeddings must be a non-empty N x D matrix, got {embeddings_ND.shape}")
    return embeddings_ND


def blocks_of(vectors_ND: Any) -> Iterator[tuple[slice, Float32Array]]:
    """Rows of a matrix that may lie on disk, checked, a few million numbers at a time."""
    step = max(1, 2**22 // vectors_ND.shape[1])
    for start in range(0, len(vectors_ND), step):
        rows = slice(start, start + step)
        yield rows, as_float32_rows(vectors_ND[rows], first_row=start)
