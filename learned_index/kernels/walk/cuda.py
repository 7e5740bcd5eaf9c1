"""The walk in Triton: the same as :mod:`.plain`; compared in ``tests/triton_cases.py``.

Every query has a scratch row of L 64-bit cells. A path's key is its score's bits (scores are not
negative, so their order is that of the bits) above its position counted from the end, so one
atomic maximum keeps the best path and, of equal ones, the first: the order of the programs does
not show in the result. A second walk finds the winners, clears their cells and leaves one value a
path, -1 for the losers; :mod:`~learned_index.kernels.select.cuda` picks the K best of these.

Why not a sort of (label, score) pairs: at L = 131K, batch 512, 25 clusters of 1000 edges, the
scratch is 0.5 GB, written once (0.2 ms at 3 TB/s), and the walk makes 13 million atomics; a sort of
13 million 64-bit keys moves some 2 GB and takes several ms. The scratch is bounded: more queries
than fit are done in turns, and it is cleared by the second walk, never as a whole.

An edge can be chosen by every query of a batch. Its gradient is summed by one program over the
pairs sorted by edge, not by atomics, so it has the same bits in every run.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from learned_index.kernels.machine.launch import block_of, blocks, launch, warps_of
from learned_index.kernels.machine.segments import group_by_key
from learned_index.kernels.select.cuda import select_largest
from learned_index.kernels.walk.plain import Beam, edge_places

_SCRATCH_BYTES = 3 << 28
"""Bound on the scratch rows of one turn; a single query may need more."""


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


def explore(beam: Beam) -> list[torch.Tensor]:
    """See :func:`learned_index.kernels.walk.explore`; the fields of its result.

    Scratch: 8 L bytes a query, at most 0.75 GB at a time, and 4 W M bytes a query.
    """
    clusters_BW, scores_BW, edge_labels_CM, edge_weights_CM, positives_BP, n_labels, K = beam
    device = scores_BW.device
    B, W = clusters_BW.shape
    M, P = edge_labels_CM.shape[1], positives_BP.shape[1]
    clusters = clusters_BW.to(torch.int64).contiguous()
    scores = scores_BW.float().contiguous()
    labels = edge_labels_CM.to(torch.int32).contiguous()
    weights = edge_weights_CM.float().contiguous()
    positives = positives_BP.to(torch.int64).contiguous()
    positions_BK = torch.full((B, K), -1, dtype=torch.int32, device=device)
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
                positions_BK[rows], P, K, n_labels,
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
    return [ids_BK, slots_BK, edges_BK, n_positives_B, (ids_BK >= 0).sum(dim=1)]


def _reading_order(
    ids_BK: torch.Tensor, n_positives_B: torch.Tensor, n_labels: int
) -> torch.Tensor:
    """Positives where they are, then labels in ascending order, then pads.

    The kernels of :mod:`~learned_index.kernels.classify.cuda` go through all queries at the same
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


