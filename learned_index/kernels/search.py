"""The whole search of one query in one compiled loop: project, route, walk, select, score, rank.

Every query is computed by the same code on one thread, whatever the batch and the thread count, so
the answers are equal bit for bit.
"""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import numba
import numpy as np
import torch

from learned_index.kernels.dense import dot
from learned_index.kernels.parallel import run_ranges, split_evenly
from learned_index.kernels.routing import (
    NOT_FOUND,
    max_merge,
    route_deep,
    route_flat,
    take_best,
)
from learned_index.kernels.select import top_k
from learned_index.types import Float32Array, Int64Array


class SearchArrays(NamedTuple):
    """C-ordered arrays of a trained index, as the kernel reads them.

    Attributes:
        projection_DD: float32 P of ``x + P x``; 0 x D where there is no projection.
        router_CD: float32 cluster vectors.
        edge_labels_CM: int32, -1 at pads.
        edge_weights_CM: float32 in [0, 1].
        label_LD: float32 label classifiers.
        bias_L: float32.
        input_scale: Factor on the query vectors before everything else.
        region_SD: float32 region vectors of a deep index; 0 x D where all clusters are scored.
        region_edge_clusters: int32 S x M0, -1 at pads.
        region_edge_weights: float32 S x M0 in [0, 1].
    """

    projection_DD: Float32Array
    router_CD: Float32Array
    edge_labels_CM: np.ndarray[Any, np.dtype[np.int32]]
    edge_weights_CM: Float32Array
    label_LD: Float32Array
    bias_L: Float32Array
    input_scale: np.float32
    region_SD: Float32Array
    region_edge_clusters: np.ndarray[Any, np.dtype[np.int32]]
    region_edge_weights: Float32Array


@numba.njit(
    nogil=True,
    cache=True,
    fastmath={"reassoc", "contract", "nsz"},
    error_model="numpy",
    forceinline=True,
)
def _project(query, input_scale, projection, scaled, x):
    for d in range(x.shape[0]):
        scaled[d] = query[d] * input_scale
        x[d] = scaled[d]
    for d in range(projection.shape[0]):
        x[d] += dot(projection[d], scaled)


@numba.njit(nogil=True, cache=True)
def _search_rows(
    start,
    stop,
    queries,
    projection,
    router,
    edge_labels,
    edge_weights,
    label_vectors,
    bias,
    input_scale,
    region,
    region_edges,
    region_weights,
    scale,
    region_scale,
    path_exponent,
    beam_width,
    shortlist_size,
    region_beam_width,
    n_candidates,
    best,
    best_cluster,
    out_ids,
    out_scores,
):
    C = router.shape[0]
    S = region.shape[0]
    k = out_ids.shape[1]
    x = np.empty(queries.shape[1], np.float32)
    scaled = np.empty(queries.shape[1], np.float32)
    # Of regions where there are some, else of all clusters: never both.
    first_scores = np.empty(S if S else C, np.float32)
    first_numbers = np.arange(S if S else C)
    region_beam = np.empty(region_beam_width, np.int64)
    region_beam_scores = np.empty(region_beam_width, np.float32)
    reached = min(region_beam_width * region_edges.shape[1], best_cluster.shape[0])
    candidates = np.empty(reached, np.int32)
    candidate_scores = np.empty(reached, np.float32)
    beam = np.empty(beam_width, np.int64)
    beam_scores = np.empty(beam_width, np.float32)
    limit = min(beam_width * edge_labels.shape[1], best.shape[0])
    touched = np.empty(limit, np.int32)
    values = np.empty(limit, np.float32)
    for b in range(start, stop):
        _project(queries[b], input_scale, projection, scaled, x)
        if S:
            route_deep(
                x, region, first_numbers, region_edges, region_weights, router, region_scale, scale,
                n_candidates, first_scores, region_beam, region_beam_scores,
                best_cluster, candidates, candidate_scores, beam, beam_scores,
            )  # fmt: skip
        else:
            route_flat(x, router, scale, first_scores)
            top_k(first_scores, first_numbers, C, beam_width, beam, beam_scores)
        n = max_merge(beam, beam_scores, beam_width, edge_labels, edge_weights, best, touched)
        kept = take_best(best, touched, n, values, shortlist_size)
        for i in range(kept):
            label = touched[i]
            z = dot(label_vectors[label], x) + bias[label]
            if path_exponent == 0.5:
                path = np.sqrt(values[i])
            elif path_exponent == 1.0:
                path = values[i]
            else:
                path = np.float32(values[i] ** path_exponent)
            values[i] = path / (np.float32(1.0) + np.exp(-z))
            if values[i] != values[i]:  # of classifiers so large that a sum is inf - inf
                values[i] = 0.0
        top_k(values, touched, kept, k, out_ids[b], out_scores[b])


_scratch = threading.local()


def _scratch_row(name: str, size: int) -> Float32Array:
    """One thread's array of so many floats, all -1; the kernel leaves it as it found it."""
    row: Float32Array | None = _scratch.__dict__.get(name)
    if row is None or len(row) != size:
        row = np.full(size, NOT_FOUND, np.float32)
        _scratch.__dict__[name] = row
    return row


def search_cpu(
    queries_BD: Float32Array,
    arrays: SearchArrays,
    *,
    router_scale: float,
    path_exponent: float,
    k: int,
    beam_width: int,
    shortlist_size: int,
    region_beam_width: int = 0,
    n_candidates: int = 0,
    region_scale: float = 1.0,
) -> tuple[Int64Array, Float32Array]:
    """Search with compiled code on the CPU.

    Args:
        queries_BD: float32, C order, finite.
        arrays: The index.
        router_scale: alpha; for candidates of a deep index times their share of the softmax.
        path_exponent: Labels are ranked by ``path^exponent * sigmoid(w.x + b)``.
        k: Results per query.
        beam_width: W, at most C.
        shortlist_size: K.
        region_beam_width: W0, at most S; 0 where there are no regions.
        n_candidates: K0, at least W where there are regions.
        region_scale: alpha of the regions.

    Returns:
        ids int64 B x k (-1 pads), scores float32 B x k (-inf pads), best first; equal scores come
        in ascending order of id.
    """
    n_queries = len(queries_BD)
    n_clusters = len(arrays.router_CD) if len(arrays.region_SD) else 0
    ids = np.empty((n_queries, k), np.int64)
    scores = np.empty((n_queries, k), np.float32)

    def call(_: int, start: int, stop: int) -> None:
        _search_rows(
            start, stop, queries_BD, *arrays, np.float64(router_scale), np.float64(region_scale),
            np.float64(path_exponent), beam_width, shortlist_size, region_beam_width, n_candidates,
            _scratch_row("labels", len(arrays.bias_L)), _scratch_row("clusters", n_clusters),
            ids, scores,
        )  # fmt: skip

    n_threads = torch.get_num_threads()
    run_ranges(split_evenly(n_queries, 4 * n_threads if n_threads > 1 else 1), call)
    return ids, scores
