"""The beam in Numba: the same as :mod:`.plain`; compared in ``tests/kernels/test_beam.py``."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch

from learned_index.kernels.machine.arrays import as_arrays
from learned_index.kernels.machine.exponential import softmax
from learned_index.kernels.machine.flags import FAST
from learned_index.kernels.machine.intrinsics import bits_of_float
from learned_index.kernels.machine.parallel import run_rows
from learned_index.kernels.select.cpu import best_rows, kth_bits

WIDEST = 64
"""A wider beam is cheaper from torch's selection than from one insertion after the other."""
# Every bit of a float32 but its sign.
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
        # First a threshold, in loops that vectorise; then insertion, of the few that reach it.
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
    logits_BC: torch.Tensor, width: int, teacher_BP: torch.Tensor | None
) -> torch.Tensor:
    """See :func:`learned_index.kernels.beam.best_clusters`; float32 logits, W up to WIDEST."""
    (logits,) = as_arrays(logits_BC)
    teacher = np.empty((len(logits), 0), np.int64)
    if teacher_BP is not None:
        (teacher,) = as_arrays(teacher_BP)
    out = np.empty((len(logits), width + teacher.shape[1]), np.int64)
    run_rows(len(out), lambda a, b: _best_rows(a, b, logits, teacher, width, out))
    used = width
    while used < out.shape[1] and (out[:, used] >= 0).any():
        used += 1
    return torch.from_numpy(out if used == out.shape[1] else np.ascontiguousarray(out[:, :used]))


@numba.njit(nogil=True, cache=True)
def _score_rows(start, stop, logits_BC, clusters_BW, scale, softmax_BC, out_BW):
    for b in range(start, stop):
        for c in range(softmax_BC.shape[1]):
            softmax_BC[b, c] = logits_BC[b, c]
        softmax(softmax_BC[b], softmax_BC.shape[1], 1.0)
        for w in range(clusters_BW.shape[1]):
            c = clusters_BW[b, w]
            out_BW[b, w] = min(np.float32(1.0), scale * softmax_BC[b, c]) if c >= 0 else 0.0


@numba.njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy")
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


def forward(
    logits_BC: torch.Tensor, clusters_BW: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores of the clusters, and what :func:`backward` wants: the softmax of all."""
    # Torch's memory begins at a cache line, numpy's need not: what comes of it is multiplied.
    softmax_BC, scores_BW = torch.empty(logits_BC.shape), torch.empty(clusters_BW.shape)
    arrays = as_arrays(logits_BC, clusters_BW)
    outputs = softmax_BC.numpy(), scores_BW.numpy()
    run_rows(len(scores_BW), lambda a, b: _score_rows(a, b, *arrays, np.float32(scale), *outputs))
    return scores_BW, softmax_BC


def backward(
    grad_BW: torch.Tensor, softmax_BC: torch.Tensor, clusters_BW: torch.Tensor, scale: float
) -> torch.Tensor:
    """Gradient of the logits, B x C."""
    softmax, clusters, grad = as_arrays(softmax_BC, clusters_BW, grad_BW)
    grad_logits_BC = torch.empty(softmax.shape)  # goes into matrix products: see forward
    out: Any = grad_logits_BC.numpy()
    run_rows(
        len(out), lambda a, b: _backward_rows(a, b, softmax, clusters, np.float32(scale), grad, out)
    )
    return grad_logits_BC
