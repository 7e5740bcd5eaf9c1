"""The engine's first step: a query as codes, and the clusters that it explores."""

from __future__ import annotations

import numba
import numpy as np

from learned_index.kernels.engine import handle as place
from learned_index.kernels.engine.logits import (
    LARGEST_SCALE,
    chosen_logits,
    code_sum,
    group_logits,
    is_finite,
    quantise,
    row_logits,
)
from learned_index.kernels.engine.scratch import carve
from learned_index.kernels.engine.steps import end_walks, walk
from learned_index.kernels.machine.exponential import softmax
from learned_index.kernels.machine.intrinsics import as_float32
from learned_index.kernels.search.routing import routing_coverage, routing_widths
from learned_index.kernels.select.cpu import best_rows, select_largest

NO_BUDGET = 1 << 62


@numba.njit(nogil=True, cache=True, forceinline=True)
def score_clusters_of_group(handle, queries, start, stop, s):
    """Logits of all clusters for some queries of a batch: the clusters are read once for all."""
    n_clusters, dim, padded_dim = (
        handle[place.N_CLUSTERS],
        handle[place.DIM],
        handle[place.PADDED_DIM],
    )
    for g in range(stop - start):
        codes = s.group_codes[g * padded_dim : (g + 1) * padded_dim]
        for d in range(dim):
            s.x[d] = queries[start + g, d]
        s.group_scales[g] = quantise(s.x, dim, codes)
        for d in range(dim, padded_dim):
            codes[d] = 0
        s.group_corrections[g] = np.int32(128) * code_sum(codes, dim)
    scales = numba.carray(as_float32(np.uintp(handle[place.CLUSTER_SCALES])), (n_clusters,))
    group_logits(
        np.uintp(handle[place.CLUSTER_VECTORS]), scales, n_clusters, padded_dim, s.group_codes,
        s.group_scales, s.group_corrections, stop - start, s.group_scores,
    )  # fmt: skip


@numba.njit(nogil=True, cache=True, forceinline=True)
def route(handle, beam_width, constants, scale, correction, group, s, counts):
    """Find the best clusters: among all, or among those that the best regions lead to.

    ``group``: the query's place among those whose logits are there already, or -1.
    """
    n_clusters, n_regions = handle[place.N_CLUSTERS], handle[place.N_REGIONS]
    padded_dim = handle[place.PADDED_DIM]
    vectors = np.uintp(handle[place.CLUSTER_VECTORS])
    scales = numba.carray(as_float32(np.uintp(handle[place.CLUSTER_SCALES])), (n_clusters,))
    if n_regions == 0:
        counts[1] += n_clusters
        scores = s.cluster_scores[:n_clusters]
        if group >= 0:
            scores = s.group_scores[group * n_clusters : (group + 1) * n_clusters]
        else:
            row_logits(vectors, scales, n_clusters, padded_dim, s.codes, scale, correction, scores)
        softmax(scores, n_clusters, constants[0])
        return best_rows(scores, n_clusters, beam_width, s.beam, s.beam_scores)
    region_width, n_candidates = routing_widths(
        beam_width, handle[place.REFERENCE_BEAM], handle[place.REGION_BEAM],
        handle[place.CLUSTER_CANDIDATES], n_regions, n_clusters,
    )  # fmt: skip
    region_scales = numba.carray(as_float32(np.uintp(handle[place.REGION_SCALES])), (n_regions,))
    row_logits(
        np.uintp(handle[place.REGION_VECTORS]), region_scales, n_regions, padded_dim, s.codes,
        scale, correction, s.region_scores,
    )  # fmt: skip
    softmax(s.region_scores, n_regions, constants[1])
    width = best_rows(s.region_scores, n_regions, region_width, s.beam, s.beam_scores)
    end_walks(
        s.beam, s.beam_scores, width, 1.0, n_regions, np.uintp(handle[place.REGION_EDGE_OFFSETS]),
        np.uintp(handle[place.REGION_EDGE_WEIGHTS]), NO_BUDGET, s.stops, s.cluster_paths,
    )  # fmt: skip
    n = walk(
        s.beam, s.beam_scores, width, 1.0, n_regions, np.uintp(handle[place.REGION_EDGE_OFFSETS]),
        np.uintp(handle[place.REGION_EDGE_CLUSTERS]), np.uintp(handle[place.REGION_EDGE_WEIGHTS]),
        s.stops, vectors, np.uintp(padded_dim), s.cluster_best, s.cluster_found, s.cluster_paths,
    )  # fmt: skip
    n = select_largest(s.cluster_paths, n, n_candidates, s.cluster_chosen)
    counts[1] += n
    chosen_logits(
        vectors, scales, s.cluster_found, s.cluster_chosen, n, padded_dim, s.codes, scale,
        correction, s.cluster_scores,
    )  # fmt: skip
    covered = routing_coverage(
        n_candidates, handle[place.CLUSTER_CANDIDATES], n_clusters, constants[3]
    )
    softmax(s.cluster_scores, n, constants[0] * covered)
    width = best_rows(s.cluster_scores, n, beam_width, s.beam, s.beam_scores)
    for w in range(width):
        s.beam[w] = s.cluster_found[s.cluster_chosen[s.beam[w]]]
    return width


@numba.njit(nogil=True, cache=True)
def route_rows(handle, queries, constants, beam_width, scratch, counts, out_clusters, out_scores):
    """The beams of queries, one by one: what a search of each explores.

    Args:
        handle: int64, see :mod:`.handle`.
        queries: float32 B x D, C order.
        constants: As :func:`.search.search_rows` has them.
        beam_width: W, 1 to C.
        scratch: Likewise.
        counts: Likewise.
        out_clusters: int32 B x W, -1 where fewer clusters are reached.
        out_scores: float32 B x W, ``min(1, alpha softmax)`` or above.

    Returns:
        -1, or the first row that is not finite or in float32's safe range.
    """
    dim, padded_dim = handle[place.DIM], handle[place.PADDED_DIM]
    s, _ = carve(handle, 1, np.uintp(scratch.ctypes.data + 63) & ~np.uintp(63))
    for d in range(dim, padded_dim):
        s.codes[d] = 0
    for b in range(queries.shape[0]):
        if not is_finite(queries[b], dim):
            return np.int64(b)
        for d in range(dim):
            s.x[d] = queries[b, d]
        scale = quantise(s.x, dim, s.codes)
        if scale > LARGEST_SCALE:
            return np.int64(b)
        correction = np.int32(128) * code_sum(s.codes, dim)
        width = route(handle, beam_width, constants, scale, correction, -1, s, counts)
        for w in range(beam_width):
            found = w < width
            out_clusters[b, w] = s.beam[w] if found else np.int32(-1)
            out_scores[b, w] = s.beam_scores[w] if found else np.float32(0.0)
    return np.int64(-1)
