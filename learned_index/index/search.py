"""Search of a trained index: compiled on the CPU, in batches of torch on other devices."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from learned_index.engine.label_scores import BeamSearch, growing_widths, score_pairs
from learned_index.index.network import IndexNetwork
from learned_index.inputs.filters import Filter, search_by_filter
from learned_index.inputs.labels import wanted_labels
from learned_index.inputs.numbers import check_result_size, whole_number, whole_numbers
from learned_index.inputs.scored import ScoredLabels, Scores, Wanted
from learned_index.inputs.vectors import as_query_rows
from learned_index.kernels.classify import score_labels
from learned_index.kernels.machine.dispatch import choose
from learned_index.kernels.search import SearchSettings, search_cpu
from learned_index.kernels.select.plain import best_in_order
from learned_index.kernels.walk import explore, path_scores
from learned_index.types import (
    PAD_ID,
    PAD_SCORE,
    DenseMatrix,
    Float32Array,
    Int64Array,
    SearchResult,
)

_GROWTH = 2
"""The beam is so many times as wide at the next attempt to find what it did not reach."""
_SCRATCH_ELEMENTS = 1 << 28
"""Bound on the elements that a block of queries needs at a time."""


class Knobs(NamedTuple):
    """How much is looked at.

    Attributes:
        k: Results a query.
        beam_width: W, clusters explored.
        shortlist_size: K, labels scored.
    """

    k: int
    beam_width: int
    shortlist_size: int


def search_index(
    network: IndexNetwork,
    queries: DenseMatrix,
    k: int = 10,
    *,
    beam_width: int | None = None,
    shortlist_size: int | None = None,
    allow: Filter | None = None,
    deny: Filter | None = None,
) -> SearchResult:
    """See :meth:`LearnedGraphIndex.search`."""
    network.require_fitted()
    queries_BD = as_query_rows(queries, dim=network.dim)
    width = network.config.beam_width if beam_width is None else beam_width
    size = network.config.shortlist_size if shortlist_size is None else shortlist_size
    knobs = Knobs(*whole_numbers(k=k, beam_width=width, shortlist_size=size))
    check_result_size(knobs.k, n_rows=len(queries_BD), n_labels=network.n_labels)
    if allow is None and deny is None:
        return _search(network, queries_BD, knobs)
    options = {"beam_width": knobs.beam_width, "shortlist_size": knobs.shortlist_size}
    found = search_by_filter(
        allow, deny, len(queries_BD), knobs.k,
        lambda rows, allowed, denied: search_index(
            network, queries_BD[rows], knobs.k, **options, allow=allowed, deny=denied
        ),
        n_labels=network.n_labels,
    )  # fmt: skip
    if found is not None:
        return found
    wanted_L = wanted_labels(allow, deny, network.n_labels)
    return _search_some_labels(network, queries_BD, knobs, wanted_L)


def _search_some_labels(
    network: IndexNetwork, queries_BD: Float32Array, knobs: Knobs, wanted_L: npt.NDArray[np.bool_]
) -> SearchResult:
    """Only edges to wanted labels are walked; the beam grows while a query finds fewer than k."""
    edges_CM = _edges_to(network, wanted_L)
    result = _search(network, queries_BD, knobs, edges_CM)
    # No beam finds more than the shortlist holds.
    least = min(knobs.k, knobs.shortlist_size, int(wanted_L.sum()))
    width = knobs.beam_width
    while width < network.n_clusters:
        short = np.flatnonzero((result.ids[:, :least] == PAD_ID).any(axis=1))
        if not len(short):
            break
        width = min(_GROWTH * width, network.n_clusters)
        again = _search(network, queries_BD[short], knobs._replace(beam_width=width), edges_CM)
        result.ids[short], result.scores[short] = again
    return result


def score_index(
    network: IndexNetwork,
    queries: DenseMatrix,
    labels: ScoredLabels,
    *,
    beam_width: int | None = None,
) -> Scores:
    """See :meth:`LearnedGraphIndex.score`."""
    network.require_fitted()
    queries_BD = as_query_rows(queries, dim=network.dim)
    width = network.config.beam_width if beam_width is None else beam_width
    width = whole_number(width, "beam_width")
    wanted = Wanted(labels, len(queries_BD), network.n_labels)

    def only(labels_M: Int64Array) -> BeamSearch:
        size = len(labels_M)
        wanted_L = np.zeros(network.n_labels, bool)
        wanted_L[labels_M] = True
        edges_CM = _edges_to(network, wanted_L)
        return lambda rows, width: _search(
            network, queries_BD[rows], Knobs(size, width, size), edges_CM
        )

    widths = growing_widths(width, _GROWTH, network.n_clusters)
    return wanted.arranged(score_pairs(wanted.rows_n, wanted.labels_n, only, widths))


def _edges_to(network: IndexNetwork, wanted_L: npt.NDArray[np.bool_]) -> torch.Tensor:
    """int32 C x M: the labels of the edges, -1 (as pads have it) where they are not wanted."""
    labels_CM = network.graph.edge_labels_CM
    wanted = torch.from_numpy(wanted_L).to(labels_CM.device)
    return labels_CM.masked_fill(~wanted[labels_CM.clamp(min=0).long()], -1)


def _search(
    network: IndexNetwork,
    queries_BD: Float32Array,
    knobs: Knobs,
    edge_labels_CM: torch.Tensor | None = None,
) -> SearchResult:
    """Search checked queries along the graph's edges, or along those that are given."""
    if network.label_bias_L.device.type != "cpu":
        return search_in_torch(network, queries_BD, knobs, edge_labels_CM=edge_labels_CM)
    config, hierarchy, arrays = network.config, network.hierarchy, network.search_arrays()
    if edge_labels_CM is not None:
        arrays = arrays._replace(edge_labels_CM=edge_labels_CM.numpy())
    width = min(knobs.beam_width, network.n_clusters)
    regions, candidates, share = 0, 0, 1.0
    if hierarchy is not None:
        regions, candidates = hierarchy.widths(width)
        share = hierarchy.coverage_at(candidates)
    settings = SearchSettings(
        router_scale=float(share * config.router_scale),
        region_scale=float(config.region_scale),
        path_exponent=float(config.path_exponent),
        beam_width=width,
        shortlist_size=knobs.shortlist_size,
        region_beam_width=regions,
        n_candidates=candidates,
    )
    return SearchResult(*search_cpu(queries_BD, arrays, settings, knobs.k))


