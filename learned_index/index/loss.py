"""The forward pass of the index in training: beam, paths, shortlist, the losses."""

from __future__ import annotations

from dataclasses import dataclass

import scipy.sparse as sp
import torch

from learned_index.errors import InputError
from learned_index.index.hierarchy import (
    DENSE_CLUSTERS,
    RegionHierarchy,
    cluster_logits,
    region_cross_entropy,
    region_targets,
)
from learned_index.index.level import teacher_rows, walk_edges
from learned_index.index.network import IndexNetwork
from learned_index.inputs.positives import as_positives
from learned_index.kernels.beam import best_clusters, cluster_scores, distinct
from learned_index.kernels.classify import score_labels
from learned_index.kernels.losses import both_losses
from learned_index.kernels.update import RowAdamW, RowGradients


@dataclass(frozen=True)
class IndexOutput:
    """What a training step needs from the index.

    Attributes:
        loss: ``classification_loss + lambda * shortlist_loss``, and of a deep index
            ``+ mu * region_loss``; scalar with gradients.
        classification_loss: L_c, scalar.
        shortlist_loss: L_s, scalar.
        region_loss: cross-entropy of the regions, scalar; None for a flat index.
        label_ids_BK: int64 shortlist, -1 at pads; the reached positives stand first.
        path_scores_BK: y_hat in [0, 1], 0 at pads.
        logits_BK: z = w_l . x + b_l, 0 at pads.
        positive_BK: bool.
    """

    loss: torch.Tensor
    classification_loss: torch.Tensor
    shortlist_loss: torch.Tensor
    region_loss: torch.Tensor | None
    label_ids_BK: torch.Tensor
    path_scores_BK: torch.Tensor
    logits_BK: torch.Tensor
    positive_BK: torch.Tensor


def index_losses(
    index: IndexNetwork,
    x_BD: torch.Tensor,
    positives: torch.Tensor | sp.csr_matrix | list[list[int]],
    *,
    row_optimiser: RowAdamW | RowGradients | None = None,
) -> IndexOutput:
    """See :meth:`LearnedGraphIndex.forward`."""
    index.require_fitted()
    index.drop_search_arrays()  # a step follows, after which they would be old
    training = index.training_config
    if x_BD.ndim != 2 or x_BD.shape[1] != index.dim:
        raise InputError(f"x_BD has shape {tuple(x_BD.shape)}, expected B x {index.dim}")
    positives_BP = as_positives(positives, n_labels=index.n_labels).to(x_BD.device)
    if len(positives_BP) != len(x_BD):
        raise InputError(f"got {len(x_BD)} vectors and positives of {len(positives_BP)} points")
    x_BD = index.projected(x_BD)
    edges_CM = index.graph.weights()
    strongest_L = index.strongest_clusters(edges_CM)
    teacher_BP = teacher_rows(strongest_L, positives_BP)
    clusters_BW, scores_BW, region_loss = _explored_clusters(index, x_BD, teacher_BP)
    size = training.training_shortlist_size or index.config.shortlist_size
    walk = walk_edges(
        clusters_BW,
        scores_BW,
        index.graph,
        edges_CM,
        positives_BP=positives_BP,
        size=min(size, index.n_labels),
    )
    logits_BK = score_labels(
        x_BD, index.label_weight_LD, index.label_bias_L, walk.ids_BK, optimiser=row_optimiser
    )
    classification, shortlisting = both_losses(
        logits_BK, walk.path_BK, walk.n_positives_B, walk.n_valid_B
    )
    loss = classification + training.shortlist_loss_weight * shortlisting
    if region_loss is not None:
        loss = loss + training.region_loss_weight * region_loss
    return IndexOutput(
        loss=loss,
        classification_loss=classification,
        shortlist_loss=shortlisting,
        region_loss=region_loss,
        label_ids_BK=walk.ids_BK,
        path_scores_BK=walk.path_BK,
        logits_BK=logits_BK,
        positive_BK=walk.positive_BK,
    )


def _explored_clusters(
    index: IndexNetwork, x_BD: torch.Tensor, teacher_BP: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """The beam and the teacher's clusters.

    Returns:
        int64 B x W' clusters (-1 where unused), their scores (0 where unused), and the loss of
        the regions, None for a flat index.
    """
    hierarchy, width = index.hierarchy, index.config.beam_width
    if hierarchy is not None and not scores_all_clusters(index):
        return _among_candidates(index, hierarchy, x_BD, distinct(teacher_BP))
    logits_BC = index.router.logits(x_BD)
    clusters_BW = best_clusters(logits_BC, width, teacher_BP)
    scores_BW = cluster_scores(logits_BC, clusters_BW, index.router.scale)
    region_loss = None
    if hierarchy is not None:
        targets_BW = region_targets(clusters_BW, scores_BW, teacher_BP)
        region_loss = hierarchy.loss(x_BD, clusters_BW, targets_BW)
    return clusters_BW, scores_BW, region_loss


def scores_all_clusters(index: IndexNetwork) -> bool:
    """Whether the label losses know the softmax over all clusters."""
    choice = index.training_config.cluster_softmax
    return choice == "all" or (choice == "auto" and index.n_clusters <= DENSE_CLUSTERS)


def _among_candidates(
    index: IndexNetwork,
    hierarchy: RegionHierarchy,
    x_BD: torch.Tensor,
    positives_BP: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The same among the clusters that the regions reach, the teacher's included: B x K0, not C."""
    size = max(positives_BP.shape[1], hierarchy.K0)
    walk = hierarchy.walk(x_BD, positives_BP, size=size)
    logits_BK = cluster_logits(index.router, x_BD, walk.ids_BK)
    columns = torch.arange(size, device=x_BD.device).expand_as(walk.ids_BK)
    teacher_BP = columns.masked_fill(~walk.positive_BK, -1)[:, : positives_BP.shape[1]]
    chosen_BW = best_clusters(logits_BK, index.config.beam_width, teacher_BP)
    safe_BW = chosen_BW.clamp(min=0)
    clusters_BW = walk.ids_BK.gather(1, safe_BW).masked_fill(chosen_BW < 0, -1)
    unused = clusters_BW < 0
    scores_BK = index.router.scores(logits_BK, share=hierarchy.coverage_at(hierarchy.K0))
    scores_BW = scores_BK.gather(1, safe_BW).masked_fill(unused, 0.0)
    targets_BW = region_targets(clusters_BW, scores_BW, positives_BP)
    loss = region_cross_entropy(walk.path_BK.gather(1, safe_BW), targets_BW)
    return clusters_BW, scores_BW, loss
