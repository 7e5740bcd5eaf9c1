"""A training in stage 2, ready to make steps: on synthetic points or on a data folder's vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from learned_index import IndexConfig, LearnedGraphIndex, TrainingConfig
from learned_index.index.course import IndexTraining
from learned_index.index.points import TrainingPoints
from learned_index.training.loop import Stage, StagePlan
from learned_index.training.optimisers import Optimisers
from learned_index.training.processes import Processes
from learned_index.training.sources import FrozenVectors
from learned_index.types import Int64Array


class StageTwo:
    """An index at the start of stage 2, and everything that its steps need.

    Args:
        vectors_ND: float32 training vectors.
        labels_NL: Their labels, CSR.
        batch: B.
        shortlist_size: K.
        beam_width: W.
        seed: Of the training, and of the batches drawn.
    """

    def __init__(
        self,
        vectors_ND: Any,
        labels_NL: sp.csr_matrix,
        *,
        batch: int,
        shortlist_size: int,
        beam_width: int,
        seed: int = 0,
    ) -> None:
        self.config = TrainingConfig(seed=seed, batch_size=batch).resolve_epochs(len(vectors_ND))
        self.index = LearnedGraphIndex(
            IndexConfig(shortlist_size=shortlist_size, beam_width=beam_width, hierarchy="flat"),
            training=self.config,
        )
        self.inputs = FrozenVectors(vectors_ND)
        self.labels_NL = labels_NL
        self.training = IndexTraining(
            self.index,
            TrainingPoints(self.inputs, labels_NL, None),
            held_out=None,
            progress=None,
            checkpoint=None,
            processes=Processes(),
        )
        self.training.prepare("stage 1")
        self.training.prepare("stage 2")
        self.index.train()
        self.optimisers: Optimisers = self.training.optimisers("stage 2")
        self.optimisers.set_rates(0.5)
        self.stage = Stage(
            StagePlan("stage 2", 1, batch, 0.0, 0.0, seed=(seed, 2)),
            self.training,
            rows=np.arange(len(vectors_ND)),
            optimisers=self.optimisers,
            averaged=[],
        )
        self.generator = torch.Generator().manual_seed(seed)
        self._rng = np.random.default_rng(seed)

    def draw(self) -> Int64Array:
        """The points of the next batch, ascending as an epoch's are."""
        labelled = np.flatnonzero(np.diff(self.labels_NL.indptr))
        size = min(self.config.batch_size, len(labelled))
        rows = self._rng.choice(labelled, size=size, replace=False)
        return np.sort(rows).astype(np.int64)

    def step(self, rows: Int64Array) -> float:
        """One step as the loop of a stage makes it; return the loss."""
        loss = self.training.loss(self.stage, rows)
        assert loss is not None
        value = float(loss.detach())
        self.optimisers.zero_grad()
        loss.backward()
        self.optimisers.step(last=False)
        self.stage.done += 1
        return value


def synthetic_stage(
    *, labels: int, dim: int, points: int, batch: int, shortlist_size: int, beam_width: int
) -> StageTwo:
    """Stage 2 on the asymmetric synthetic instance."""
    from synthetic import asymmetric_instance

    instance = asymmetric_instance(labels, dim, n_points=points, n_queries=1)
    return StageTwo(
        instance.vectors_ND,
        instance.labels_NL,
        batch=batch,
        shortlist_size=shortlist_size,
        beam_width=beam_width,
    )


def folder_stage(
    data: Path, encoder_name: str, *, batch: int, shortlist_size: int, beam_width: int
) -> StageTwo:
    """Stage 2 on the training split of a data folder; vectors come from the cache if there."""
    from learned_index.data import open_dataset
    from learned_index.encoders import cached_encode, parse_encoder

    train = open_dataset(data).read("train")
    assert train.texts is not None
    encoder = parse_encoder(encoder_name, seed=0, precision="auto")
    encoder.fit(train.texts)
    vectors = cached_encode(encoder, train.texts, split="train")
    torch.manual_seed(0)
    return StageTwo(
        vectors, train.labels, batch=batch, shortlist_size=shortlist_size, beam_width=beam_width
    )
