"""Search of an index on another device than the CPU; in plain torch, the oracle of all others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from learned_index.kernels.classify import score_labels
from learned_index.kernels.machine.dispatch import choose
from learned_index.kernels.select.plain import best_in_order
from learned_index.kernels.walk import explore, path_scores
from learned_index.types import PAD_ID, PAD_SCORE, Float32Array, SearchResult

if TYPE_CHECKING:
    from learned_index.index.learned_graph_index import LearnedGraphIndex

_SCRATCH_ELEMENTS = 1 << 28
"""Bound on the elements that a block of queries needs at a time."""


@torch.no_grad()
def search_on_device(
    index: LearnedGraphIndex,
    queries_BD: Float32Array,
    k: int,
    *,
    beam_width: int,
    shortlist_size: int,
    implementation: str = "auto",
) -> SearchResult:
    """The same search as :meth:`LearnedGraphIndex.search`, in batches on the index's device.

    Args:
        index: The index, on any device.
        queries_BD: float32, checked.
        k: Results per query.
        beam_width: W.
        shortlist_size: K.
        implementation: ``"auto"`` (Triton on CUDA, else torch), ``"triton"``, ``"torch"``.
    """
    device = index.label_bias_L.device
    chosen = choose(device, implementation)
    if chosen == "numba":  # the CPU's own way is learned_index.kernels.search
        chosen = "torch"
    edges_CM = index.graph.weights()
    width = min(beam_width, index.n_clusters)
    size = min(shortlist_size, index.n_labels)
    found = min(k, size)
    block = _queries_at_a_time(index, width=width, size=size, in_torch=chosen == "torch")
    ids = torch.full((len(queries_BD), k), PAD_ID, device=device)
    scores = torch.full((len(queries_BD), k), PAD_SCORE, device=device)
    for start in range(0, len(queries_BD), block):
        rows = torch.tensor(queries_BD[start : start + block], device=device)
        x_BD = index._project(rows)
        scores_BW, clusters_BW = index.beam(x_BD, width, implementation=chosen)
        shortlist = explore(
            clusters_BW,
            scores_BW,
            index.graph.edge_labels_CM,
            edges_CM,
            n_labels=index.n_labels,
            shortlist_size=size,
            implementation=chosen,
        )
        path_BK = path_scores(scores_BW, edges_CM, clusters_BW, shortlist, implementation=chosen)
        logits_BK = score_labels(
            x_BD,
            index.label_weight_LD.detach(),
            index.label_bias_L.detach(),
            shortlist.label_ids_BK,
            implementation=chosen,
        )
        probability_BK = path_BK**index.config.path_exponent * torch.sigmoid(logits_BK)
        stop = start + len(rows)
        ids[start:stop, :found], scores[start:stop, :found] = best_in_order(
            probability_BK, shortlist.label_ids_BK, found
        )
    return SearchResult(ids.cpu().numpy(), scores.cpu().numpy())


def _queries_at_a_time(index: LearnedGraphIndex, *, width: int, size: int, in_torch: bool) -> int:
    per_query = max(16 * size, index.n_clusters)
    if in_torch:  # B x L and B x W x M tensors; Triton's walk bounds its own scratch
        n_edges = index.graph.edge_labels_CM.shape[1]
        per_query = max(per_query, index.n_labels, width * n_edges)
    return max(1, _SCRATCH_ELEMENTS // per_query)
