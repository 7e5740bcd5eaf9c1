"""One-vs-all: every label classifier trained on every point, no shortlist.

The reference of the comparison: what the index's shortlist costs, or gains, in accuracy. Model
and training are the index's, less the index: ``p_l = sigmoid(w_l (x + P x) + b_l)``, binary
cross-entropy over all L labels, AdamW, linear warm-up and linear decay. On frozen vectors
(:meth:`OneVsAll.build`), or with the encoder trained along (:meth:`OneVsAll.fit_end_to_end`, the
paper's brute-force bound).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import scipy.sparse as sp
import torch

from learned_index.baselines.base import Baseline, as_float32, require_built
from learned_index.baselines.exact import ExactSearch
from learned_index.baselines.knn import training_labels
from learned_index.baselines.ova_step import Step, check_memory, label_centroids
from learned_index.errors import InputError
from learned_index.inputs.numbers import real_number, whole_number
from learned_index.types import DenseMatrix, Float32Array, Int64Array, SearchResult

logger = logging.getLogger(__name__)

Projection: TypeAlias = Literal["none", "residual"]


class TrainablePoints(Protocol):
    """Points whose vectors come from an encoder in training.

    :class:`learned_index.training.sources.EncoderInputs` is one.

    Attributes:
        n_points: N.
        dim: D.
        device: Where the encoder is.
        encoder: The encoder.
    """

    n_points: int
    dim: int
    device: torch.device
    encoder: torch.nn.Module | None

    def batch(self, rows: Int64Array, *, seed: Sequence[int]) -> torch.Tensor:
        """Vectors of some points, float32 B x D, with gradients."""
        ...

    def vectors(self) -> Any:
        """Vectors of all points as they are now, N x D, without gradients."""
        ...


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
        dropout: Part of the input's elements set to zero while training.
        memory_limit: Bytes that the training may take; None: most of what is free.
        seed: Seed of shuffling and dropout.
        name: The method as the user wrote it.

    Example:
        >>> from learned_index.encoders import BagOfWordsEncoder
        >>> from learned_index.training.optimisers import encoder_groups
        >>> from learned_index.training.sources import EncoderInputs
        >>> texts = ["a red fox", "a blue sky"] * 20
        >>> labels = sp.csr_matrix(np.tile(np.eye(2, dtype=np.float32), (20, 1)))
        >>> encoder = BagOfWordsEncoder(dim=2).fit(texts)
        >>> groups, _ = encoder_groups(encoder, learning_rate=None, weight_decay=0.0)
        >>> ova = OneVsAll(epochs=3)
        >>> ova.fit_end_to_end(EncoderInputs(encoder, texts), labels, encoder_groups=groups)
        >>> ova.search(encoder.encode(["fox", "sky"]), 1).ids[:, 0].tolist()
        [0, 1]
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
        dropout: float = 0.0,
        memory_limit: int | None = None,
        seed: int = 0,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        if projection not in ("none", "residual"):
            raise InputError(f"projection must be 'none' or 'residual', got {projection!r}")
        self.epochs = whole_number(epochs, "epochs")
        self.batch_size = whole_number(batch_size, "batch_size")
        self.learning_rate = real_number(learning_rate, "learning_rate", low=0.0)
        self.projection_learning_rate = projection_learning_rate
        self.weight_decay = weight_decay
        self.warmup = real_number(warmup, "warmup", low=0.0, high=1.0)
        self.projection = projection
        self.centroid_scale = centroid_scale
        self.initial_bias = initial_bias
        self.dropout = real_number(dropout, "dropout", low=0.0, below=1.0)
        self.memory_limit = memory_limit
        self.seed = whole_number(seed, "seed", low=0)
        self._weights_LD: torch.Tensor | None = None
        self._bias_L: torch.Tensor | None = None
        self._projection_DD: torch.Tensor | None = None
        self._scorer: ExactSearch | None = None

    def build(self, embeddings_ND: DenseMatrix, labels_NL: sp.csr_matrix) -> None:
        """Train on embeddings (memory-mapped ones are read batch by batch) and their labels.

        Raises:
            InputError: Shapes do not fit, a batch holds NaN or infinity, or it does not fit into
                the memory.
        """
        if getattr(embeddings_ND, "ndim", 0) != 2 or len(embeddings_ND) == 0:
            shape = getattr(embeddings_ND, "shape", None)
            raise InputError(f"embeddings must be a non-empty N x D matrix, got {shape}")
        n_points, dim = embeddings_ND.shape
        labels = training_labels(labels_NL, n_points=n_points)

        def batch(rows_B: Int64Array, _: int) -> torch.Tensor:
            return torch.from_numpy(as_float32(embeddings_ND[rows_B], what="embeddings"))

        device = torch.device("cpu")
        self._allocate(labels.shape[1], dim, device)
        self._start(_blocks(embeddings_ND), labels)
        self._train(batch, labels, [])
        self._finish()

    fit = build

    def fit_end_to_end(
        self,
        points: TrainablePoints,
        labels_NL: sp.csr_matrix,
        *,
        encoder_groups: Sequence[dict[str, Any]],
    ) -> None:
        """Train the classifiers and the encoder that makes the vectors, all labels scored.

        The encoder is trained in place; queries are its vectors afterwards. It runs where the
        encoder is.

        Args:
            points: The training points.
            labels_NL: Their labels, sparse N x L.
            encoder_groups: Parameter groups of the encoder for AdamW, with ``lr`` (peak rate) and
                ``weight_decay``.

        Raises:
            InputError: Shapes do not fit, an encoder with sparse gradients, or it does not fit
                into the memory.
        """
        labels = training_labels(labels_NL, n_points=points.n_points)

        def batch(rows_B: Int64Array, step: int) -> torch.Tensor:
            return points.batch(rows_B, seed=(self.seed, step))

        self._allocate(labels.shape[1], points.dim, points.device)
        self._start(_blocks(points.vectors()), labels)
        was_training = points.encoder is not None and points.encoder.training
        if points.encoder is not None:
            points.encoder.train()
        try:
            self._train(batch, labels, encoder_groups)
        finally:
            if points.encoder is not None:
                points.encoder.train(was_training)
        self._finish()

    def _allocate(self, n_labels: int, dim: int, device: torch.device) -> None:
        check_memory(n_labels, dim, self.batch_size, device=device, limit=self.memory_limit)
        self._weights_LD = torch.zeros(n_labels, dim, device=device)
        self._bias_L = torch.full((n_labels,), float(self.initial_bias), device=device)
        self._projection_DD = None
        if self.projection == "residual":
            self._projection_DD = torch.zeros(dim, dim, device=device)

    def _start(self, blocks: Iterator[tuple[slice, Float32Array]], labels: sp.csr_matrix) -> None:
        assert self._weights_LD is not None
        dim = self._weights_LD.shape[1]
        start_LD = label_centroids(blocks, labels, dim=dim, scale=self.centroid_scale)
        self._weights_LD.copy_(torch.from_numpy(start_LD))

    def _finish(self) -> None:
        assert self._weights_LD is not None and self._bias_L is not None
        self._scorer = ExactSearch(name=self.name)
        self._scorer.build(torch.cat([self._weights_LD, self._bias_L[:, None]], dim=1).cpu())
        self._weights_LD = self._bias_L = None  # the scorer holds them now
        if self._projection_DD is not None:
            self._projection_DD = self._projection_DD.detach().cpu()
            self._projection_DD.grad = None

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

    def _train(
        self,
        batch: Callable[[Int64Array, int], torch.Tensor],
        labels: sp.csr_matrix,
        encoder_groups: Sequence[dict[str, Any]],
    ) -> None:
        assert self._weights_LD is not None and self._bias_L is not None
        n_points = labels.shape[0]
        optimiser, schedule, n_steps = self._optimiser(
            -(-n_points // self.batch_size), encoder_groups
        )
        generator = np.random.default_rng(self.seed)
        drops = torch.Generator().manual_seed(self.seed)
        step = Step(self._weights_LD, self._bias_L, self._projection_DD, self.batch_size)
        done = 0
        loss = float("nan")
        for epoch in range(self.epochs):
            order_N = generator.permutation(n_points)
            for start in range(0, n_points, self.batch_size):
                # Sorted rows make reads from a memory-mapped file sequential.
                rows_B = np.sort(order_N[start : start + self.batch_size])
                x_BD = batch(rows_B, done)
                if self.dropout:
                    keep = 1.0 - self.dropout
                    mask = torch.empty(x_BD.shape).bernoulli_(keep, generator=drops)
                    x_BD = x_BD * (mask / keep).to(x_BD.device)
                for group in encoder_groups:
                    for parameter in group["params"]:
                        parameter.grad = None
                value = step.gradients(x_BD, labels[rows_B], with_loss=done % 20 == 0)
                loss = value if value is not None else loss
                if done == 0:
                    _check_dense(encoder_groups)
                optimiser.step()
                schedule.step()
                done += 1
                if self.progress is not None:
                    text = f"epoch {epoch + 1} of {self.epochs}, loss {loss:.2f}"
                    self.progress(done / n_steps, text)
            logger.debug("one-vs-all epoch %d of %d: loss %.4f", epoch + 1, self.epochs, loss)

    def _optimiser(
        self, steps_per_epoch: int, encoder_groups: Sequence[dict[str, Any]]
    ) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR, int]:
        groups: list[dict[str, Any]] = [
            *(dict(group) for group in encoder_groups),
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


def _blocks(vectors_ND: Any) -> Iterator[tuple[slice, Float32Array]]:
    """Rows of a matrix that may lie on disk, a few million numbers at a time."""
    step = max(1, 2**22 // vectors_ND.shape[1])
    for start in range(0, len(vectors_ND), step):
        rows = slice(start, start + step)
        yield rows, as_float32(vectors_ND[rows], what="embeddings")


def _check_dense(encoder_groups: Sequence[dict[str, Any]]) -> None:
    for group in encoder_groups:
        for parameter in group["params"]:
            if parameter.grad is not None and parameter.grad.is_sparse:
                raise InputError(
                    "the encoder has a table with sparse gradients, which AdamW cannot take; make "
                    "it with gradient='dense'"
                )
