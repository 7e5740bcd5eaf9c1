"""Walk the edges of a beam with max-merge, and keep the K best labels of each query.

Equation 5, over the explored clusters c that have an edge to label l::

    y_hat_l = max_c s_c e_cl

A label is reached over several clusters; its shortlist score is that of its best path. The choice
(:func:`explore`) is discrete; :func:`path_scores` gives the chosen paths' scores with gradients.

Versions: :mod:`.plain` (torch, any device), :mod:`.cpu` (Numba) and :mod:`.cuda` (Triton). An
engine walks edges of float16 (:mod:`learned_index.kernels.engine.steps`), the index's own search
one query at a time and forwards only (:mod:`learned_index.kernels.search.routing`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.autograd.function import once_differentiable

from learned_index.kernels.machine.dispatch import version_of
from learned_index.kernels.walk import plain
from learned_index.kernels.walk.plain import Beam

__all__ = ["Shortlist", "explore", "path_scores"]


class Shortlist(NamedTuple):
    """Labels that the explored paths reach, with the path that gave each its score.

    Attributes:
        label_ids_BK: int64, -1 where a query reaches fewer labels. The reached positives of the
            query stand first (in the order given), then the best other labels in no order (on
            the CPU ascending: loops over the pairs by label then go through each row once).
        slots_BK: int64 or int32, place of the best path's cluster among those explored (0 at pads).
        edges_BK: int64 or int32, place of the label in that cluster's row (0 at pads).
        n_positives_B: int64, how many of the leading columns are positives.
        n_valid_B: int64, how many of the leading columns are labels; pads follow.
        path_BK: float32, the paths' scores, without gradient (0 at pads); None where the
            implementation does not have them at hand.
    """

    label_ids_BK: torch.Tensor
    slots_BK: torch.Tensor
    edges_BK: torch.Tensor
    n_positives_B: torch.Tensor
    n_valid_B: torch.Tensor
    path_BK: torch.Tensor | None = None


def explore(
    clusters_BW: torch.Tensor,
    scores_BW: torch.Tensor,
    edge_labels_CM: torch.Tensor,
    edge_weights_CM: torch.Tensor,
    *,
    n_labels: int,
    shortlist_size: int,
    positives_BP: torch.Tensor | None = None,
    implementation: str = "auto",
) -> Shortlist:
    """Find the labels that a beam of clusters reaches, and keep the K best.

    No gradient flows through this discrete choice: recompute the score of the path returned, as
    ``s.gather(1, slots) * e[clusters.gather(1, slots), edges]``, to differentiate it.

    Args:
        clusters_BW: int64, explored clusters, -1 where unused; no cluster twice in a row.
        scores_BW: float32 in [0, 1], their scores.
        edge_labels_CM: int32, labels of each cluster's edges, -1 where unused.
        edge_weights_CM: float32 in [0, 1], weights of the edges.
        n_labels: L.
        shortlist_size: K.
        positives_BP: int64, labels of each query, -1 where unused, no label twice in a row. All
            that are reached are kept, whatever their scores.
        implementation: A version (:mod:`learned_index.kernels.machine.dispatch`).

    Returns:
        The shortlist; among equal scores the choice of which enter is unspecified but repeatable.
    """
    beam = Beam(
        clusters_BW,
        scores_BW.detach(),
        edge_labels_CM,
        edge_weights_CM.detach(),
        clusters_BW[:, :0] if positives_BP is None else positives_BP,
        n_labels,
        shortlist_size,
    )
    return Shortlist(*version_of(__name__, scores_BW.device, implementation).explore(beam))


class _PathScores(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        scores_BW: torch.Tensor,
        edge_weights_CM: torch.Tensor,
        clusters_BW: torch.Tensor,
        shortlist: Shortlist,
        found_BK: torch.Tensor | None,
        version: Any,
    ) -> torch.Tensor:
        places = version.places(clusters_BW, shortlist, edge_weights_CM.shape[1])
        ctx.version = version
        ctx.save_for_backward(scores_BW, edge_weights_CM, *places)
        if found_BK is not None:
            return found_BK.detach()
        return version.forward(scores_BW, edge_weights_CM, places)  # type: ignore[no-any-return]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        scores_BW, edge_weights_CM, *places = ctx.saved_tensors
        gradients = ctx.version.backward(
            grads[0], scores_BW, edge_weights_CM, tuple(places), ctx.needs_input_grad[:2]
        )
        return *gradients, None, None, None, None


def path_scores(
    scores_BW: torch.Tensor,
    edge_weights_CM: torch.Tensor,
    clusters_BW: torch.Tensor,
    shortlist: Shortlist,
    *,
    found_BK: torch.Tensor | None = None,
    implementation: str = "auto",
) -> torch.Tensor:
    """``y_hat = s_c * e_cl`` of each shortlisted label's best path (equation 5).

    Args:
        scores_BW: float32 in [0, 1], scores of the explored clusters.
        edge_weights_CM: float32 in [0, 1].
        clusters_BW: int64, the explored clusters, -1 where unused.
        shortlist: What ``explore`` found in them.
        found_BK: The result, if it is known: ``shortlist.path_BK`` where ``explore`` was given
            these very scores and weights. Numba then has nothing to do on the way forward.
        implementation: A version (:mod:`learned_index.kernels.machine.dispatch`).

    Returns:
        float32 B x K, 0 at pads; gradients flow to the scores and the weights.
    """
    version = version_of(__name__, scores_BW.device, implementation)
    if version is plain:
        return plain.path_scores(scores_BW, edge_weights_CM, clusters_BW, shortlist)
    return _PathScores.apply(  # type: ignore[no-any-return]
        scores_BW, edge_weights_CM, clusters_BW, shortlist, found_BK, version
    )
