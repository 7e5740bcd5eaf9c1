"""Edge weights in Numba: the same as :mod:`.plain`; compared in ``tests/kernels/test_edges.py``."""

from __future__ import annotations

import numba
import numpy as np
import torch

from learned_index.kernels.machine.arrays import as_arrays
from learned_index.kernels.machine.exponential import softmax_of_some
from learned_index.kernels.machine.flags import FAST
from learned_index.kernels.machine.intrinsics import bits_of_float
from learned_index.kernels.machine.parallel import run_rows

# Halves of a cell of `_strongest`, in uint64 throughout: a mixture with int64 is a float64.
_LOW_HALF, _HALF = np.uint64(2**32 - 1), np.uint64(32)


@numba.njit(nogil=True, cache=True)
def _forward_rows(start, stop, logits_CM, labels_CM, scale, strengths_CM, out_CM):
    for c in range(start, stop):
        strengths, out = strengths_CM[c], out_CM[c]
        softmax_of_some(logits_CM[c], labels_CM[c], scale, strengths)
        for m in range(out.shape[0]):
            out[m] = min(strengths[m], np.float32(1.0))


@numba.njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy", forceinline=True)
def _backward_row(strengths, grad, scale, out):
    for m in range(strengths.shape[0]):
        cut = strengths[m] > np.float32(1.0)
        out[m] = np.float32(0.0) if cut else strengths[m] * grad[m]
    total = np.float32(0.0)  # by itself: see FAST
    for m in range(strengths.shape[0]):
        total += out[m]
    mean = total / scale
    for m in range(strengths.shape[0]):
        out[m] -= strengths[m] * mean


@numba.njit(nogil=True, cache=True)
def _backward_rows(start, stop, strengths_CM, grad_CM, scale, out_CM):
    for c in range(start, stop):
        _backward_row(strengths_CM[c], grad_CM[c], scale, out_CM[c])


def forward(
    logits_CM: torch.Tensor, labels_CM: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights of the edges, and what :func:`backward` wants: the weights before the cut at 1."""
    strengths, weights = torch.empty(logits_CM.shape), torch.empty(logits_CM.shape)
    arrays, outputs = as_arrays(logits_CM, labels_CM), (strengths.numpy(), weights.numpy())
    run_rows(len(weights), lambda a, b: _forward_rows(a, b, *arrays, np.float32(scale), *outputs))
    return weights, strengths


def backward(grad_CM: torch.Tensor, strengths_CM: torch.Tensor, scale: float) -> torch.Tensor:
    """Gradient of the logits, C x M."""
    strengths, grad = as_arrays(strengths_CM, grad_CM)
    out = np.empty_like(strengths)
    run_rows(len(out), lambda a, b: _backward_rows(a, b, strengths, grad, np.float32(scale), out))
    return torch.from_numpy(out)


@numba.njit(nogil=True, cache=True)
def _strongest(edge_labels, weights, best, cluster):
    """Clusters of the labels' strongest edges, the lowest of equal ones, -1 for no edge.

    A cell of ``best``, 0 before, holds the bits of a weight above the cluster's number, counted
    from the last: the larger number is the better edge, and no branch depends on the data. Pads
    lead to the cell beyond the labels.
    """
    beyond = np.uint32(best.shape[0] - 1)
    for c in range(np.uint64(edge_labels.shape[0])):
        for m in range(np.uint64(edge_labels.shape[1])):
            label = min(np.uint32(edge_labels[c, m]), beyond)
            bits = np.uint64(np.uint32(bits_of_float(weights[c, m])))
            best[label] = max(best[label], (bits << _HALF) | (_LOW_HALF - c))
    for i in range(cluster.shape[0]):
        cell = best[i]
        cluster[i] = np.int64(_LOW_HALF - (cell & _LOW_HALF)) if cell > 0 else -1


def strongest_clusters(
    edge_labels_CM: torch.Tensor, weights_CM: torch.Tensor, n_labels: int
) -> torch.Tensor:
    """See :func:`learned_index.kernels.edges.strongest_clusters`."""
    best, cluster = np.zeros(n_labels + 1, np.uint64), np.empty(n_labels, np.int64)
    _strongest(edge_labels_CM.numpy(), weights_CM.numpy(), best, cluster)
    return torch.from_numpy(cluster)
