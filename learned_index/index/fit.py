"""From examples to an index: on frozen vectors, or with the encoder trained along."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from learned_index.errors import InputError
from learned_index.index.build.partition import checked, checked_features, n_clusters_for
from learned_index.index.course import IndexTraining
from learned_index.index.network import IndexNetwork
from learned_index.index.points import HeldOutMetrics, TrainingPoints
from learned_index.index.search import search_index
from learned_index.inputs.labels import Labels, as_label_matrix
from learned_index.inputs.points import n_rows
from learned_index.inputs.vectors import as_vectors, check_finite
from learned_index.metrics import evaluate, label_propensities
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


def fit_index(
    index: IndexNetwork,
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
        queries, truth = validation_pair(validation)
        queries = as_vectors(queries, dim=vectors.shape[1], name="validation vectors")
        check_finite(queries, name="validation vectors")
        held_out = (lambda: queries, _truth(truth, len(queries), labels_NL))
    _fit(index, inputs, labels_NL, clustering_features, held_out, progress, checkpoint)


def fit_end_to_end(
    index: IndexNetwork,
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
        labels: As in :meth:`LearnedGraphIndex.fit`, like the arguments after it.
        clustering_features: Without them the encoder's vectors alone are clustered.
        validation: Held-out (texts, CSR labels).
        progress: As there.
        checkpoint: To go on from it the encoder must be what it was at the start of the training,
            or when it was interrupted.

    Raises:
        InputError: As there, or the encoder cannot be trained.
        ModelFormatError: A damaged checkpoint.
        TrainingInterrupted: As there.
    """
    check_trainable(encoder)
    n_rows(texts)
    texts = list(texts)
    labels_NL = as_label_matrix(labels, n_points=len(texts))
    device = own_device(next(p.device for p in encoder.parameters()))
    encoder.to(device)
    precision = index.training_config.precision
    inputs = EncoderInputs(encoder, texts, precision=precision)
    held_out = None
    if validation is not None:
        held_out_texts, truth = validation_pair(validation)
        truth = _truth(truth, n_rows(held_out_texts), labels_NL)
        held_out = (EncoderInputs(encoder, list(held_out_texts)).vectors, truth)
    was_training = encoder.training
    encoder.train()
    try:
        _fit(index, inputs, labels_NL, clustering_features, held_out, progress, checkpoint)
    finally:
        encoder.train(was_training)


def validation_pair(validation: Any) -> tuple[Any, Any]:
    """The points and the labels of validation data.

    Raises:
        InputError: No pair.
    """
    if not isinstance(validation, tuple | list) or len(validation) != 2:
        raise InputError(
            f"validation is a {type(validation).__name__}, expected a pair (points, labels)"
        )
    points, labels = validation
    return points, labels


def _truth(truth: Any, n_points: int, labels_NL: sp.csr_matrix) -> sp.csr_matrix:
    """Labels of the validation points; labels without a training point stand behind the others."""
    n_labels = labels_NL.shape[1]
    if len(getattr(truth, "shape", ())) == 2:
        n_labels = max(n_labels, int(truth.shape[1]))
    return as_label_matrix(truth, n_points=n_points, n_labels=n_labels, need_labels=False)


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
    index: IndexNetwork,
    inputs: TrainingInputs,
    labels_NL: sp.csr_matrix,
    features: sp.csr_matrix | None,
    held_out: tuple[Callable[[], Any], sp.csr_matrix] | None,
    progress: Progress | None,
    checkpoint: CheckpointOptions | None,
) -> None:
    features = checked_features(features, inputs.n_points)
    n_clusters_for(index.config, labels_NL.shape[1])
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
    metrics = None
    if held_out is not None:
        held_out_vectors, truth = held_out
        propensities = label_propensities(labels_NL)

        def measure() -> dict[str, float]:
            result = search_index(index, held_out_vectors(), 100)
            return evaluate(result, truth, propensities=propensities)

        metrics = HeldOutMetrics(measure, truth)

    IndexTraining(
        index,
        TrainingPoints(inputs, labels_NL, features),
        held_out=metrics,
        progress=progress,
        checkpoint=checkpoint,
        processes=join_processes(inputs.device),
    ).run()
