"""The forward pass of the index in training: beam, paths, shortlist, both losses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import scipy.sparse as sp
import torch

from learned_index.graph.output import IndexOutput
from learned_index.graph.router import beam_with_teacher_forcing
from learned_index.kernels import RowAdamW, RowGradients, explore, score_labels
from learned_index.kernels.loss import fused_losses
from learned_index.training.batches import as_positives
from learned_index.training.losses import classification_loss, shortlist_loss

if TYPE_CHECKING:
    from learned_index.graph.learned_graph_index import LearnedGraphIndex


def index_losses(
    index: LearnedGraphIndex,
    x_BD: torch.Tensor,
    positives: torch.Tensor | sp.csr_matrix | list[list[int]],
    row_optimiser: RowAdamW | RowGradients | None,
) -> IndexOutput:
    """See :meth:`LearnedGraphIndex.forward`."""
    training = index.training_config
    positives_BP = as_positives(positives, n_labels=index.n_labels).to(x_BD.device)
    x_BD = index._project(x_BD)
    logits_BC = index.router.logits(x_BD)
    scores_BC = index.router.scores(logits_BC)
    edges_CM = index.graph.weights()
    if index._teacher is None or index.graph.edge_logits_CM is not None:
        index._teacher = index.graph.strongest_cluster(edges_CM)
    teacher_BP = torch.where(
        positives_BP >= 0, index._teacher.to(x_BD.device)[positives_BP.clamp(min=0)], -1
    )
    clusters_BW = beam_with_teacher_forcing(logits_BC, index.config.beam_width, teacher_BP)
    unused = clusters_BW < 0
    scores_BW = scores_BC.gather(1, clusters_BW.clamp(min=0)).masked_fill(unused, 0.0)
    size = training.training_shortlist_size or index.config.shortlist_size
    size = min(size, index.n_labels)
    shortlist = explore(
        clusters_BW,
        scores_BW,
        index.graph.edge_labels_CM,
        edges_CM,
        n_labels=index.n_labels,
        shortlist_size=size,
        positives_BP=positives_BP,
        force_positives=True,
    )
    ids_BK = shortlist.label_ids_BK
    valid_BK = ids_BK >= 0
    chosen_BK = clusters_BW.gather(1, shortlist.slots_BK).clamp(min=0)
    M = edges_CM.shape[1]
    path_BK = scores_BW.gather(1, shortlist.slots_BK) * edges_CM.reshape(-1).index_select(
        0, (chosen_BK * M + shortlist.edges_BK).reshape(-1)
    ).view(ids_BK.shape)
    path_BK = path_BK.masked_fill(~valid_BK, 0.0)
    positive_BK = torch.arange(size, device=x_BD.device)[None, :] < shortlist.n_positives_B[:, None]
    logits_BK = score_labels(
        x_BD, index.label_weight_LD, index.label_bias_L, ids_BK, optimiser=row_optimiser
    )
    if x_BD.device.type == "cpu":
        classification, shortlisting = fused_losses(
            logits_BK, path_BK, shortlist.n_positives_B, valid_BK.sum(dim=1)
        )
    else:
        classification = classification_loss(logits_BK, path_BK, positive_BK, valid_BK)
        shortlisting = shortlist_loss(path_BK, positive_BK)
    return IndexOutput(
        loss=classification + training.shortlist_loss_weight * shortlisting,
        classification_loss=classification,
        shortlist_loss=shortlisting,
        label_ids_BK=ids_BK,
        path_scores_BK=path_BK,
        logits_BK=logits_BK,
        positive_BK=positive_BK,
    )
