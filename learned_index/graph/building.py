"""From examples to an index: on frozen vectors, or with the encoder trained along."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
import torch

from learned_index.errors import InputError
from learned_index.evaluation.metrics import evaluate, label_propensities
from learned_index.graph.partitioning import (
    build_graph,
    build_partition,
    check_features,
    checked,
    default_edges_per_cluster,
    default_n_clusters,
    n_clusters_for,
)
from learned_index.graph.training import GraphTraining
from learned_index.training.batches import Labels, as_label_matrix
from learned_index.training.checkpoint import CheckpointOptions
from learned_index.training.events import Progress
from learned_index.training.processes import join_processes, own_device
from learned_index.training.sources import (
    EncoderInputs,
    FrozenVectors,
    TrainingInputs,
    check_trainable,
)
from learned_index.types import DenseMatrix

if TYPE_CHECKING:
    from collections.abc import Callable

    from learned_index.graph.learned_graph_index import LearnedGraphIndex

__all__ = [
    "build_graph",
    "build_partition",
    "default_edges_per_cluster",
    "default_n_clusters",
    "fit_end_to_end",
    "fit_index",
]


def fit_index(
    index: LearnedGraphIndex,
    embeddings: DenseMatrix,
    labels: Labels,
    *,
    clustering_features: sp.csr_matrix | None = None,
    validation: tuple[DenseMatrix, sp.csr_matrix] | None = None,
    progress: Progress | None = None,
    checkpoint: CheckpointOptions | None = None,
) -> None:
    """See :meth:`LearnedGraphIndex.fit`."""
    vectors, labels_NL = checked(embeddings, labels)
    inputs = FrozenVectors(vectors, device=training_device(index.training_config.device))
    held_out = None
    if validation is not None:
        queries, truth = validation
        held_out = (lambda: queries, truth)
    _fit(index, inputs, labels_NL, clustering_features, held_out, progress, checkpoint)


def fit_end_to_end(
    index: LearnedGraphIndex,
    encoder: Any,
    texts: Sequence[str],
    labels: Labels,
    *,
    clustering_features: sp.csr_matrix | None = None,
    validation: tuple[Sequence[str], sp.csr_matrix] | None = None,
    progress: Progress | None = None,
    checkpoint: CheckpointOptions | None = None,
) -> None:
    """Train an encoder and the index behind it together (paper, section 3.3).

    The labels are clustered on ``clustering_features``; a short first training (the warm-up)
    makes the encoder know the labels; they are clustered again on [features ; learned vectors]
    (the paper's psi); stage 1; the graph; stage 2. Only the encoder goes on from the warm-up:
    clusters and label classifiers start anew from the new centroids.

    The same seed and thread count give bit-equal results on the CPU. Encoder and index end up on
    the encoder's device.

    Args:
        index: Shape and training parameters; trained in place.
        encoder: A fitted encoder that is an ``nn.Module`` with ``tokenize`` and ``forward``;
            trained in place.
        texts: N training texts.
        labels: CSR N x L, or N lists of label ids. Texts without labels are skipped.
        clustering_features: Optional CSR N x V (tf-idf). Without them the encoder's vectors
            alone are clustered.
        validation: Optional held-out (texts, CSR labels); measured after each epoch.
        progress: Called a few times a second with a
            :class:`~learned_index.training.TrainingEvent`.
        checkpoint: Where to save the state, and to go on from. The encoder must then be what it
            was at the start of the training, or when it was interrupted.

    Raises:
        InputError: An encoder that cannot be trained, shapes that do not fit, no labels, or a
            checkpoint of another training.
        ModelFormatError: A damaged checkpoint.
        TrainingInterrupted: ``checkpoint.stop`` asked for it; the state is saved.
    """
    check_trainable(encoder)
    texts = list(texts)
    labels_NL = as_label_matrix(labels, n_points=len(texts))
    device = own_device(next(p.device for p in encoder.parameters()))
    encoder.to(device)
    precision = index.training_config.precision
    inputs = EncoderInputs(encoder, texts, precision=precision)
    held_out = None
    if validation is not None:
        held_out_texts, truth = validation
        held_out = (EncoderInputs(encoder, list(held_out_texts)).vectors, truth)
    was_training = encoder.training
    encoder.train()
    try:
        _fit(index, inputs, labels_NL, clustering_features, held_out, progress, checkpoint)
    finally:
        encoder.train(was_training)


def training_device(name: str) -> torch.device:
    """The device that a configuration names.

    Raises:
        InputError: There is none of that name here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"device {name!r} cannot be used ({str(error).splitlines()[0]}); expected auto, cpu "
            "or cuda"
        ) from None
    return own_device(device)


def _fit(
    index: LearnedGraphIndex,
    inputs: TrainingInputs,
    labels_NL: sp.csr_matrix,
    features: sp.csr_matrix | None,
    held_out: tuple[Callable[[], Any], sp.csr_matrix] | None,
    progress: Progress | None,
    checkpoint: CheckpointOptions | None,
) -> None:
    check_features(features, inputs.n_points)
    n_clusters_for(index, labels_NL.shape[1])
    metric = index.training_config.early_stopping_metric
    if metric is not None and held_out is None:
        raise InputError(
            f"early_stopping_metric is {metric!r}, but there are no validation points; pass "
            "validation=(points, labels), or leave the metric away"
        )
    labelled = int(np.count_nonzero(np.diff(labels_NL.indptr)))
    index.training_config = index.training_config.resolve_epochs(
        labelled, trained="index" if inputs.encoder is None else "encoder"
    )
    measure = None
    if held_out is not None:
        held_out_vectors, truth = held_out
        propensities = label_propensities(labels_NL)

        def measure() -> dict[str, float]:
            result = index.search(held_out_vectors(), k=100)
            return evaluate(result, truth, propensities=propensities)

    GraphTraining(
        index,
        inputs,
        labels_NL,
        features=features,
        measure=measure,
        truth=held_out[1] if held_out is not None else None,
        progress=progress,
        checkpoint=checkpoint,
        processes=join_processes(inputs.device),
    ).run()
