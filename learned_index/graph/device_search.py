"""Search in plain torch: the path for an index on another device, and the oracle of the CPU's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from learned_index.kernels import explore, score_labels
from learned_index.types import Float32Array, SearchResult

if TYPE_CHECKING:
    from learned_index.graph.learned_graph_index import LearnedGraphIndex

_SCRATCH_ELEMENTS = 1 << 28
"""Bound on the B x L and B x W x M scratch of one block of queries."""


@torch.no_grad()
def search_on_device(
    index: LearnedGraphIndex,
    queries_BD: Float32Array,
    k: int,
    *,
    beam_width: int,
    shortlist_size: int,
) -> SearchResult:
    """The same search as :meth:`LearnedGraphIndex.search` with torch operations alone.

    Args:
        index: The index, on any device.
        queries_BD: float32, checked.
        k: Results per query.
        beam_width: W.
        shortlist_size: K.
    """
    device = index.label_bias_L.device
    edges_CM = index.graph.weights()
    width = min(beam_width, index.n_clusters)
    size = min(shortlist_size, index.n_labels)
    per_query = max(index.n_labels, width * edges_CM.shape[1], size)
    block = max(1, _SCRATCH_ELEMENTS // per_query)
    ids = np.full((len(queries_BD), k), -1, np.int64)
    scores = np.full((len(queries_BD), k), -np.inf, np.float32)
    for start in range(0, len(queries_BD), block):
        rows = torch.tensor(queries_BD[start : start + block], device=device)
        x_BD = index._project(rows)
        scores_BW, clusters_BW = index.beam(x_BD, width, implementation="torch")
        shortlist = explore(
            clusters_BW,
            scores_BW,
            index.graph.edge_labels_CM,
            edges_CM,
            n_labels=index.n_labels,
            shortlist_size=size,
            implementation="torch",
        )
        ids_BK = shortlist.label_ids_BK
        chosen = clusters_BW.gather(1, shortlist.slots_BK)
        path_BK = scores_BW.gather(1, shortlist.slots_BK) * edges_CM[chosen, shortlist.edges_BK]
        logits = score_labels(
            x_BD,
            index.label_weight_LD.detach(),
            index.label_bias_L.detach(),
            ids_BK,
            implementation="torch",
        )
        path_BK = path_BK**index.config.path_exponent
        probability = (path_BK * torch.sigmoid(logits)).masked_fill(ids_BK < 0, float("-inf"))
        # Equal scores come in ascending order of id: sort by id, then stably by score.
        by_id = ids_BK.argsort(dim=1, stable=True)
        ordered = probability.gather(1, by_id).sort(dim=1, descending=True, stable=True)
        found = min(k, size)
        top = ordered.values[:, :found]
        top_ids = ids_BK.gather(1, by_id).gather(1, ordered.indices[:, :found])
        stop = start + len(rows)
        ids[start:stop, :found] = top_ids.cpu().numpy()
        scores[start:stop, :found] = top.cpu().numpy()
    return SearchResult(ids, scores)
