"""Scores of the paths that :func:`~learned_index.kernels.explore` chose, differentiable."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch.autograd.function import FunctionCtx, once_differentiable

from learned_index.kernels.dispatch import choose
from learned_index.kernels.explore import Shortlist
from learned_index.kernels.parallel import run_ranges, split_evenly

_CHAINS = 4
"""Partial sums of a cluster's gradient: neighbours often share a cluster, and must not wait."""


@numba.njit(nogil=True, cache=True)
def _forward_rows(
    start, stop, scores_BW, weights_E, M, clusters_BW, slots_BK, edges_BK, n_valid_B, y
):
    for b in range(start, stop):
        scores, starts = scores_BW[b], clusters_BW[b] * M
        slots, edges, out = slots_BK[b], edges_BK[b], y[b]
        n = n_valid_B[b]
        for k in range(n):
            slot = np.uint64(slots[k])
            out[k] = scores[slot] * weights_E[np.uint64(starts[slot] + edges[k])]
        out[n:] = 0.0


@numba.njit(nogil=True, cache=True)
def _backward_clusters(
    start, stop, scores_BW, weights_E, M, clusters_BW, slots_BK, edges_BK, n_valid_B, grad_y,
    grad_scores_BW, grad_edges_E, rest,
):  # fmt: skip
    """Gradients of clusters start to stop and of their edges; those of others go to ``rest``.

    ``rest`` is the place of M floats in ``grad_edges_E`` that nobody reads.
    """
    W = clusters_BW.shape[1]
    sums = np.empty((_CHAINS, W), np.float32)
    places = np.empty(W, np.int64)
    for b in range(slots_BK.shape[0]):
        scores, starts = scores_BW[b], clusters_BW[b] * M
        slots, edges, grads = slots_BK[b], edges_BK[b], grad_y[b]
        for w in range(W):
            own = start <= clusters_BW[b, w] < stop
            places[w] = starts[w] if own else rest
        sums[:] = 0.0
        for k in range(n_valid_B[b]):
            slot, edge, g = np.uint64(slots[k]), edges[k], grads[k]
            sums[np.uint64(k % _CHAINS), slot] += g * weights_E[np.uint64(starts[slot] + edge)]
            grad_edges_E[np.uint64(places[slot] + edge)] += g * scores[slot]
        for w in range(W):
            if start <= clusters_BW[b, w] < stop:
                total = np.float32(0.0)
                for chain in range(_CHAINS):
                    total += sums[chain, w]
                grad_scores_BW[b, w] = total


class _PathScoresCPU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        scores_BW: torch.Tensor,
        edge_weights_CM: torch.Tensor,
        clusters_BW: torch.Tensor,
        shortlist: Shortlist,
        found_BK: torch.Tensor | None,
    ) -> torch.Tensor:
        M = edge_weights_CM.shape[1]
        ctx.save_for_backward(scores_BW, edge_weights_CM, clusters_BW)
        ctx.places = (shortlist.slots_BK, shortlist.edges_BK, shortlist.n_valid_B)
        if found_BK is not None:
            return found_BK.detach()
        arrays = _as_arrays(scores_BW, edge_weights_CM.reshape(-1))
        places = _as_arrays(clusters_BW, *ctx.places)
        out = np.empty(places[1].shape, np.float32)
        run_ranges(
            split_evenly(len(out), torch.get_num_threads()),
            lambda _, a, b: _forward_rows(a, b, *arrays, M, *places, out),
        )
        return torch.from_numpy(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, *grads: torch.Tensor) -> Any:
        scores_BW, edge_weights_CM, clusters_BW = ctx.saved_tensors  # type: ignore[attr-defined]
        C, M = edge_weights_CM.shape
        arrays = _as_arrays(scores_BW, edge_weights_CM.reshape(-1))
        places = _as_arrays(clusters_BW, *ctx.places)  # type: ignore[attr-defined]
        (grad_y,) = _as_arrays(*grads)
        ranges = split_evenly(C, torch.get_num_threads())
        grad_scores = np.zeros(arrays[0].shape, np.float32)
        grad_edges = np.zeros((C + len(ranges), M), np.float32)
        flat = grad_edges.reshape(-1)
        run_ranges(
            ranges,
            lambda part, a, b: _backward_clusters(
                a, b, *arrays, M, *places, grad_y, grad_scores, flat, (C + part) * M
            ),
        )
        return torch.from_numpy(grad_scores), torch.from_numpy(grad_edges[:C]), None, None, None


def _as_arrays(*tensors: torch.Tensor) -> list[np.ndarray[Any, Any]]:
    return [tensor.detach().contiguous().numpy() for tensor in tensors]


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
        implementation: ``"auto"`` (Numba on the CPU, Triton on CUDA, else torch), ``"numba"``,
            ``"torch"``, ``"triton"``.

    Returns:
        float32 B x K, 0 at pads; gradients flow to the scores and the weights.
    """
    chosen = choose(scores_BW.device, implementation)
    if chosen == "numba":
        return _PathScoresCPU.apply(scores_BW, edge_weights_CM, clusters_BW, shortlist, found_BK)  # type: ignore[no-any-return]
    valid_BK, slots_BK = shortlist.label_ids_BK >= 0, shortlist.slots_BK.long()
    chosen_BK = clusters_BW.gather(1, slots_BK).clamp(min=0)
    edges_BK = chosen_BK * edge_weights_CM.shape[1] + shortlist.edges_BK
    if chosen == "triton":
        from learned_index.kernels.triton.paths import PathScoresTriton

        edges_BK = torch.where(valid_BK, edges_BK, -1)
        return PathScoresTriton.apply(scores_BW, edge_weights_CM, slots_BK, edges_BK)  # type: ignore[no-any-return]
    weights_BK = edge_weights_CM.reshape(-1).index_select(0, edges_BK.reshape(-1))
    path_BK = scores_BW.gather(1, slots_BK) * weights_BK.view(edges_BK.shape)
    return path_BK.masked_fill(~valid_BK, 0.0)
