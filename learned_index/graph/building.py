"""From examples to an index: partition, stage 1, graph, stage 2 (paper, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
import torch

from learned_index.errors import InputError
from learned_index.evaluation.metrics import evaluate, label_propensities
from learned_index.graph.adjacency import ClusterLabelGraph
from learned_index.graph.clustering import (
    Block,
    balanced_partition,
    label_centroids,
    sparse_label_centroids,
)
from learned_index.graph.config import TrainingConfig
from learned_index.kernels import RowAdamW
from learned_index.training.batches import Labels, as_float32_rows, as_label_matrix, as_vectors
from learned_index.training.checkpoint import CheckpointOptions
from learned_index.training.events import Progress, TrainingEvent
from learned_index.training.loop import StagePlan, run_stage
from learned_index.types import DenseMatrix

if TYPE_CHECKING:
    from learned_index.graph.learned_graph_index import LearnedGraphIndex

_CHUNK_ROWS = 8192


def default_n_clusters(n_labels: int) -> int:
    """C = L / 40, at most 16384 (measured: docs/benchmarks.md)."""
    return int(np.clip(round(n_labels / 40), 1, 16384))


def _checked(
    embeddings: DenseMatrix, labels: Labels, n_labels: int | None = None, dim: int | None = None
) -> tuple[Any, sp.csr_matrix]:
    vectors = as_vectors(embeddings, dim=dim)
    for start in range(0, len(vectors), _CHUNK_ROWS):
        as_float32_rows(vectors[start : start + _CHUNK_ROWS], first_row=start)
    return vectors, as_label_matrix(labels, n_points=len(vectors), n_labels=n_labels)


def _check_features(features: sp.csr_matrix | None, n_points: int) -> None:
    if features is not None and features.shape[0] != n_points:
        raise InputError(
            f"clustering_features have {features.shape[0]} rows, the embeddings {n_points}"
        )


def build_partition(
    index: LearnedGraphIndex,
    embeddings: DenseMatrix,
    labels: Labels,
    *,
    clustering_features: sp.csr_matrix | None,
) -> None:
    """See :meth:`LearnedGraphIndex.build_partition`."""
    vectors, labels_NL = _checked(embeddings, labels)
    _check_features(clustering_features, len(vectors))
    _build_partition(index, vectors, labels_NL, clustering_features)


def _build_partition(
    index: LearnedGraphIndex,
    vectors: Any,
    labels_NL: sp.csr_matrix,
    clustering_features: sp.csr_matrix | None,
) -> None:
    config, training = index.config, index.training_config
    n_labels = labels_NL.shape[1]
    n_clusters = config.n_clusters or default_n_clusters(n_labels)
    if n_clusters > n_labels:
        raise InputError(
            f"n_clusters is {n_clusters}, expected 1 to {n_labels} (the number of labels)"
        )
    centroids_LD = label_centroids(labels_NL, vectors)
    blocks: list[Block] = [centroids_LD]
    if clustering_features is not None:
        blocks.append(sparse_label_centroids(labels_NL, clustering_features.tocsr()))
    cluster_L = balanced_partition(blocks, n_clusters, seed=training.seed)
    del blocks
    index.allocate(dim=vectors.shape[1], n_labels=n_labels, n_clusters=n_clusters)
    members = sp.csr_matrix(
        (np.ones(n_labels, np.float32), (cluster_L, np.arange(n_labels))),
        shape=(n_clusters, n_labels),
    )
    router_CD = members @ centroids_LD
    router_CD /= np.maximum(np.linalg.norm(router_CD, axis=1, keepdims=True), 1e-12)
    with torch.no_grad():
        index.router.weight_CD.copy_(torch.from_numpy(router_CD * training.router_init_scale))
        index.label_weight_LD.copy_(torch.from_numpy(centroids_LD))
        index.label_weight_LD.mul_(training.label_init_scale)
        index.label_bias_L.fill_(_initial_bias(training, labels_NL))
        index.input_scale.fill_(_input_scale(vectors, labels_NL))
    index.cluster_of_label_L = torch.from_numpy(cluster_L.astype(np.int32))
    index.graph = ClusterLabelGraph.from_partition(cluster_L, n_clusters)
    remember_tree(index)


def _input_scale(vectors: Any, labels_NL: sp.csr_matrix) -> float:
    """1 / mean length of labelled vectors; exactly 1 where that is 1 within a thousandth."""
    labelled = np.diff(labels_NL.indptr) > 0
    total = 0.0
    for start in range(0, len(vectors), _CHUNK_ROWS):
        rows = np.asarray(vectors[start : start + _CHUNK_ROWS], dtype=np.float32)
        lengths = np.linalg.norm(rows, axis=1)[labelled[start : start + _CHUNK_ROWS]]
        total += float(lengths.sum(dtype=np.float64))
    mean = total / max(1, int(np.count_nonzero(labelled)))
    return 1.0 if mean == 0.0 or abs(mean - 1.0) < 1e-3 else 1.0 / mean


def _initial_bias(training: TrainingConfig, labels_NL: sp.csr_matrix) -> float:
    """Log of the share of (point, label) pairs that are positive, unless the configuration says."""
    if training.label_init_bias is not None:
        return training.label_init_bias
    labelled = max(1, int(np.count_nonzero(np.diff(labels_NL.indptr))))
    return float(np.log(labels_NL.nnz / (labelled * labels_NL.shape[1])))


@torch.no_grad()
def remember_tree(index: LearnedGraphIndex) -> None:
    """Keep the present router as that of the fixed tree."""
    index.tree_router_CD = index.router.weight_CD.detach().clone()


def build_graph(index: LearnedGraphIndex, embeddings: DenseMatrix, labels: Labels) -> None:
    """See :meth:`LearnedGraphIndex.build_graph`."""
    vectors, labels_NL = _checked(embeddings, labels, index.n_labels, index.dim)
    _build_graph(index, vectors, labels_NL)


@torch.no_grad()
def _build_graph(index: LearnedGraphIndex, vectors: Any, labels_NL: sp.csr_matrix) -> None:
    config, training = index.config, index.training_config
    n_clusters, n_labels = index.n_clusters, index.n_labels
    edges = config.edges_per_cluster or default_edges_per_cluster(n_labels, n_clusters)
    device = index.label_bias_L.device
    width = min(config.beam_width, n_clusters)
    counts_CL = sp.csr_matrix((n_clusters, n_labels), dtype=np.float32)
    for start in range(0, len(vectors), _CHUNK_ROWS):
        rows = np.array(vectors[start : start + _CHUNK_ROWS], dtype=np.float32, order="C")
        x_BD = index._project(torch.from_numpy(rows).to(device))
        scores, beam = index.router.beam(x_BD, width)
        visits_BC = sp.csr_matrix(
            (
                scores.reshape(-1).cpu().numpy(),
                beam.reshape(-1).cpu().numpy(),
                np.arange(0, len(rows) * width + 1, width),
            ),
            shape=(len(rows), n_clusters),
        )
        counts_CL = counts_CL + visits_BC.T @ labels_NL[start : start + len(rows)]
    index.graph = ClusterLabelGraph.from_counts(
        counts_CL.tocsr(),
        index.cluster_of_label_L.cpu().numpy().astype(np.int64),
        edges_per_cluster=edges,
        scale=config.edge_scale or max(1.0, n_labels / n_clusters),
        init=training.edge_init,
        seed=training.seed,
    ).to(device)
    index._forget()


def default_edges_per_cluster(n_labels: int, n_clusters: int) -> int:
    """M = 10 L / C, at most L (about ten clusters per label)."""
    return int(min(n_labels, max(1, round(10 * n_labels / n_clusters))))


def fit_index(
    index: LearnedGraphIndex,
    embeddings: DenseMatrix,
    labels: Labels,
    *,
    clustering_features: sp.csr_matrix | None,
    validation: tuple[DenseMatrix, sp.csr_matrix] | None,
    progress: Progress | None,
) -> None:
    """See :meth:`LearnedGraphIndex.fit`."""
    vectors, labels_NL = _checked(embeddings, labels)
    _check_features(clustering_features, len(vectors))
    labelled = int(np.count_nonzero(np.diff(labels_NL.indptr)))
    training = index.training_config = index.training_config.resolve_epochs(labelled)
    assert training.stage1_epochs is not None and training.stage2_epochs is not None
    _tell(progress, "clustering", 0)
    _build_partition(index, vectors, labels_NL, clustering_features)
    _tell(progress, "clustering", 1)
    generator = torch.Generator().manual_seed(training.seed)
    row_optimiser = RowAdamW(
        index.n_labels,
        index.dim,
        learning_rate=training.learning_rate,
        weight_decay=training.weight_decay,
    )
    rest = (vectors, labels_NL, row_optimiser, generator, validation, progress)
    if training.stage1_epochs:
        _run_stage(index, 1, training.stage1_epochs, *rest)
    remember_tree(index)
    if training.stage2_epochs:
        _tell(progress, "graph", 0)
        _build_graph(index, vectors, labels_NL)
        _tell(progress, "graph", 1)
        _run_stage(index, 2, training.stage2_epochs, *rest)
    index.eval()
    index._forget()


def _run_stage(
    index: LearnedGraphIndex,
    stage: int,
    epochs: int,
    vectors: Any,
    labels_NL: sp.csr_matrix,
    row_optimiser: RowAdamW,
    generator: torch.Generator,
    validation: tuple[DenseMatrix, sp.csr_matrix] | None,
    progress: Progress | None,
) -> None:
    training = index.training_config
    factor = 1.0 if stage == 1 else training.stage2_learning_rate_factor
    groups: list[dict[str, Any]] = [
        {"params": [index.router.weight_CD], "lr": training.learning_rate * factor}
    ]
    if index.projection is not None:
        groups.append(
            {
                "params": [index.projection.weight],
                "lr": training.projection_learning_rate * factor,
            }
        )
    if index.graph.edge_logits_CM is not None:
        groups.append(
            {
                "params": [index.graph.edge_logits_CM],
                "lr": training.edge_learning_rate * factor,
                "weight_decay": 0.0,
            }
        )
    optimiser = torch.optim.AdamW(groups, weight_decay=training.weight_decay)
    row_optimiser.learning_rate = training.learning_rate * factor

    def step(x_BD: torch.Tensor, positives_BP: torch.Tensor) -> torch.Tensor:
        if training.dropout:
            keep = 1.0 - training.dropout
            mask = torch.empty_like(x_BD).bernoulli_(keep, generator=generator)
            x_BD = x_BD * mask / keep
        return index(x_BD, positives_BP, row_optimiser=row_optimiser).loss  # type: ignore[no-any-return]

    propensities = label_propensities(labels_NL) if validation is not None else None

    def validate() -> dict[str, float]:
        assert validation is not None and propensities is not None
        vectors_valid, truth = validation
        return evaluate(index.search(vectors_valid, k=100), truth, propensities=propensities)

    run_stage(
        step,
        StagePlan(
            name=f"stage {stage}",
            epochs=epochs,
            batch_size=training.batch_size,
            warmup_fraction=training.warmup_fraction,
            averaging_fraction=training.averaging_fraction if stage == 2 else 0.0,
            seed=(training.seed, stage),
        ),
        embeddings_ND=vectors,
        labels_NL=labels_NL,
        optimiser=optimiser,
        row_optimiser=row_optimiser,
        averaged=[p for p in index.parameters() if p.requires_grad],
        progress=progress,
        validate=validate if validation is not None else None,
    )


def _tell(progress: Progress | None, stage: str, step: int) -> None:
    if progress is not None:
        progress(TrainingEvent(stage, step, 1, step, 1))


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

    Args:
        index: Shape and training parameters; trained in place.
        encoder: A fitted, trainable encoder; trained in place.
        texts: N training texts.
        labels: CSR N x L, or N lists of label ids.
        clustering_features: Optional CSR N x V (tf-idf) for the clustering.
        validation: Optional held-out (texts, CSR labels).
        progress: Called a few times a second.
        checkpoint: Where to save the state, and to go on from.
    """
    raise NotImplementedError("being written")
