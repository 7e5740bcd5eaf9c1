"""Edge walk with max-merge on the GPU (equation 5).

Every query has a scratch row of L 64-bit cells. A path's key is its score's bits (scores are not
negative, so their order is that of the bits) above its position counted from the end, so one
atomic maximum keeps the best path and, of equal ones, the first: the order of the programs does
not show in the result. A second walk finds the winners, clears their cells and leaves one value a
path, -1 for the losers; :mod:`~learned_index.kernels.triton.select` picks the K best of these.

Why not a sort of (label, score) pairs: at L = 131K, batch 512, 25 clusters of 1000 edges, the
scratch is 0.5 GB, written once (0.2 ms at 3 TB/s), and the walk makes 13 million atomics; a sort of
13 million 64-bit keys moves some 2 GB and takes several ms. The scratch is bounded: more queries
than fit are done in turns, and it is cleared by the second walk, never as a whole.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from learned_index.kernels.triton.launch import block_of, launch, warps_of
from learned_index.kernels.triton.select import select_largest

_SCRATCH_BYTES = 3 << 28
"""Bound on the scratch rows of one turn; a single query may need more."""
_LAST = 0x7FFFFFFF


@triton.jit
def _paths(cluster, score, edge_labels, edge_weights, slot, start, M, BLOCK: tl.constexpr):
    """One block of a cluster's edges: label, path score, key, position, and whether it counts."""
    column = start + tl.arange(0, BLOCK)
    inside = (column < M) & (cluster >= 0)
    edge = cluster * M + column
    label = tl.load(edge_labels + edge, mask=inside, other=-1).to(tl.int64)
    path = score * tl.load(edge_weights + edge, mask=inside, other=0.0)
    live = (label >= 0) & (path >= 0.0)  # NaN does not count
    position = slot * M + column
    key = (path.to(tl.int32, bitcast=True).to(tl.int64) << 32) | (0x7FFFFFFF - position).to(
        tl.int64
    )
    return label, path, key, position, live


