"""One-vs-all: every label classifier trained on every point, no shortlist.

The reference of the comparison: what the index's shortlist costs, or gains, in accuracy. Model
and training are the index's, less the index: ``p_l = sigmoid(w_l (x + P x) + b_l)``, binary
cross-entropy over all L labels, AdamW, linear warm-up and linear decay.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import scipy.sparse as sp
import torch

from learned_index.baselines.base import Baseline, as_float32, require_built
from learned_index.baselines.exact import ExactSearch
from learned_index.baselines.knn import training_labels
from learned_index.errors import InputError
from learned_index.types import DenseMatrix, Float32Array, SearchResult

logger = logging.getLogger(__name__)

Projection: TypeAlias = Literal["none", "residual"]


class OneVsAll(Baseline):
    """All labels trained with binary cross-entropy on dense batch x L products.

    The gradients are written out by hand into three buffers that every step uses again (scores
    B x L, gradient L x D, one for the batch), so a step is three matrix products, one pass of the
    sigmoid and one of AdamW.

    Args:
        epochs: Passes over the training points.
        batch_size: Points per step.
        learning_rate: Peak rate of AdamW for classifiers and biases.
        projection_learning_rate: Peak rate for P.
        weight_decay: Decoupled decay of W and P; biases are not decayed.
        warmup: Share of the steps in which the rate rises linearly; it falls linearly to 0 after.
        projection: ``"residual"`` learns ``x + P x`` with P zero at the start, ``"none"`` does not.
        centroid_scale: Norm of the warm start ``w_l``, the label's centroid; 0 starts at zero.
        initial_bias: Bias of every label at the start.
        seed: Seed of the shuffling; there is no other randomness.
        name: The method as the user wrote it.
    """

    method = "ova"
    inputs = "training"

    def __init__(
        self,
        *,
        epochs: int = 14,
        batch_size: int = 256,
        learning_rate: float = 0.03,
        projection_learning_rate: float = 0.001,
        weight_decay: float = 0.0,
        warmup: float = 0.1,
        projection: Projection = "residual",
        centroid_scale: float = 10.0,
        initial_bias: float = -8.0,
        seed: int = 0,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        if epochs < 1 or batch_size < 1 or not 0 <= warmup <= 1:
            raise InputError(
                f"expected epochs and batch_size of at least 1 and warmup in [0, 1], got {epochs}, "
                f"{batch_size} and {warmup}"
            )
        if projection not in ("none", "residual"):
            raise InputError(f"projection must be 'none' or 'residual', got {projection!r}")
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.projection_learning_rate = projection_learning_rate
        self.weight_decay = weight_decay
        self.warmup = warmup
        self.projection = projection
        self.centroid_scale = centroid_scale
        self.initial_bias = initial_bias
        self.seed = seed
        self._weights_LD: torch.Tensor | None = None
        self._bias_L: torch.Tensor | None = None
        self._projection_DD: torch.Tensor | None = None
        self._scorer: ExactSearch | None = None

    def build(self, embeddings_ND: DenseMatrix, labels_NL: sp.csr_matrix) -> None:
        """Train on embeddings (memory-mapped ones are read batch by batch) and their labels.

        Raises:
            InputError: Shapes do not fit, or a batch holds NaN or infinity.
        """
        if getattr(embeddings_ND, "ndim", 0) != 2 or len(embeddings_ND) == 0:
            shape = getattr(embeddings_ND, "shape", None)
            raise InputError(f"embeddings must be a non-empty N x D matrix, got {shape}")
        n_points, dim = embeddings_ND.shape
        labels = training_labels(labels_NL, n_points=n_points)
        n_labels = labels.shape[1]
        self._weights_LD = torch.from_numpy(
            _label_centroids(embeddings_ND, labels, scale=self.centroid_scale)
        )
        self._bias_L = torch.full((n_labels,), float(self.initial_bias))
        self._projection_DD = torch.zeros(dim, dim) if self.projection == "residual" else None
        self._train(embeddings_ND, labels)
        self._scorer = ExactSearch(name=self.name)
        self._scorer.build(torch.cat([self._weights_LD, self._bias_L[:, None]], dim=1))
        self._weights_LD = self._bias_L = None  # the scorer holds them now

    fit = build

    def search(self, queries: DenseMatrix, k: int, **query_arguments: Any) -> SearchResult:
        """Return the k labels of largest score ``w_l (x + P x) + b_l``, all labels scored."""
        require_built(self._scorer, self.name)
        assert self._scorer is not None
        queries_BD = as_float32(queries, what="queries", dim=self._scorer_dim())
        items_BE = np.ones((len(queries_BD), queries_BD.shape[1] + 1), dtype=np.float32)
        items_BE[:, :-1] = queries_BD
        if self._projection_DD is not None:
            items_BE[:, :-1] += queries_BD @ self._projection_DD.numpy().T
        return self._scorer.search(items_BE, k, **query_arguments)

    def query_grid(self) -> Sequence[dict[str, Any]]:
        """Return one setting: there is nothing to set."""
        return [{}]

    def disk_bytes(self) -> int:
        """Return the bytes of W, b and P in float32."""
        require_built(self._scorer, self.name)
        assert self._scorer is not None
        projection = self._projection_DD
        return self._scorer.disk_bytes() + (0 if projection is None else 4 * projection.numel())

    def _scorer_dim(self) -> int:
        assert self._scorer is not None and self._scorer._items_LE is not None
        return int(self._scorer._items_LE.shape[1]) - 1

    def _train(self, embeddings_ND: DenseMatrix, labels: sp.csr_matrix) -> None:
        assert self._weights_LD is not None and self._bias_L is not None
        n_points = labels.shape[0]
        optimiser, schedule, n_steps = self._optimiser(-(-n_points // self.batch_size))
        generator = np.random.default_rng(self.seed)
        step = _Step(self._weights_LD, self._bias_L, self._projection_DD, self.batch_size)
        done = 0
        loss = float("nan")
        for epoch in range(self.epochs):
            order_N = generator.permutation(n_points)
            for start in range(0, n_points, self.batch_size):
                # Sorted rows make reads from a memory-mapped file sequential.
                rows_B = np.sort(order_N[start : start + self.batch_size])
                x_BD = as_float32(embeddings_ND[rows_B], what="embeddings")
                wanted = done % 20 == 0
                value = step.gradients(torch.from_numpy(x_BD), labels[rows_B], with_loss=wanted)
                loss = value if value is not None else loss
                optimiser.step()
                schedule.step()
                done += 1
                if self.progress is not None:
                    text = f"epoch {epoch + 1} of {self.epochs}, loss {loss:.2f}"
                    self.progress(done / n_steps, text)
            logger.debug("one-vs-all epoch %d of %d: loss %.4f", epoch + 1, self.epochs, loss)

    def _optimiser(
        self, steps_per_epoch: int
    ) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR, int]:
        groups: list[dict[str, Any]] = [
            {"params": [self._weights_LD], "weight_decay": self.weight_decay},
            {"params": [self._bias_L], "weight_decay": 0.0},
        ]
        if self._projection_DD is not None:
            groups.append(
                {
                    "params": [self._projection_DD],
                    "weight_decay": self.weight_decay,
                    "lr": self.projection_learning_rate,
                }
            )
        optimiser = torch.optim.AdamW(groups, lr=self.learning_rate, fused=True)
        n_steps = steps_per_epoch * self.epochs
        rising = max(1, round(self.warmup * n_steps))
        falling = max(1, n_steps - rising)

        def factor(step: int) -> float:
            return min((step + 1) / rising, max(0.0, (n_steps - step) / falling))

        return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, factor), n_steps


class _Step:
    """Forward and backward pass of one batch, in buffers that are used again."""

    def __init__(
        self,
        weights_LD: torch.Tensor,
        bias_L: torch.Tensor,
        projection_DD: torch.Tensor | None,
        batch_size: int,
    ) -> None:
        self.weights_LD, self.bias_L, self.projection_DD = weights_LD, bias_L, projection_DD
        n_labels = len(weights_LD)
        self.scores_BL = torch.empty(batch_size, n_labels)
        self.weights_LD.grad = torch.empty_like(weights_LD)
        self.bias_L.grad = torch.empty_like(bias_L)
        if projection_DD is not None:
            projection_DD.grad = torch.empty_like(projection_DD)

    def gradients(
        self, x_BD: torch.Tensor, labels_BL: sp.csr_matrix, *, with_loss: bool
    ) -> float | None:
        """Write the gradients of the mean loss into the parameters' ``grad``."""
        n_rows = len(x_BD)
        h_BD = x_BD
        if self.projection_DD is not None:
            h_BD = torch.addmm(x_BD, x_BD, self.projection_DD.T)
        scores_BL = self.scores_BL[:n_rows]
        torch.addmm(self.bias_L, h_BD, self.weights_LD.T, out=scores_BL)
        rows_T = torch.from_numpy(np.repeat(np.arange(n_rows), np.diff(labels_BL.indptr)))
        columns_T = torch.from_numpy(labels_BL.indices.astype(np.int64))
        loss = None
        if with_loss:
            positive = scores_BL[rows_T, columns_T].sum()
            # Row by row: softplus of all at once would need a second B x L buffer.
            negative = sum(float(torch.nn.functional.softplus(row).sum()) for row in scores_BL)
            loss = (negative - float(positive)) / n_rows
        scores_BL.sigmoid_()
        scores_BL[rows_T, columns_T] -= 1.0
        scores_BL.mul_(1.0 / n_rows)
        assert self.weights_LD.grad is not None and self.bias_L.grad is not None
        torch.mm(scores_BL.T, h_BD, out=self.weights_LD.grad)
        torch.sum(scores_BL, dim=0, out=self.bias_L.grad)
        if self.projection_DD is not None:
            assert self.projection_DD.grad is not None
            gradient_BD = torch.mm(scores_BL, self.weights_LD)
            torch.mm(gradient_BD.T, x_BD, out=self.projection_DD.grad)
        return loss


def _label_centroids(
    embeddings_ND: DenseMatrix, labels: sp.csr_matrix, *, scale: float
) -> Float32Array:
    """Return ``scale`` times the normalised sum of each label's points, zero without points."""
    n_points, dim = embeddings_ND.shape
    sums_LD = np.zeros((labels.shape[1], dim), dtype=np.float32)
    if scale == 0:
        return sums_LD
    step = max(1, 2**22 // dim)
    for start in range(0, n_points, step):
        block_BD = as_float32(embeddings_ND[start : start + step], what="embeddings")
        sums_LD += labels[start : start + step].T @ block_BD
    norms_L1 = np.sqrt(np.einsum("ld,ld->l", sums_LD, sums_LD))[:, None]
    return np.asarray(sums_LD * (np.float32(scale) / np.maximum(norms_L1, np.float32(1e-12))))
