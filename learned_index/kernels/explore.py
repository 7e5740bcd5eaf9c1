"""Walk the edges of a beam with max-merge, and keep the K best labels of each query (equation 5).

A label is reached over several clusters; its shortlist score is the maximum of ``s_c * e_cl`` over
the explored paths. One scratch array of L cells and a list of the labels reached make the merge one
maximum per edge; the scratch is cleared through the list, so a query never costs O(L).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import torch

from learned_index.kernels.dispatch import choose
from learned_index.kernels.engine_select import select_largest
from learned_index.kernels.intrinsics import bits_of_float
from learned_index.kernels.parallel import run_ranges, split_evenly

# Cells of the merge: nothing yet, a positive that was taken already, and one that never changes.
_EMPTY, _TAKEN, _DEAD = np.uint64(0), np.uint64(1), np.uint64(2**64 - 1)
_LOW_HALF = np.uint64(2**32 - 1)
_HALF = np.uint64(32)


class Shortlist(NamedTuple):
    """Labels that the explored paths reach, with the path that gave each its score.

    Attributes:
        label_ids_BK: int64, -1 where a query reaches fewer labels. The reached positives of the
            query stand first (in the order given), then the best other labels in no order.
        slots_BK: int64, position in the explored clusters of the best path's cluster (0 at pads).
        edges_BK: int64, position of the label in that cluster's row (0 at pads).
        n_positives_B: int64, how many of the leading columns are positives.
    """

    label_ids_BK: torch.Tensor
    slots_BK: torch.Tensor
    edges_BK: torch.Tensor
    n_positives_B: torch.Tensor


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
    best_L[beyond] = _DEAD
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
def _collect(reached, n, best_L, values, places):
    """Scores and places of the labels reached and not taken; cleans their cells; how many."""
    kept = np.uint64(0)
    for i in range(np.uint64(n)):
        label = reached[i]
        cell = best_L[label]
        best_L[label] = _EMPTY  # clean for the next query
        values[kept] = np.int32(cell >> _HALF)
        places[kept] = np.uint32(_LOW_HALF - (cell & _LOW_HALF))
        reached[kept] = label
        kept += np.uint64(cell > _TAKEN)
    return np.int64(kept)


@numba.njit(nogil=True, cache=True)
def _split_places(places, n, M, slots, edges):
    """Divide by M: exact below 2^32, and it vectorises."""
    factor = 1.0 / M
    for i in range(n):
        place = np.int64(places[i])
        slot = np.int64((np.float64(place) + 0.5) * factor)
        slots[i] = slot
        edges[i] = place - slot * M


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
    places,
    chosen,
    label_ids_BK,
    slots_BK,
    edges_BK,
    n_positives_B,
):
    M = edge_labels_CM.shape[1]
    K = label_ids_BK.shape[1]
    P = positives_BP.shape[1]
    kept_places = np.empty(K, np.uint32)
    for b in range(start, stop):
        n = _merge_paths(
            clusters_BW[b], scores_BW[b], edge_labels_CM, edge_weights_CM, best_L, reached
        )
        ids = label_ids_BK[b]
        n_out = 0
        if force_positives:
            for p in range(P):
                label = positives_BP[b, p]
                if label >= 0 and best_L[label] > _TAKEN and n_out < K:
                    ids[n_out] = label
                    kept_places[n_out] = np.uint32(_LOW_HALF - (best_L[label] & _LOW_HALF))
                    best_L[label] = _TAKEN
                    n_out += 1
        n_positives_B[b] = n_out
        n = _collect(reached, n, best_L, values, places)
        n = select_largest(values.view(np.float32), n, K - n_out, chosen)
        for i in range(n):
            place = chosen[i]
            ids[n_out + i] = reached[place]
            kept_places[n_out + i] = places[place]
        n += n_out
        _split_places(kept_places, n, M, slots_BK[b], edges_BK[b])
        ids[n:] = -1
        slots_BK[b, n:] = 0
        edges_BK[b, n:] = 0


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
) -> Shortlist:
    B, K = clusters_BW.shape[0], shortlist_size
    n_paths = clusters_BW.shape[1] * edge_labels_CM.shape[1]
    arrays = [
        clusters_BW.numpy().astype(np.int64, copy=False),
        np.ascontiguousarray(scores_BW.numpy(), dtype=np.float32),
        edge_labels_CM.numpy(),
        np.ascontiguousarray(edge_weights_CM.numpy(), dtype=np.float32),
        positives_BP.numpy().astype(np.int64, copy=False),
    ]
    out_ids, out_slots, out_edges = (np.empty((B, K), np.int64) for _ in range(3))
    n_positives = np.empty(B, np.int64)
    n_threads = torch.get_num_threads()
    ranges = split_evenly(B, n_threads)

    def call(_: int, start: int, stop: int) -> None:
        best_L = np.zeros(n_labels + 1, np.uint64)
        # One place more than paths: where the loops write what they then do not count.
        kinds = (np.uint32, np.int32, np.uint32, np.int32)
        scratch = [np.empty(n_paths + 1, kind) for kind in kinds]
        _explore_rows(
            start, stop, *arrays, force_positives, best_L, *scratch,
            out_ids, out_slots, out_edges, n_positives,
        )  # fmt: skip

    run_ranges(ranges, call)
    return Shortlist(*(torch.from_numpy(a) for a in (out_ids, out_slots, out_edges, n_positives)))


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
) -> Shortlist:
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
    return Shortlist(
        torch.nn.functional.pad(ids, pad, value=-1),
        torch.nn.functional.pad(chosen // M, pad),
        torch.nn.functional.pad(chosen % M, pad),
        n_positives,
    )


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
    return Shortlist(
        *run(
            clusters_BW,
            scores_BW.detach(),
            edge_labels_CM,
            edge_weights_CM.detach(),
            n_labels=n_labels,
            shortlist_size=shortlist_size,
            positives_BP=positives_BP,
            force_positives=force_positives,
        )
    )
