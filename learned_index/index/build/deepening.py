"""Regions for an index that is there already: only they are trained, on its own routing."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch

from learned_index.errors import InputError
from learned_index.index.build.clustering import unit_rows
from learned_index.index.build.partition import count_visits
from learned_index.index.build.regions import (
    learnable_region_edges,
    measure_coverage,
    partition_clusters,
)
from learned_index.index.hierarchy import RegionHierarchy, hierarchy_shape, region_targets
from learned_index.index.network import IndexNetwork
from learned_index.inputs.numbers import whole_number
from learned_index.inputs.vectors import as_float32_rows, as_vectors, check_finite
from learned_index.training.batches import EpochOrder
from learned_index.training.schedule import warmup_linear_decay
from learned_index.types import DenseMatrix

_LOGGER = logging.getLogger(__name__)


def build_hierarchy(
    index: IndexNetwork, embeddings: DenseMatrix, *, epochs: int, batch_size: int | None
) -> None:
    """See :meth:`LearnedGraphIndex.build_hierarchy`."""
    epochs = whole_number(epochs, "epochs", low=0)
    if batch_size is not None:
        batch_size = whole_number(batch_size, "batch_size")
    vectors = as_vectors(embeddings, dim=index.dim)
    if not len(vectors):
        raise InputError("there are no vectors to learn the regions from; pass at least one")
    check_finite(vectors)
    config, training = replace(index.config, hierarchy="deep"), index.training_config
    shape = hierarchy_shape(config, index.n_clusters)
    assert shape is not None
    device = index.label_bias_L.device
    index.config = config
    index.hierarchy = RegionHierarchy(
        index.n_clusters, index.dim, scale=config.region_scale, shape=shape
    )
    partition_clusters(index, unit_rows(index.router.vectors()))
    index.hierarchy.to(device)
    no_labels = sp.csr_matrix((len(vectors), 0), dtype=np.float32)
    learnable_region_edges(index, count_visits(index, vectors, no_labels)[1])
    _train(index, vectors, epochs=epochs, batch_size=batch_size or training.batch_size)
    measure_coverage(index, vectors)
    index.parameters_changed()


def _train(index: IndexNetwork, vectors: Any, *, epochs: int, batch_size: int) -> None:
    """Cross-entropy to the beams that the index's own routing gives; nothing else moves."""
    hierarchy, training = index.hierarchy, index.training_config
    assert hierarchy is not None and hierarchy.graph.edge_logits_CM is not None
    optimiser = torch.optim.AdamW(
        [
            {"params": [hierarchy.router.weight_CD], "lr": training.learning_rate},
            {"params": [hierarchy.graph.edge_logits_CM], "lr": training.edge_learning_rate},
        ],
        weight_decay=0.0,
    )
    peaks = [group["lr"] for group in optimiser.param_groups]
    order = EpochOrder(np.arange(len(vectors)), [training.seed])
    n_steps = epochs * -(-len(vectors) // batch_size)
    device, step, total = index.label_bias_L.device, 0, 0.0
    width = min(index.config.beam_width, index.n_clusters)
    for epoch in range(epochs):
        for rows in order.batches(epoch, batch_size):
            factor = warmup_linear_decay(step, n_steps, training.warmup_fraction)
            for group, peak in zip(optimiser.param_groups, peaks, strict=True):
                group["lr"] = peak * factor
            batch = as_float32_rows(vectors[rows])
            with torch.no_grad():
                x_BD = index.projected(torch.tensor(batch, device=device))
                scores_BW, clusters_BW = index.router.beam(x_BD, width)
                none_BP = clusters_BW[:, :0]
                targets_BW = region_targets(clusters_BW, scores_BW, none_BP)
            optimiser.zero_grad(set_to_none=True)
            loss = hierarchy.loss(x_BD, clusters_BW, targets_BW)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            step += 1
            total += float(loss.detach())
        _LOGGER.info("regions, epoch %d of %d: mean loss %.4f", epoch + 1, epochs, total / step)
