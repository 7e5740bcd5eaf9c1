"""Walk the edges of a beam with max-merge, and keep the K best labels of each query (equation 5).

A label is reached over several clusters; its shortlist score is the maximum of ``s_c * e_cl`` over
the explored paths. One scratch array of L cells and a list of the labels reached make the merge one
maximum per edge; the scratch is cleared through the list. What is kept is marked in one bit a label
and read off in ascending order: L / 64 words a query are all that grows with L.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import torch

from learned_index.kernels.dispatch import choose
from learned_index.kernels.engine_select import kth_bits
from learned_index.kernels.intrinsics import bits_of_float, float_of_bits, trailing_zeros
from learned_index.kernels.parallel import run_ranges, split_evenly

# Cells of the merge: nothing yet, and one that does not count: a pad, or a positive taken already.
_EMPTY, _TAKEN = np.uint64(0), np.uint64(2**64 - 1)
_LOW_HALF = np.uint64(2**32 - 1)
_HALF = np.uint64(32)
_ONE, _WORD_BITS, _IN_WORD = np.uint64(1), np.uint64(6), np.uint64(63)


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
    """Divide by M: exact below 2^32, and it vectorises."""
    factor = 1.0 / M
    for i in range(n):
        slot = np.int32((np.float64(places[i]) + 0.5) * factor)
        slots[i] = slot
        edges[i] = np.int32(places[i]) - slot * np.int32(M)


@numba.njit(nogil=True, cache=True)
def _explore_rows(
    start,
    stop,
    clusters_BW,
    scores_BW,
    edge_labels_CM,
    edge_weights_CM,
    positives_BP,
    force_positives,
    best_L,
    reached,
    values,
    words,
    label_ids_BK,
    slots_BK,
    edges_BK,
    path_BK,
    n_positives_B,
    n_valid_B,
):
    M = edge_labels_CM.shape[1]
    K = label_ids_BK.shape[1]
    P = positives_BP.shape[1]
    places = np.empty(K, np.uint32)
    for b in range(start, stop):
        n = _merge_paths(
            clusters_BW[b], scores_BW[b], edge_labels_CM, edge_weights_CM, best_L, reached
        )
        ids, scores = label_ids_BK[b], path_BK[b]
        n_out = 0
        if force_positives:
            for p in range(P):
                label = positives_BP[b, p]
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


def _explore_cpu(
    clusters_BW: torch.Tensor,
    scores_BW: torch.Tensor,
    edge_labels_CM: torch.Tensor,
    edge_weights_CM: torch.Tensor,
    *,
    n_labels: int,
    shortlist_size: int,
    positives_BP: torch.Tensor,
    force_positives: bool,
) -> list[torch.Tensor]:
    B, K = clusters_BW.shape[0], shortlist_size
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
    n_threads = torch.get_num_threads()
    ranges = split_evenly(B, n_threads)

    def call(_: int, start: int, stop: int) -> None:
        best_L = np.zeros(n_labels + 1, np.uint64)
        # One place more than paths: where the loop writes what it then does not count.
        scratch = [np.empty(n_paths + 1, kind) for kind in (np.uint32, np.int32)]
        words = np.zeros((n_labels >> 6) + 1, np.uint64)
        _explore_rows(
            start, stop, *arrays, force_positives, best_L, *scratch, words,
            out_ids, out_slots, out_edges, out_paths, n_positives, n_valid,
        )  # fmt: skip

    run_ranges(ranges, call)
    found = (out_ids, out_slots, out_edges, n_positives, n_valid, out_paths)
    return [torch.from_numpy(array) for array in found]


def _explore_torch(
    clusters_BW: torch.Tensor,
    scores_BW: torch.Tensor,
    edge_labels_CM: torch.Tensor,
    edge_weights_CM: torch.Tensor,
    *,
    n_labels: int,
    shortlist_size: int,
    positives_BP: torch.Tensor,
    force_positives: bool,
) -> list[torch.Tensor]:
    """Plain torch version: the oracle, and the path for other devices (B x L scratch)."""
    B, W = clusters_BW.shape
    M = edge_labels_CM.shape[1]
    device = scores_BW.device
    safe_BW = clusters_BW.clamp(min=0)
    labels = edge_labels_CM[safe_BW].long().reshape(B, W * M)
    paths = (scores_BW[:, :, None] * edge_weights_CM[safe_BW]).reshape(B, W * M)
    dead = (labels < 0) | (clusters_BW < 0).repeat_interleave(M, dim=1)
    target = torch.where(dead, n_labels, labels)  # one extra column takes what does not count
    best = torch.full((B, n_labels + 1), -1.0, device=device, dtype=paths.dtype)
    best.scatter_reduce_(1, target, paths.masked_fill(dead, -1.0), "amax")
    position = torch.arange(W * M, device=device).expand(B, -1)
    wins = (paths == best.gather(1, target)) & ~dead
    first = torch.full((B, n_labels + 1), W * M, device=device, dtype=torch.long)
    first.scatter_reduce_(1, target, torch.where(wins, position, W * M), "amin")
    best, first = best[:, :n_labels], first[:, :n_labels]

    n_positives = torch.zeros(B, dtype=torch.long, device=device)
    key = best.clone()
    if force_positives and positives_BP.shape[1]:
        safe_BP = positives_BP.clamp(min=0)
        reached_BP = (positives_BP >= 0) & (best.gather(1, safe_BP) >= 0)
        n_positives = reached_BP.sum(1).clamp(max=shortlist_size)
        # rank the reached positives above everything else, in the order given
        order = torch.arange(positives_BP.shape[1], 0, -1, device=device, dtype=key.dtype)
        rank = torch.where(reached_BP, 2.0 + order, torch.full_like(order, -1.0))
        key.scatter_reduce_(1, safe_BP, rank, "amax")
    k = min(shortlist_size, n_labels)
    top, ids = key.topk(k, dim=1)
    found = top >= 0
    chosen = first.gather(1, ids)
    chosen = torch.where(found, chosen, 0)
    ids = torch.where(found, ids, -1)
    pad = (0, shortlist_size - k)
    return [
        torch.nn.functional.pad(ids, pad, value=-1),
        torch.nn.functional.pad(chosen // M, pad),
        torch.nn.functional.pad(chosen % M, pad),
        n_positives,
    ]


def explore(
    clusters_BW: torch.Tensor,
    scores_BW: torch.Tensor,
    edge_labels_CM: torch.Tensor,
    edge_weights_CM: torch.Tensor,
    *,
    n_labels: int,
    shortlist_size: int,
    positives_BP: torch.Tensor | None = None,
    force_positives: bool = False,
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
        positives_BP: int64, labels of each query, -1 where unused, no label twice in a row.
        force_positives: Keep every reached positive, whatever its score.
        implementation: ``"auto"`` (Numba on the CPU, Triton on CUDA, else torch), ``"numba"``,
            ``"triton"``, ``"torch"``.

    Returns:
        The shortlist; among equal scores the choice of which enter is unspecified but repeatable.
    """
    if positives_BP is None:
        positives_BP = torch.empty(
            (clusters_BW.shape[0], 0), dtype=torch.long, device=clusters_BW.device
        )
    chosen = choose(scores_BW.device, implementation)
    run: Any = _explore_cpu if chosen == "numba" else _explore_torch
    if chosen == "triton":
        from learned_index.kernels.triton.explore import explore_triton as run
    found = run(
        clusters_BW,
        scores_BW.detach(),
        edge_labels_CM,
        edge_weights_CM.detach(),
        n_labels=n_labels,
        shortlist_size=shortlist_size,
        positives_BP=positives_BP,
        force_positives=force_positives,
    )
    if chosen != "numba":
        found = [*found, (found[0] >= 0).sum(dim=1)]
    return Shortlist(*found)