@torch.no_grad()
def search_in_torch(
    network: IndexNetwork,
    queries_BD: Float32Array,
    knobs: Knobs,
    *,
    edge_labels_CM: torch.Tensor | None = None,
    implementation: str = "auto",
) -> SearchResult:
    """The same search in batches on the index's device; in plain torch the oracle of all others.

    Args:
        network: The index, on any device.
        queries_BD: float32, checked.
        knobs: Results, beam, shortlist.
        edge_labels_CM: Labels of the edges; None: the graph's.
        implementation: ``"auto"`` (Triton on CUDA, else torch), ``"triton"``, ``"torch"``.
    """
    device = network.label_bias_L.device
    chosen = choose(device, implementation)
    if chosen == "numba":  # the CPU's own way is learned_index.kernels.search
        chosen = "torch"
    labels_CM = network.graph.edge_labels_CM if edge_labels_CM is None else edge_labels_CM
    edges_CM = network.graph.weights()
    width = min(knobs.beam_width, network.n_clusters)
    size = min(knobs.shortlist_size, network.n_labels)
    found = min(knobs.k, size)
    block = _queries_at_a_time(network, width=width, size=size, in_torch=chosen == "torch")
    ids = torch.full((len(queries_BD), knobs.k), PAD_ID, device=device)
    scores = torch.full((len(queries_BD), knobs.k), PAD_SCORE, device=device)
    for start in range(0, len(queries_BD), block):
        rows = torch.tensor(queries_BD[start : start + block], device=device)
        x_BD = network.projected(rows)
        scores_BW, clusters_BW = network.beam(x_BD, width, implementation=chosen)
        shortlist = explore(
            clusters_BW,
            scores_BW,
            labels_CM,
            edges_CM,
            n_labels=network.n_labels,
            shortlist_size=size,
            implementation=chosen,
        )
        path_BK = path_scores(scores_BW, edges_CM, clusters_BW, shortlist, implementation=chosen)
        logits_BK = score_labels(
            x_BD,
            network.label_weight_LD.detach(),
            network.label_bias_L.detach(),
            shortlist.label_ids_BK,
            implementation=chosen,
        )
        probability_BK = path_BK**network.config.path_exponent * torch.sigmoid(logits_BK)
        stop = start + len(rows)
        ids[start:stop, :found], scores[start:stop, :found] = best_in_order(
            probability_BK, shortlist.label_ids_BK, found
        )
    return SearchResult(ids.cpu().numpy(), scores.cpu().numpy())


def _queries_at_a_time(network: IndexNetwork, *, width: int, size: int, in_torch: bool) -> int:
    per_query = max(16 * size, network.n_clusters)
    if in_torch:  # B x L and B x W x M tensors; Triton's walk bounds its own scratch
        n_edges = network.graph.edge_labels_CM.shape[1]
        per_query = max(per_query, network.n_labels, width * n_edges)
    return max(1, _SCRATCH_ELEMENTS // per_query)
