"""The search of one query in one compiled loop: project, route, walk, select, score, rank."""

from __future__ import annotations

import numba
import numpy as np

from learned_index.kernels.machine.dense import dot
from learned_index.kernels.machine.exponential import power
from learned_index.kernels.machine.flags import FAST
from learned_index.kernels.search.routing import max_merge, route_deep, route_flat, take_best
from learned_index.kernels.select.cpu import best_rows, top_k


@numba.njit(nogil=True, cache=True, fastmath=FAST, error_model="numpy", forceinline=True)
def _project(query, input_scale, projection, scaled, x):
    for d in range(x.shape[0]):
        scaled[d] = query[d] * input_scale
        x[d] = scaled[d]
    for d in range(projection.shape[0]):
        x[d] += dot(projection[d], scaled)


@numba.njit(nogil=True, cache=True)
def search_rows(
    start, stop, queries,
    projection, router, edge_labels, edge_weights, label_vectors, bias, input_scale,
    region, region_edges, region_weights,
    scale, region_scale, path_exponent, beam_width, shortlist_size, region_beam_width, n_candidates,
    best, best_cluster, out_ids, out_scores,
):  # fmt: skip
    """Search ``queries[start:stop]``; arrays and settings in the order of their classes."""
    C = router.shape[0]
    S = region.shape[0]
    k = out_ids.shape[1]
    x = np.empty(queries.shape[1], np.float32)
    scaled = np.empty(queries.shape[1], np.float32)
    # Of regions where there are some, else of all clusters: never both.
    first_scores = np.empty(S if S else C, np.float32)
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
                x, region, region_edges, region_weights, router, region_scale, scale,
                n_candidates, first_scores, region_beam, region_beam_scores,
                best_cluster, candidates, candidate_scores, beam, beam_scores,
            )  # fmt: skip
        else:
            route_flat(x, router, scale, first_scores)
            best_rows(first_scores, C, beam_width, beam, beam_scores)
        n = max_merge(beam, beam_scores, beam_width, edge_labels, edge_weights, best, touched)
        kept = take_best(best, touched, n, values, shortlist_size)
        for i in range(kept):
            label = touched[i]
            z = dot(label_vectors[label], x) + bias[label]
            path = power(values[i], path_exponent)
            values[i] = path / (np.float32(1.0) + np.exp(-z))
            if values[i] != values[i]:  # of classifiers so large that a sum is inf - inf
                values[i] = 0.0
        top_k(values, touched, kept, k, out_ids[b], out_scores[b])
