"""The walk in Numba: the same as :mod:`.plain`; compared in ``tests/kernels/test_walk.py``.

One scratch array of L cells and a list of the labels reached make the merge one maximum per edge;
the scratch is cleared through the list. What is kept is marked in one bit a label and read off in
ascending order: L / 64 words a query are all that grows with L.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch

from learned_index.kernels.machine.arrays import as_arrays
from learned_index.kernels.machine.intrinsics import bits_of_float, float_of_bits, trailing_zeros
from learned_index.kernels.machine.parallel import run_ranges, run_rows, split_evenly
from learned_index.kernels.select.cpu import kth_bits
from learned_index.kernels.walk.plain import Beam
from learned_index.system.threads import current_threads

# Cells of the merge: nothing yet, and one that does not count: a pad, or a positive taken already.
_EMPTY, _TAKEN = np.uint64(0), np.uint64(2**64 - 1)
# Halves of a cell: a score's bits above a place. All in uint64: a mixture with int64 is a float64.
_LOW_HALF = np.uint64(2**32 - 1)
_HALF = np.uint64(32)
# Where a label's bit is: the word, and the place in it.
_ONE, _WORD_BITS, _IN_WORD = np.uint64(1), np.uint64(6), np.uint64(63)

_CHAINS = 4
"""Partial sums of a cluster's gradient: neighbours often share a cluster, and must not wait."""


@numba.njit(nogil=True, cache=True)
def _merge_paths(clusters_W, scores_W, edge_labels_CM, edge_weights_CM, best_L, reached):
    """Walk the edges of one query; return how many labels were reached.

    A label's cell holds the bits of its best path's score above those of the path's place, counted
    from the last so that of equal scores the first wins; 0 before the first path. So the larger
    number is the better path, and no branch depends on the data: whether a label is new cannot be
    predicted, and a wrong guess costs more than the edge. Pads lead to a cell beyond the labels.
    """
    W, M = clusters_W.shape[0], np.uint64(edge_labels_CM.shape[1])
    beyond = np.uint32(best_L.shape[0] - 1)
    best_L[beyond] = _TAKEN
    n = np.uint64(0)
    for w in range(W):
        c = clusters_W[w]
        if c < 0:
            continue
        labels, weights = edge_labels_CM[c], edge_weights_CM[c]
        score = scores_W[w]
        last = _LOW_HALF - np.uint64(w) * M
        for m in range(M):
            label = min(np.uint32(labels[m]), beyond)
            bits = np.uint64(np.uint32(bits_of_float(score * weights[m])))
            old = best_L[label]
            best_L[label] = max(old, (bits << _HALF) | (last - m))
            reached[n] = label
            n += np.uint64(old == _EMPTY)
    return np.int64(n)


@numba.njit(nogil=True, cache=True)
def _mark_best(reached, n, n_free, size, best_L, values, words):
    """Set the bits of the ``size`` best labels of those reached that are not taken.

    Args:
        reached: uint32 labels.
        n: How many of them.
        n_free: How many of these are not taken.
        size: How many to mark; of equal ones those reached first.
        best_L: Their cells.
        values: int32 scratch.
        words: uint64, a bit for each label, all 0 before.
    """
    for i in range(np.uint64(n)):
        values[i] = np.int32(best_L[reached[i]] >> _HALF)  # the bits of a score; -1 where taken
    threshold, ties = np.int32(0), n
    if n_free > size:
        threshold, above = np.int32(0x7FFFFFFF), np.int32(0)
        if size > 0:
            threshold, above = kth_bits(values, n, size)
        ties = size - above
    for i in range(np.uint64(n)):
        equal = np.int64(values[i] == threshold)
        taken = np.uint64(values[i] > threshold) | np.uint64(equal & np.int64(ties > 0))
        ties -= equal
        label = np.uint64(reached[i])
        words[label >> _WORD_BITS] |= taken << (label & _IN_WORD)


@numba.njit(nogil=True, cache=True)
def _take_marked(words, best_L, labels, places, scores, n):
    """Append the marked labels in ascending order, with their paths; returns how many there are."""
    n = np.uint64(n)
    for w in range(np.uint64(words.shape[0])):
        word = words[w]
        words[w] = 0
        while word:
            label = (w << _WORD_BITS) + trailing_zeros(word)
            word &= word - _ONE
            labels[n] = label
            cell = best_L[label]
            places[n] = _place_of(cell)
            scores[n] = _score_of(cell)
            n += _ONE
    return np.int64(n)


@numba.njit(nogil=True, cache=True)
def _place_of(cell):
    return np.uint32(_LOW_HALF - (cell & _LOW_HALF))


@numba.njit(nogil=True, cache=True)
def _score_of(cell):
    return float_of_bits(np.int32(cell >> _HALF))


@numba.njit(nogil=True, cache=True)
def _split_places(places, n, M, slots, edges):
    """Places to slots and edges, ``divmod(place, M)``."""
    # As floats: exact below 2^32, since the half that is added keeps the quotient away from whole
    # numbers, and unlike a division of integers it vectorises.
    factor = 1.0 / M
    for i in range(n):
        slot = np.int32((np.float64(places[i]) + 0.5) * factor)
        slots[i] = slot
        edges[i] = np.int32(places[i]) - slot * np.int32(M)


