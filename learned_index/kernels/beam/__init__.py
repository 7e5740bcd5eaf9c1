"""The best clusters of each query, those of its labels, and the scores of both.

Equation 2, the score of a cluster, alpha > 1::

    s_c = min(1, alpha softmax_c(x W^T))

Equation 3, the beam: the W clusters with the largest logits (several scores may be cut off at 1);
in training, for each positive label, also the cluster with its strongest edge.

Versions: :mod:`.plain` (torch, any device) and :mod:`.cpu` (Numba).
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from learned_index.kernels.beam import cpu, plain
from learned_index.kernels.beam.plain import distinct
from learned_index.kernels.machine.dispatch import choose

__all__ = ["best_clusters", "cluster_scores", "distinct"]


def best_clusters(
    logits_BC: torch.Tensor,
    width: int,
    teacher_BP: torch.Tensor | None = None,
    *,
    implementation: str = "auto",
) -> torch.Tensor:
    """The best clusters of each query; in training also those that hold its labels.

    Args:
        logits_BC: Logits, -inf at pads; which of equal ones enter is unspecified but repeatable.
        width: W.
        teacher_BP: int64, clusters to be had in any case, -1 where unused; those of the beam and
            repeated ones do not count.
        implementation: ``"auto"`` (Numba on the CPU, else torch), ``"numba"``, ``"torch"``.

    Returns:
        int64 B x (W' + P'), W' = min(W, C), P' <= P: the beam, best first, then the teacher's in
        no order, -1 where unused; no cluster twice in a row.
    """
    width = min(width, logits_BC.shape[1])
    logits_BC = logits_BC.detach()
    on_cpu = choose(logits_BC.device, implementation) == "numba"
    if on_cpu and width <= cpu.WIDEST and logits_BC.dtype == torch.float32:
        return cpu.best_clusters(logits_BC, width, teacher_BP)
    return plain.best_clusters(logits_BC, width, teacher_BP)


class _ClusterScores(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits_BC: torch.Tensor, clusters_BW: torch.Tensor, scale: float
    ) -> torch.Tensor:
        scores_BW, softmax_BC = cpu.forward(logits_BC, clusters_BW, scale)
        ctx.save_for_backward(softmax_BC, clusters_BW)
        ctx.scale = scale
        return scores_BW

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        softmax_BC, clusters_BW = ctx.saved_tensors
        return cpu.backward(grads[0], softmax_BC, clusters_BW, ctx.scale), None, None


def cluster_scores(
    logits_BC: torch.Tensor,
    clusters_BW: torch.Tensor,
    scale: float,
    *,
    implementation: str = "auto",
) -> torch.Tensor:
    """``min(1, scale * softmax)`` of some clusters of each query, differentiable in the logits.

    Args:
        logits_BC: float32 logits of all clusters, -inf at pads.
        clusters_BW: int64, -1 where unused.
        scale: alpha.
        implementation: ``"auto"`` (Numba on the CPU, else torch), ``"numba"``, ``"torch"``.

    Returns:
        float32 B x W in [0, 1], 0 where unused.
    """
    on_cpu = choose(logits_BC.device, implementation) == "numba"
    if on_cpu and logits_BC.dtype == torch.float32:
        return _ClusterScores.apply(logits_BC, clusters_BW, scale)  # type: ignore[no-any-return]
    return plain.cluster_scores(logits_BC, clusters_BW, scale)