@triton.jit
def walk_kernel(clusters, scores, edge_labels, edge_weights, best, W, M, L, BLOCK: tl.constexpr):
    """Merge one cluster's paths into the scratch row of its query."""
    row = (tl.program_id(0) // W).to(tl.int64)
    slot = tl.program_id(0) % W
    cluster = tl.load(clusters + row * W + slot)
    if cluster >= 0:
        score = tl.load(scores + row * W + slot)
        for start in range(0, M, BLOCK):
            label, _path, key, _position, live = _paths(
                cluster, score, edge_labels, edge_weights, slot, start, M, BLOCK
            )
            tl.atomic_max(best + row * L + label, key, mask=live, sem="relaxed")


@triton.jit
def positives_kernel(positives, best, n_positives, out, P, K, L, BLOCK: tl.constexpr):
    """Put the reached positives of a query first, and take them out of its scratch row."""
    row = tl.program_id(0).to(tl.int64)
    taken_before = 0
    for start in range(0, P, BLOCK):
        column = start + tl.arange(0, BLOCK)
        label = tl.load(positives + row * P + column, mask=column < P, other=-1)
        cell = best + row * L + label
        key = tl.load(cell, mask=label >= 0, other=0)
        reached = (key > 0).to(tl.int32)
        place = taken_before + tl.cumsum(reached, 0) - 1
        taken = (reached != 0) & (place < K)
        position = (0x7FFFFFFF - (key & 0x7FFFFFFF)).to(tl.int32)
        tl.store(out + row * K + place, position, mask=taken)
        tl.store(cell, tl.zeros([BLOCK], tl.int64), mask=taken)
        taken_before += tl.sum(taken.to(tl.int32), 0)
    tl.store(n_positives + row, taken_before)


@triton.jit
def collect_kernel(
    clusters, scores, edge_labels, edge_weights, best, values, W, M, L, BLOCK: tl.constexpr
):
    """Leave the score of the paths that won their label, -1 for others, and clear their cells.

    A program may find a cell cleared by another: then the other's path won, and this one's key,
    which is never 0, differs either way.
    """
    row = (tl.program_id(0) // W).to(tl.int64)
    slot = tl.program_id(0) % W
    cluster = tl.load(clusters + row * W + slot)
    score = tl.load(scores + row * W + slot)
    for start in range(0, M, BLOCK):
        label, path, key, position, live = _paths(
            cluster, score, edge_labels, edge_weights, slot, start, M, BLOCK
        )
        cell = best + row * L + label
        wins = live & (tl.load(cell, mask=live, other=0) == key)
        tl.store(values + row * W * M + position, tl.where(wins, path, -1.0),
                 mask=position < (slot + 1) * M)  # fmt: skip
        tl.store(cell, tl.zeros([BLOCK], tl.int64), mask=wins)


def explore_triton(
    clusters_BW: torch.Tensor,
    scores_BW: torch.Tensor,
    edge_labels_CM: torch.Tensor,
    edge_weights_CM: torch.Tensor,
    *,
    n_labels: int,
    shortlist_size: int,
    positives_BP: torch.Tensor,
    force_positives: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """See :func:`learned_index.kernels.explore`; returns the fields of ``Shortlist``.

    Scratch: 8 L bytes a query, at most 0.75 GB at a time, and 4 W M bytes a query.
    """
    device = scores_BW.device
    B, W = clusters_BW.shape
    M, P = edge_labels_CM.shape[1], positives_BP.shape[1] if force_positives else 0
    clusters = clusters_BW.to(torch.int64).contiguous()
    scores = scores_BW.float().contiguous()
    labels = edge_labels_CM.to(torch.int32).contiguous()
    weights = edge_weights_CM.float().contiguous()
    positives = positives_BP.to(torch.int64).contiguous()
    positions_BK = torch.full((B, shortlist_size), -1, dtype=torch.int32, device=device)
    n_positives_B = torch.zeros(B, dtype=torch.int64, device=device)
    turn = max(1, min(B, _SCRATCH_BYTES // (8 * max(n_labels, W * M // 2, 1))))
    best = torch.zeros((turn, n_labels), dtype=torch.int64, device=device)
    values = torch.empty((turn, W * M), dtype=torch.float32, device=device)
    block = block_of(M, 1024)
    for start in range(0, B, turn):
        rows = slice(start, min(start + turn, B))
        n = rows.stop - start
        edges = (clusters[rows], scores[rows], labels, weights, best)
        launch(walk_kernel, n * W, device, *edges, W, M, n_labels, BLOCK=block)
        if P:
            launch(
                positives_kernel, n, device, positives[rows], best, n_positives_B[rows],
                positions_BK[rows], P, shortlist_size, n_labels,
                BLOCK=block_of(P, 256), num_warps=1,
            )  # fmt: skip
        launch(
            collect_kernel, n * W, device, *edges, values, W, M, n_labels,
            BLOCK=block, num_warps=warps_of(block, 4),
        )  # fmt: skip
        select_largest(values[:n], n_positives_B[rows], positions_BK[rows])
    found = positions_BK >= 0
    position = torch.where(found, positions_BK, 0).long()
    slots_BK, edges_BK = position // M, position % M
    chosen = clusters.gather(1, slots_BK).clamp(min=0)
    ids_BK = torch.where(found, labels[chosen, edges_BK].long(), -1)
    order = _reading_order(ids_BK, n_positives_B, n_labels)
    ids_BK, slots_BK, edges_BK = (t.gather(1, order) for t in (ids_BK, slots_BK, edges_BK))
    return ids_BK, slots_BK, edges_BK, n_positives_B


def _reading_order(
    ids_BK: torch.Tensor, n_positives_B: torch.Tensor, n_labels: int
) -> torch.Tensor:
    """Positives where they are, then labels in ascending order, then pads.

    The kernels of :mod:`~learned_index.kernels.triton.score` go through all queries at the same
    pace. In this order they meet the same classifiers at about the same time, so most reads can
    come from the L2 cache: at L = 131K, K = 2000, B = 512, D = 768 each row is wanted by 8 queries.
    """
    K = ids_BK.shape[1]
    column = torch.arange(K, device=ids_BK.device)[None, :]
    key = torch.where(column < n_positives_B[:, None], column, ids_BK + K)
    key = torch.where(ids_BK < 0, n_labels + K, key)
    if n_labels + K < 1 << 31:
        key = key.int()  # quicker to sort
    return key.argsort(dim=1, stable=True)