@numba.njit(nogil=True, cache=True)
def _explore_rows(
    start, stop, clusters_BW, scores_BW, edge_labels_CM, edge_weights_CM, positives_BP,
    best_L, reached, values, words,
    label_ids_BK, slots_BK, edges_BK, path_BK, n_positives_B, n_valid_B,
):  # fmt: skip
    M, K = edge_labels_CM.shape[1], label_ids_BK.shape[1]
    places = np.empty(K, np.uint32)
    for b in range(start, stop):
        n = _merge_paths(
            clusters_BW[b], scores_BW[b], edge_labels_CM, edge_weights_CM, best_L, reached
        )
        ids, scores = label_ids_BK[b], path_BK[b]
        n_out = 0
        for label in positives_BP[b]:
            if label >= 0 and n_out < K and _EMPTY < best_L[label] < _TAKEN:
                ids[n_out] = label
                places[n_out] = _place_of(best_L[label])
                scores[n_out] = _score_of(best_L[label])
                best_L[label] = _TAKEN
                n_out += 1
        n_positives_B[b] = n_out
        _mark_best(reached, n, n - n_out, K - n_out, best_L, values, words)
        n_out = _take_marked(words, best_L, ids, places, scores, n_out)
        for i in range(np.uint64(n)):
            best_L[reached[i]] = _EMPTY  # clean for the next query
        _split_places(places, n_out, M, slots_BK[b], edges_BK[b])
        n_valid_B[b] = n_out
        ids[n_out:] = -1
        scores[n_out:] = 0.0
        slots_BK[b, n_out:] = 0
        edges_BK[b, n_out:] = 0


def explore(beam: Beam) -> list[torch.Tensor]:
    """See :func:`learned_index.kernels.walk.explore`; the fields of its result."""
    clusters_BW, scores_BW, edge_labels_CM, edge_weights_CM, positives_BP, n_labels, K = beam
    B = len(clusters_BW)
    n_paths = clusters_BW.shape[1] * edge_labels_CM.shape[1]
    arrays = [
        clusters_BW.numpy().astype(np.int64, copy=False),
        np.ascontiguousarray(scores_BW.numpy(), dtype=np.float32),
        edge_labels_CM.numpy(),
        np.ascontiguousarray(edge_weights_CM.numpy(), dtype=np.float32),
        positives_BP.numpy().astype(np.int64, copy=False),
    ]
    out_ids = np.empty((B, K), np.int64)
    out_slots, out_edges = (np.empty((B, K), np.int32) for _ in range(2))
    out_paths = np.empty((B, K), np.float32)
    n_positives, n_valid = np.empty(B, np.int64), np.empty(B, np.int64)

    def call(start: int, stop: int) -> None:
        best_L = np.zeros(n_labels + 1, np.uint64)  # pads lead to the cell beyond the labels
        # One place more than paths: where the loop writes what it then does not count.
        scratch = [np.empty(n_paths + 1, kind) for kind in (np.uint32, np.int32)]
        words = np.zeros((n_labels >> 6) + 1, np.uint64)
        _explore_rows(
            start, stop, *arrays, best_L, *scratch, words,
            out_ids, out_slots, out_edges, out_paths, n_positives, n_valid,
        )  # fmt: skip

    run_rows(B, call)
    found = (out_ids, out_slots, out_edges, n_positives, n_valid, out_paths)
    return [torch.from_numpy(array) for array in found]


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


def places(clusters_BW: torch.Tensor, shortlist: Any, _n_edges: int) -> tuple[torch.Tensor, ...]:
    """What the two functions below read of a shortlist."""
    return clusters_BW, shortlist.slots_BK, shortlist.edges_BK, shortlist.n_valid_B


def forward(
    scores_BW: torch.Tensor, edge_weights_CM: torch.Tensor, places: tuple[torch.Tensor, ...]
) -> torch.Tensor:
    """Path scores, B x K."""
    M = edge_weights_CM.shape[1]
    arrays, of_paths = as_arrays(scores_BW, edge_weights_CM.reshape(-1)), as_arrays(*places)
    out = np.empty(of_paths[1].shape, np.float32)
    run_rows(len(out), lambda a, b: _forward_rows(a, b, *arrays, M, *of_paths, out))
    return torch.from_numpy(out)


def backward(
    grad_BK: torch.Tensor,
    scores_BW: torch.Tensor,
    edge_weights_CM: torch.Tensor,
    places: tuple[torch.Tensor, ...],
    _needs: tuple[bool, ...],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of the scores and the weights; one loop makes both, whichever is needed."""
    C, M = edge_weights_CM.shape
    arrays, of_paths = as_arrays(scores_BW, edge_weights_CM.reshape(-1)), as_arrays(*places)
    (grad,) = as_arrays(grad_BK)
    # By clusters and not by queries: each gradient of an edge has one writer.
    ranges = split_evenly(C, current_threads())
    grad_scores = np.zeros(arrays[0].shape, np.float32)
    grad_edges = np.zeros((C + len(ranges), M), np.float32)
    flat = grad_edges.reshape(-1)
    run_ranges(
        ranges,
        lambda part, a, b: _backward_clusters(
            a, b, *arrays, M, *of_paths, grad, grad_scores, flat, (C + part) * M
        ),
    )
    return torch.from_numpy(grad_scores), torch.from_numpy(grad_edges[:C])
