"""The best clusters of each query, those of its labels, and the scores of both (equations 2, 3)."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch.autograd.function import FunctionCtx, once_differentiable

from learned_index.kernels.dispatch import choose
from learned_index.kernels.engine_select import kth_bits
from learned_index.kernels.engine_steps import best_rows, softmax
from learned_index.kernels.intrinsics import bits_of_float
from learned_index.kernels.parallel import run_ranges, split_evenly

_WIDEST = 64
"""A wider beam is cheaper from torch's selection than from one insertion after the other."""
_FAST: Any = {"reassoc", "contract", "nsz"}
_WITHOUT_SIGN = np.int32(0x7FFFFFFF)


@numba.njit(nogil=True, cache=True)
def _ordered_bits(values, bits):
    """Integers in the order of the floats: those of negative numbers are turned round."""
    for i in range(values.shape[0]):
        value = bits_of_float(values[i])
        bits[i] = value ^ ((value >> np.int32(31)) & _WITHOUT_SIGN)


@numba.njit(nogil=True, cache=True)
def _best_rows(start, stop, logits_BC, teacher_BP, width, out_BW):
    """The beam, and after it the teacher's clusters that it misses, each once, -1 where unused."""
    C = logits_BC.shape[1]
    bits, scores = np.empty(C, np.int32), np.empty(width, np.float32)
    chosen, logits = np.empty(C + 1, np.int32), np.empty(C + 1, np.float32)
    for b in range(start, stop):
        out = out_BW[b]
        _ordered_bits(logits_BC[b], bits)
        threshold = np.int32(0)
        if width < C:
            threshold, _ = kth_bits(bits, C, width)
        n = np.int64(0)
        for c in range(C):
            chosen[n] = c
            logits[n] = logits_BC[b, c]
            n += np.int64(width >= C or bits[c] >= threshold)  # of equal ones perhaps more than W
        best_rows(logits, n, width, out, scores)
        for w in range(width):
            out[w] = chosen[out[w]]
        n = np.int64(width)
        for p in range(teacher_BP.shape[1]):
            cluster = teacher_BP[b, p]
            known = cluster < 0
            for w in range(n):
                known |= out[w] == cluster
            if not known:
                out[n] = cluster
                n += 1
        out[n:] = -1


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
    by_insertion = width <= _WIDEST and logits_BC.dtype == torch.float32
    if choose(logits_BC.device, implementation) != "numba" or not by_insertion:
        return _best_torch(logits_BC, width, teacher_BP)
    logits = logits_BC.contiguous().numpy()
    teacher = np.empty((len(logits), 0), np.int64)
    if teacher_BP is not None:
        teacher = teacher_BP.contiguous().numpy()
    out = np.empty((len(logits), width + teacher.shape[1]), np.int64)
    run_ranges(
        split_evenly(len(out), torch.get_num_threads()),
        lambda _, a, b: _best_rows(a, b, logits, teacher, width, out),
    )
    used = width
    while used < out.shape[1] and (out[:, used] >= 0).any():
        used += 1
    return torch.from_numpy(out if used == out.shape[1] else np.ascontiguousarray(out[:, :used]))


def _best_torch(
    logits_BC: torch.Tensor, width: int, teacher_BP: torch.Tensor | None
) -> torch.Tensor:
    beam = logits_BC.topk(width, dim=1).indices
    if teacher_BP is None or teacher_BP.shape[1] == 0:
        return beam
    in_beam = torch.zeros_like(logits_BC, dtype=torch.bool).scatter_(1, beam, True)
    known = in_beam.gather(1, teacher_BP.clamp(min=0))
    return torch.cat([beam, distinct(teacher_BP.masked_fill(known, -1))], dim=1)


def distinct(ids_BP: torch.Tensor) -> torch.Tensor:
    """Each row's different ids, int64 B x P' with P' <= P, descending, -1 where unused."""
    ids = ids_BP.sort(dim=1, descending=True).values
    repeated = torch.zeros_like(ids, dtype=torch.bool)
    repeated[:, 1:] = ids[:, 1:] == ids[:, :-1]
    ids = ids.masked_fill(repeated, -1).sort(dim=1, descending=True).values
    width = int((ids >= 0).sum(1).max()) if ids.numel() else 0
    return ids[:, :width]


@numba.njit(nogil=True, cache=True)
def _score_rows(start, stop, logits_BC, clusters_BW, scale, softmax_BC, out_BW):
    for b in range(start, stop):
        softmax_BC[b] = logits_BC[b]
        softmax(softmax_BC[b], softmax_BC.shape[1], 1.0)
        for w in range(clusters_BW.shape[1]):
            c = clusters_BW[b, w]
            out_BW[b, w] = min(np.float32(1.0), scale * softmax_BC[b, c]) if c >= 0 else 0.0


@numba.njit(nogil=True, cache=True, fastmath=_FAST, error_model="numpy")
def _backward_rows(start, stop, softmax_BC, clusters_BW, scale, grad_BW, out_BC):
    for b in range(start, stop):
        softmax, out = softmax_BC[b], out_BC[b]
        total = np.float32(0.0)
        for w in range(clusters_BW.shape[1]):
            c = clusters_BW[b, w]
            if c >= 0 and scale * softmax[c] <= np.float32(1.0):
                total += grad_BW[b, w] * softmax[c]
        for c in range(out.shape[0]):
            out[c] = -scale * total * softmax[c]
        for w in range(clusters_BW.shape[1]):
            c = clusters_BW[b, w]
            if c >= 0 and scale * softmax[c] <= np.float32(1.0):
                out[c] += scale * grad_BW[b, w] * softmax[c]


class _ClusterScoresCPU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits_BC: torch.Tensor, clusters_BW: torch.Tensor, scale: float
    ) -> torch.Tensor:
        softmax, out = torch.empty(logits_BC.shape), torch.empty(clusters_BW.shape)
        ctx.scale = np.float32(scale)
        tensors = (logits_BC.detach().contiguous(), clusters_BW.contiguous(), softmax, out)
        logits, clusters, softmax_BC, out_BW = (tensor.numpy() for tensor in tensors)
        run_ranges(
            split_evenly(len(out), torch.get_num_threads()),
            lambda _, a, b: _score_rows(a, b, logits, clusters, ctx.scale, softmax_BC, out_BW),
        )
        ctx.save_for_backward(softmax, clusters_BW)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, *grads: torch.Tensor) -> Any:
        tensors = (*ctx.saved_tensors, grads[0])  # type: ignore[attr-defined]
        softmax, clusters, grad = (tensor.contiguous().numpy() for tensor in tensors)
        scale = ctx.scale  # type: ignore[attr-defined]
        # Torch's memory begins at a cache line, numpy's need not: this goes into matrix products.
        grad_logits_BC = torch.empty(softmax.shape)
        out = grad_logits_BC.numpy()
        run_ranges(
            split_evenly(len(out), torch.get_num_threads()),
            lambda _, a, b: _backward_rows(a, b, softmax, clusters, scale, grad, out),
        )
        return grad_logits_BC, None, None


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
        return _ClusterScoresCPU.apply(logits_BC, clusters_BW, scale)  # type: ignore[no-any-return]
    scores_BC = torch.clamp(scale * torch.softmax(logits_BC.float(), dim=-1), max=1.0)
    scores_BW = scores_BC.gather(1, clusters_BW.clamp(min=0))
    return scores_BW.masked_fill(clusters_BW < 0, 0.0)
