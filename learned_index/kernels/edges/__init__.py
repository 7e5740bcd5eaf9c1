"""Weights of a cluster's edges to its labels from their logits.

Equation 4, over the M kept labels of a cluster, beta about L/C::

    e_cl = min(1, beta softmax_M(a_c))

The teacher's cluster of a label (equation 3 in training) is that of its strongest edge.

Versions: :mod:`.plain` (torch, any device) and :mod:`.cpu` (Numba).
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from learned_index.kernels.edges import cpu, plain
from learned_index.kernels.edges.plain import edge_strengths
from learned_index.kernels.machine.dispatch import choose

__all__ = ["edge_strengths", "edge_weights", "strongest_clusters"]


class _EdgeWeights(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits_CM: torch.Tensor, labels_CM: torch.Tensor, scale: float
    ) -> torch.Tensor:
        weights_CM, strengths_CM = cpu.forward(logits_CM, labels_CM, scale)
        ctx.save_for_backward(strengths_CM)
        ctx.scale = scale
        return weights_CM

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        (strengths_CM,) = ctx.saved_tensors
        return cpu.backward(grads[0], strengths_CM, ctx.scale), None, None


def edge_weights(
    logits_CM: torch.Tensor,
    labels_CM: torch.Tensor,
    scale: float,
    *,
    implementation: str = "auto",
) -> torch.Tensor:
    """``min(1, scale * softmax)`` over the edges of each cluster (equation 4).

    Args:
        logits_CM: float32.
        labels_CM: int32, -1 where a row has no further edge.
        scale: beta.
        implementation: ``"auto"`` (Numba on the CPU, else torch), ``"numba"``, ``"torch"``.

    Returns:
        float32 C x M in [0, 1], 0 at pads; differentiable in the logits.
    """
    if choose(logits_CM.device, implementation) == "numba" and logits_CM.dtype == torch.float32:
        return _EdgeWeights.apply(logits_CM, labels_CM, scale)  # type: ignore[no-any-return]
    return plain.edge_weights(logits_CM, labels_CM, scale)


def strongest_clusters(
    edge_labels_CM: torch.Tensor, weights_CM: torch.Tensor, n_labels: int
) -> torch.Tensor:
    """For each label the cluster with its strongest edge; of equal ones the lowest.

    Args:
        edge_labels_CM: int32, -1 where a row has no further edge.
        weights_CM: float32 in [0, 1].
        n_labels: L.

    Returns:
        int64 L, -1 for a label without any edge.
    """
    # Not `choose`: both versions give the same bits, so there is nothing to compare in training.
    version: Any = cpu if weights_CM.device.type == "cpu" else plain
    return version.strongest_clusters(edge_labels_CM, weights_CM, n_labels)  # type: ignore[no-any-return]
