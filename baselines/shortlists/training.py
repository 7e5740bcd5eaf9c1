"""The training of label classifiers on given labels of each point: positives and negatives.

The loop, the kernels and the optimisers are the index's; what is missing is its forward pass to a
shortlist. Legend: see :mod:`learned_index.types`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import scipy.sparse as sp
import torch
from torch import nn

from learned_index.baselines.classifiers import blocks_of
from learned_index.baselines.ova_step import label_centroids
from learned_index.inputs.positives import padded_positives
from learned_index.kernels.classify import score_labels
from learned_index.kernels.losses import both_losses
from learned_index.kernels.update import RowAdamW, RowGradients
from learned_index.metrics import hit_matrix
from learned_index.system.progress import Progress
from learned_index.training.batches import dropout_mask
from learned_index.training.loop import Stage, StagePlan
from learned_index.training.optimisers import LabelClassifiers, Optimisers, group_of
from learned_index.training.sources import FrozenVectors
from learned_index.types import Int64Array

if TYPE_CHECKING:
    from learned_index.baselines.classifiers import TrainedClassifiers
    from learned_index.training.events import TrainingEvent

Negatives: TypeAlias = Callable[[Int64Array], Int64Array]
"""From the rows of a batch to label ids B x K, -1 at pads, none twice in a row; the rows' own
labels may be among them."""
Regulariser: TypeAlias = Callable[[torch.Tensor, Int64Array, RowGradients], float]
"""From all classifiers L x D, and the labels of a batch, none twice, to a term of the loss, whose
gradient it adds to what is collected."""


class ShortlistTraining:
    """Trains ``p_l = sigmoid(w_l (x + P x) + b_l)`` on the positives and on given negatives.

    Args:
        method: Its budget.
        vectors_ND: Training points.
        labels_NL: Canonical CSR; points without labels are skipped.
        negatives: Labels that a batch's points are scored against.
        regulariser: Another term of the loss, or None.
    """

    def __init__(
        self,
        method: TrainedClassifiers,
        vectors_ND: Any,
        labels_NL: sp.csr_matrix,
        *,
        negatives: Negatives,
        regulariser: Regulariser | None = None,
    ) -> None:
        self._method, self._labels_NL = method, labels_NL
        self._negatives, self._regulariser = negatives, regulariser
        self._inputs = FrozenVectors(vectors_ND)
        dim, n_labels = self._inputs.dim, labels_NL.shape[1]
        start_LD = label_centroids(
            blocks_of(vectors_ND), labels_NL, dim=dim, scale=method.centroid_scale
        )
        self.weight_LD = nn.Parameter(torch.from_numpy(start_LD))
        self.bias_L = nn.Parameter(torch.full((n_labels,), method.starting_bias(labels_NL)))
        self.projection_DD: nn.Parameter | None = None
        if method.projection == "residual":
            self.projection_DD = nn.Parameter(torch.zeros(dim, dim))
        self._drops = torch.Generator().manual_seed(method.seed)

    @property
    def _parameters(self) -> list[nn.Parameter]:
        parts = (self.weight_LD, self.bias_L, self.projection_DD)
        return [part for part in parts if part is not None]

    def run(self) -> None:
        """Train to the end."""
        method = self._method
        plan = StagePlan(
            name=method.name,
            epochs=method.epochs,
            batch_size=method.batch_size,
            warmup_fraction=method.warmup,
            averaging_fraction=method.averaging_fraction,
            seed=(method.seed,),
        )
        rows = np.flatnonzero(np.diff(self._labels_NL.indptr)).astype(np.int64)
        Stage(
            plan,
            self,
            rows=rows,
            optimisers=self._optimisers(),
            averaged=list(self._parameters),
            progress=_told(method.progress),
        ).run()

    def _optimisers(self) -> Optimisers:
        method = self._method
        projections = [] if self.projection_DD is None else [self.projection_DD]
        rate, decay = method.projection_learning_rate, method.weight_decay
        rows = RowAdamW(
            *self.weight_LD.shape, learning_rate=method.learning_rate, weight_decay=decay
        )
        return Optimisers(
            [group_of(projections, rate, decay)],
            labels=LabelClassifiers(
                self.weight_LD,
                self.bias_L,
                rows,
                peak=method.learning_rate,
                collected=self._regulariser is not None,
            ),
        )

    def loss(self, stage: Stage, rows: Int64Array) -> torch.Tensor:
        """Mean binary cross-entropy of a batch over the labels that its points are scored against.

        It is equation 7 of the index with all path scores 1.
        """
        x_BD = self._inputs.batch(rows, seed=())
        if self._method.dropout:
            x_BD = x_BD * dropout_mask(len(rows), x_BD.shape[1], self._method.dropout, self._drops)
        if self.projection_DD is not None:
            x_BD = x_BD + x_BD @ self.projection_DD.T
        ids_BK, n_positives_B = labels_to_score(self._labels_NL, rows, self._negatives(rows))
        optimiser = stage.optimisers.row_optimiser
        logits_BK = score_labels(x_BD, self.weight_LD, self.bias_L, ids_BK, optimiser=optimiser)
        valid_B = (ids_BK >= 0).sum(dim=1)
        loss, _ = both_losses(logits_BK, torch.ones_like(logits_BK), n_positives_B, valid_B)
        if self._regulariser is not None:
            assert isinstance(optimiser, RowGradients)
            labels_U = np.unique(self._labels_NL[rows].indices).astype(np.int64)
            loss = loss + self._regulariser(self.weight_LD.detach(), labels_U, optimiser)
        return loss

    def validate(self) -> dict[str, float]:
        """Nothing is measured meanwhile."""
        return {}

    def stop_asked(self) -> bool:
        """Nobody asks."""
        return False

    def pause(self, stage: Stage, *, epoch_ended: bool, stop: bool) -> None:
        """No state is saved."""


def labels_to_score(
    labels_NL: sp.csr_matrix, rows: Int64Array, negatives_BK: Int64Array
) -> tuple[torch.Tensor, torch.Tensor]:
    """Put the positives of a batch before its negatives.

    Args:
        labels_NL: Canonical CSR.
        rows: The batch's points.
        negatives_BK: As :data:`Negatives` returns them.

    Returns:
        int64 B x (P + K) label ids, positives first, pads (-1) last; int64 B, how many positives.
    """
    truth = labels_NL[rows]
    negatives_BK = np.where(hit_matrix(negatives_BK, truth), -1, negatives_BK)
    positives_BP = padded_positives(labels_NL, rows).numpy()
    ids = np.concatenate([positives_BP, negatives_BK], axis=1)
    order = np.argsort(ids < 0, axis=1, kind="stable")
    counts_B = np.diff(truth.indptr).astype(np.int64)
    packed = np.ascontiguousarray(np.take_along_axis(ids, order, axis=1))
    return torch.from_numpy(packed), torch.from_numpy(counts_B)


def _told(progress: Progress | None) -> Callable[[TrainingEvent], None] | None:
    if progress is None:
        return None
    return lambda event: progress(
        event.step,
        event.n_steps,
        f"epoch {event.epoch} of {event.n_epochs}"
        + (f", loss {event.loss:.2f}" if event.loss else ""),
    )
