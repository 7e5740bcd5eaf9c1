"""One-vs-all: every label classifier trained on every point, no shortlist.

The reference of the comparison: what the index's shortlist costs, or gains, in accuracy. Model
and training are the index's, less the index: ``p_l = sigmoid(w_l (x + P x) + b_l)``, binary
cross-entropy over all L labels, AdamW, linear warm-up and linear decay. On frozen vectors
(:meth:`OneVsAll.build`), or with the encoder trained along (:meth:`OneVsAll.fit_end_to_end`, the
paper's brute-force bound).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from learned_index.baselines.classifiers import TrainedClassifiers, blocks_of, training_vectors
from learned_index.baselines.exact import ExactSearch
from learned_index.baselines.ova_step import Step, check_memory, label_centroids
from learned_index.baselines.points import training_labels
from learned_index.baselines.registry import register
from learned_index.comparison.method import Ids
from learned_index.config import parameter
from learned_index.errors import InputError
from learned_index.inputs.vectors import as_float32_rows
from learned_index.system.extras import Deferred
from learned_index.types import DenseMatrix, Float32Array, Int64Array

torch: Any = Deferred("torch", extra="train")

logger = logging.getLogger(__name__)


@register("ova", summary="one-vs-all, trained here")
class OneVsAll(TrainedClassifiers):
    """All labels trained with binary cross-entropy on dense batch x L products.

    The gradients are written out by hand into three buffers that every step uses again (scores
    B x L, gradient L x D, one for the batch), so a step is three matrix products, one pass of the
    sigmoid and one of AdamW. Classifiers, biases and P have AdamW's rates apart; biases are not
    decayed.

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

    learning_rate: float = parameter(0.03, "peak rate of classifiers and biases", low=0.0)
    initial_bias: float | None = parameter(
        -8.0, "bias of every label at the start; none: log of (labels per point / L)"
    )
    memory_limit: int | None = parameter(
        None, "bytes that the training may take; most of what is free", high=2**62
    )

    def build(self, *data: Any) -> None:
        """Train on embeddings (memory-mapped ones are read batch by batch) and their labels.

        Raises:
            InputError: Shapes do not fit, a vector holds NaN or infinity, or it does not fit into
                the memory.
        """
        points = _FrozenPoints(training_vectors(data[0]))
        self.fit_end_to_end(points, data[1], encoder_groups=[])

    fit = build

    def fit_end_to_end(
        self,
        points: Any,
        labels_NL: sp.csr_matrix,
        *,
        encoder_groups: Sequence[dict[str, Any]],
    ) -> None:
        """Train the classifiers and the encoder that makes the vectors, all labels scored.

        The encoder is trained in place; queries are its vectors afterwards. It runs where the
        encoder is.

        Args:
            points: The training points: :class:`learned_index.training.sources.TrainingInputs`.
            labels_NL: Their labels, sparse N x L.
            encoder_groups: Parameter groups of the encoder for AdamW, with ``lr`` (peak rate) and
                ``weight_decay``.

        Raises:
            InputError: Shapes do not fit, an encoder with sparse gradients, or it does not fit
                into the memory.
        """
        labels = training_labels(labels_NL, n_points=points.n_points)
        step = self._start(points, labels)
        encoder = points.encoder
        was_training = encoder is not None and encoder.training
        if encoder is not None:
            encoder.train()
        try:
            self._train(step, points, labels, encoder_groups)
        finally:
            if encoder is not None:
                encoder.train(was_training)
        items_LE = torch.cat([step.weights_LD, step.bias_L[:, None]], dim=1)
        self._items_LE: Float32Array = items_LE.cpu().numpy()
        self._dim = points.dim
        self._index = ExactSearch(name=self.name)
        self._index.build(self._items_LE)
        matrix_DD = step.projection_DD
        self._projection_DD = None if matrix_DD is None else matrix_DD.detach().cpu().numpy()

    def _start(self, points: Any, labels: sp.csr_matrix) -> Step:
        """Return the parameters before the first step, in the memory that a step needs."""
        n_labels, dim, device = labels.shape[1], points.dim, points.device
        check_memory(n_labels, dim, self.batch_size, device=device, limit=self.memory_limit)
        blocks = blocks_of(points.vectors())
        start_LD = label_centroids(blocks, labels, dim=dim, scale=self.centroid_scale)
        weights_LD = torch.from_numpy(start_LD).to(device)
        bias_L = torch.full((n_labels,), self.starting_bias(labels), device=device)
        projection_DD = None
        if self.projection == "residual":
            projection_DD = torch.zeros(dim, dim, device=device)
        return Step(weights_LD, bias_L, projection_DD, self.batch_size)

    def label_classifiers(self) -> tuple[Float32Array, Float32Array]:
        """Return the weights L x D and the biases L of all labels, float32."""
        self.require_built()
        return self._items_LE[:, :-1], self._items_LE[:, -1]

    def project(self, queries: DenseMatrix) -> Float32Array:
        """Return the vectors x + P x, B x D, that the label classifiers are applied to."""
        self.require_built()
        return self.projected(self.checked_queries(queries))[:, :-1]

    def _answer(self, rows: Any, k: int, arguments: dict[str, Any]) -> tuple[Ids, Any]:
        return self._index.search(self.projected(rows), k)  # type: ignore[no-any-return]

    def _train(
        self,
        step: Step,
        points: Any,
        labels: sp.csr_matrix,
        encoder_groups: Sequence[dict[str, Any]],
    ) -> None:
        from learned_index.training.schedule import WeightAverage, averages_at

        batches = -(-points.n_points // self.batch_size)
        n_steps = batches * self.epochs
        optimiser, schedule = self._optimiser(step, n_steps, encoder_groups)
        encoder_parameters = [p for group in encoder_groups for p in group["params"]]
        drops = torch.Generator().manual_seed(self.seed)
        averaged = WeightAverage([*step.parameters, *encoder_parameters])
        loss = float("nan")
        for done, rows_B in enumerate(self._batches(points.n_points)):
            x_BD = points.batch(rows_B, seed=(self.seed, done))
            if self.dropout:
                keep = 1.0 - self.dropout
                mask = torch.empty(x_BD.shape).bernoulli_(keep, generator=drops)
                x_BD = x_BD * (mask / keep).to(x_BD.device)
            for part in encoder_parameters:
                part.grad = None
            # The loss costs a pass over all scores; the gradients do not need it.
            value = step.gradients(x_BD, labels[rows_B], with_loss=done % 20 == 0)
            loss = value if value is not None else loss
            if any(p.grad is not None and p.grad.is_sparse for p in encoder_parameters):
                raise InputError(
                    "the encoder has a table with sparse gradients, which AdamW cannot take; make "
                    "it with gradient='dense'"
                )
            optimiser.step()
            schedule.step()
            if averages_at(done + 1, n_steps, self.averaging_fraction):
                averaged.update()
            if self.progress is not None:
                text = f"epoch {done // batches + 1} of {self.epochs}, loss {loss:.2f}"
                self.progress(done + 1, n_steps, text)
        averaged.apply()
        logger.debug("one-vs-all: %d epochs, loss %.4f", self.epochs, loss)

    def _batches(self, n_points: int) -> Iterator[Int64Array]:
        """Rows of the batches of all epochs."""
        generator = np.random.default_rng(self.seed)
        for _ in range(self.epochs):
            order_N = generator.permutation(n_points)
            for start in range(0, n_points, self.batch_size):
                # Sorted rows make reads from a memory-mapped file sequential.
                yield np.sort(order_N[start : start + self.batch_size])

    def _optimiser(
        self, step: Step, n_steps: int, encoder_groups: Sequence[dict[str, Any]]
    ) -> tuple[Any, Any]:
        groups: list[dict[str, Any]] = [
            *(dict(group) for group in encoder_groups),
            {"params": [step.weights_LD], "weight_decay": self.weight_decay},
            {"params": [step.bias_L], "weight_decay": 0.0},
        ]
        if step.projection_DD is not None:
            decayed = {"params": [step.projection_DD], "weight_decay": self.weight_decay}
            groups.append({**decayed, "lr": self.projection_learning_rate})
        optimiser = torch.optim.AdamW(groups, lr=self.learning_rate, fused=True)
        rising = max(1, round(self.warmup * n_steps))
        falling = max(1, n_steps - rising)

        def factor(done: int) -> float:
            return min((done + 1) / rising, max(0.0, (n_steps - done) / falling))

        return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, factor)


class _FrozenPoints:
    """Vectors that stay as they are, as the points of a training."""

    encoder = None

    def __init__(self, vectors_ND: Any) -> None:
        self._vectors_ND = vectors_ND
        self.n_points, self.dim = vectors_ND.shape
        self.device = torch.device("cpu")

    def batch(self, rows_B: Int64Array, *, seed: Sequence[int]) -> Any:
        return torch.from_numpy(as_float32_rows(self._vectors_ND[rows_B]))

    def vectors(self) -> Any:
        return self._vectors_ND