@triton.jit
def paths_kernel(scores, weights, slots, edges, out, n, W, K, BLOCK: tl.constexpr):
    """Path scores of a block of pairs; ``edges`` are positions in C x M, -1 at pads."""
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    edge = tl.load(edges + i, mask=i < n, other=-1)
    slot = tl.load(slots + i, mask=i < n, other=0)
    score = tl.load(scores + (i // K) * W + slot, mask=edge >= 0, other=0.0)
    weight = tl.load(weights + edge, mask=edge >= 0, other=0.0)
    tl.store(out + i, score * weight, mask=i < n)


@triton.jit
def grad_scores_kernel(grad, weights, slots, edges, out, W, K, BLOCK_W: tl.constexpr,
                       BLOCK_K: tl.constexpr):  # fmt: skip
    """Gradient of a block of one query's cluster scores: the sum over their paths."""
    n_blocks = tl.cdiv(W, BLOCK_W)
    b = (tl.program_id(0) // n_blocks).to(tl.int64)
    w = (tl.program_id(0) % n_blocks) * BLOCK_W + tl.arange(0, BLOCK_W)
    total = tl.zeros([BLOCK_K, BLOCK_W], tl.float32)
    for start in range(0, K, BLOCK_K):
        k = start + tl.arange(0, BLOCK_K)
        edge = tl.load(edges + b * K + k, mask=k < K, other=-1)
        slot = tl.load(slots + b * K + k, mask=k < K, other=-1)
        value = tl.load(grad + b * K + k, mask=edge >= 0, other=0.0)
        value *= tl.load(weights + edge, mask=edge >= 0, other=0.0)
        total += tl.where(slot[:, None] == w[None, :], value[:, None], 0.0)
    tl.store(out + b * W + w, tl.sum(total, 0), mask=w < W)


@triton.jit
def grad_edges_kernel(grad, scores, slots, edges, order, starts, out, W, K,
                      BLOCK: tl.constexpr):  # fmt: skip
    """Gradient of one edge: the sum over the queries whose path leads over it."""
    group = tl.program_id(0).to(tl.int64)
    first = tl.load(starts + group)
    last = tl.load(starts + group + 1)
    if first < last:
        total = tl.zeros([BLOCK], tl.float32)
        for start in range(first, last, BLOCK):
            j = start + tl.arange(0, BLOCK)
            pair = tl.load(order + j, mask=j < last, other=0)
            slot = tl.load(slots + pair, mask=j < last, other=0)
            value = tl.load(grad + pair, mask=j < last, other=0.0)
            total += value * tl.load(scores + (pair // K) * W + slot, mask=j < last, other=0.0)
        edge = tl.load(edges + tl.load(order + first))
        tl.store(out + edge, tl.sum(total, 0))


def places(
    clusters_BW: torch.Tensor, shortlist: Any, n_edges: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the two functions below read of a shortlist: slots, places in C x M (-1 at pads)."""
    edges_BK = edge_places(clusters_BW, shortlist, n_edges)
    edges_BK = torch.where(shortlist.label_ids_BK >= 0, edges_BK, -1)
    return shortlist.slots_BK.long().contiguous(), edges_BK.contiguous()


def forward(
    scores_BW: torch.Tensor,
    edge_weights_CM: torch.Tensor,
    places: tuple[torch.Tensor, torch.Tensor],
) -> torch.Tensor:
    """Path scores, B x K."""
    slots, edges = places
    B, K = slots.shape
    scores, weights = scores_BW.detach().contiguous(), edge_weights_CM.detach().contiguous()
    out = torch.empty((B, K), dtype=torch.float32, device=scores.device)
    launch(
        paths_kernel, blocks(B * K, 1024), scores.device,
        scores, weights, slots, edges, out, B * K, scores.shape[1], K, BLOCK=1024,
    )  # fmt: skip
    return out


def backward(
    grad_BK: torch.Tensor,
    scores_BW: torch.Tensor,
    edge_weights_CM: torch.Tensor,
    places: tuple[torch.Tensor, torch.Tensor],
    needs: tuple[bool, ...],
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Gradients of the cluster scores and the edge weights, where they are wanted."""
    grad, (slots, edges) = grad_BK.contiguous(), places
    scores, weights = scores_BW.contiguous(), edge_weights_CM.contiguous()
    (B, K), W, device = grad.shape, scores.shape[1], grad.device
    grad_scores = grad_weights = None
    if needs[0]:
        grad_scores = torch.empty_like(scores)
        block = block_of(W, 64)
        launch(
            grad_scores_kernel, B * blocks(W, block), device,
            grad, weights, slots, edges, grad_scores, W, K, BLOCK_W=block, BLOCK_K=32,
        )  # fmt: skip
    if needs[1]:
        grad_weights = torch.zeros_like(weights)
        order, starts = group_by_key(edges, weights.numel())
        launch(
            grad_edges_kernel, len(starts) - 1, device,
            grad, scores, slots, edges, order, starts, grad_weights, W, K,
            BLOCK=16, num_warps=1,
        )  # fmt: skip
    return grad_scores, grad_weights
