"""The compiled search of one query: route, walk, sketch, select, rescore, rank.

The steps of a query x (legend of :mod:`learned_index.types`; S sketch dimensions):

1. *route*: int8 cluster vectors against an int8 query, ``s_c = min(1, alpha softmax)``; the best W.
   With regions above the clusters only those clusters are scored that the best regions lead to.
2. *walk*: the edges of those clusters; a label keeps its best ``(s_c e_cl)^a`` (a: path exponent).
3. *sketch*: each label found is scored on one cache line: S principal coordinates of its vector.
4. *select*: the K labels of the best ``path^a sigmoid(z)`` by the sketch.
5. *rescore* those with their whole vectors against the float query, *rank*, give the best k.

Every query is computed by this code on one thread, whatever the batch, so answers do not depend on
the batch size or the thread count. Nothing is allocated: scratch memory comes from the caller.
"""

from __future__ import annotations

import numba
import numpy as np

from learned_index.kernels.engine import handle as place
from learned_index.kernels.engine.logits import (
    AHEAD,
    LARGEST_SCALE,
    chosen_logits,
    code_sum,
    dot_float16,
    dot_float32,
    group_logits,
    is_finite,
    label_scores,
    quantise,
    quantise_rest,
    row_logits,
    sketch_bias,
    sketch_logits,
    whole_logits,
)
from learned_index.kernels.engine.scratch import GROUP, carve
from learned_index.kernels.engine.steps import NEVER_FOUND, end_walks, walk
from learned_index.kernels.machine.exponential import softmax
from learned_index.kernels.machine.intrinsics import as_float32, as_int32, prefetch, prefetch_row
from learned_index.kernels.search.routing import routing_coverage, routing_widths
from learned_index.kernels.select.cpu import best_rows, rank_best, select_largest

NO_BUDGET = 1 << 62
GROWTH = 4
"""A beam that found too little is so many times as wide next. Each time all starts anew: few, large
steps."""
LEAST_LOGIT = np.float32(-1e30)
"""In the place of a logit that is no number, because the label's vector holds one that is none."""


@numba.njit(nogil=True, cache=True, forceinline=True)
def _score_clusters_of_group(handle, queries, start, stop, s):
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
def _route(handle, beam_width, constants, scale, correction, group, s, counts):
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


@numba.njit(nogil=True, cache=True, forceinline=True)
def _float_logits(handle, labels, n, x, z):
    """``z = w.x + b`` of n labels whose vectors are float16 or float32."""
    half = handle[place.PRECISION] == place.FLOAT16
    dim = handle[place.PADDED_DIM]
    row_bytes = 2 * dim if half else 4 * dim
    base, step = np.uintp(handle[place.LABEL_VECTORS]), np.uintp(row_bytes)
    for i in range(min(n, AHEAD)):
        prefetch_row(np.uintp(base + np.uintp(labels[i]) * step), row_bytes)
    for i in range(n):
        if i + AHEAD < n:
            prefetch_row(np.uintp(base + np.uintp(labels[i + AHEAD]) * step), row_bytes)
        row = np.uintp(base + np.uintp(labels[i]) * step)
        z[i] = dot_float16(row, x, dim) if half else dot_float32(row, x, dim)
        z[i] += sketch_bias(handle[place.SKETCHES], labels[i], handle[place.SKETCH_BYTES])
        if z[i] != z[i]:  # whole vectors of floats are not read when they are opened
            z[i] = LEAST_LOGIT


@numba.njit(nogil=True, cache=True, forceinline=True)
def _whole_logits(handle, labels, n, scale, correction, s):
    """Logits of n labels with their whole vectors."""
    if handle[place.PRECISION] != place.INT8:
        _float_logits(handle, labels, n, s.x, s.whole_z)
        return
    quantise_rest(s.x, handle[place.DIM], s.codes, scale, s.rest_codes)
    rest_correction = np.int32(128) * code_sum(s.rest_codes, handle[place.DIM])
    whole_logits(
        handle[place.LABEL_VECTORS], handle[place.PADDED_DIM], handle[place.SKETCHES],
        handle[place.SKETCH_BYTES], labels, n, s.codes, s.rest_codes, scale, correction,
        rest_correction, s.whole_z,
    )  # fmt: skip


@numba.njit(nogil=True, cache=True, forceinline=True)
def _sketch_of(handle, codes, scale, correction, sketch, sketch_codes):
    """Coordinates of the query along the sketch axes as int8 codes; returns their scale."""
    sketch_dim, padded_dim = handle[place.SKETCH_DIM], handle[place.PADDED_DIM]
    scales = numba.carray(as_float32(np.uintp(handle[place.SKETCH_MAP_SCALES])), (sketch_dim,))
    base = np.uintp(handle[place.SKETCH_MAP])
    row_logits(base, scales, sketch_dim, padded_dim, codes, scale, correction, sketch)
    return quantise(sketch, sketch_dim, sketch_codes)


@numba.njit(nogil=True, cache=True)
def search_rows(
    handle, queries, start, stop, constants, beam_width, shortlist_size, budget, least_candidates,
    denied, scratch, counts, out_ids, out_scores,
):  # fmt: skip
    """Search ``queries[start:stop]``.

    Args:
        handle: int64, see :mod:`.handle`.
        queries: float32 B x D, C order.
        start: First row.
        stop: Row after the last.
        constants: float64: alpha, alpha of the regions, path exponent (applied already to the
            stored edge weights), coverage (see :func:`.routing.routing_coverage`).
        beam_width: W, 1 to C.
        shortlist_size: K, labels scored with whole vectors; at least the results wanted.
        budget: Edges to walk, about: the strongest paths of the beam. A beam that has to grow walks
            all.
        least_candidates: While fewer labels are found the beam grows, up to all clusters.
        denied: int32, places of labels that may not be found.
        scratch: uint8, :func:`.scratch.scratch_bytes` long, 0 at the first call.
        counts: int64, five numbers to which the work is added: queries, clusters scored, edges
            walked, labels sketched, labels scored with whole vectors.
        out_ids: int64 B x k.
        out_scores: float32 B x k.

    Returns:
        -1, or the first row that is not finite or in float32's safe range (the search ends there).
    """
    n_labels, n_clusters = handle[place.N_LABELS], handle[place.N_CLUSTERS]
    dim, padded_dim = handle[place.DIM], handle[place.PADDED_DIM]
    sketch_dim, sketch_bytes = handle[place.SKETCH_DIM], handle[place.SKETCH_BYTES]
    exponent = constants[2]

    s, _ = carve(handle, shortlist_size, np.uintp(scratch.ctypes.data + 63) & ~np.uintp(63))
    ids_at = np.uintp(handle[place.LABEL_IDS])
    ids_of = numba.carray(as_int32(ids_at), (n_labels,))
    for d in range(dim, padded_dim):
        s.x[d] = 0.0
        s.codes[d] = 0
        s.rest_codes[d] = 0
    for d in range(sketch_dim, sketch_bytes):
        s.sketch_codes[d] = 0

    for label in denied:  # a label that has a path already is not found by a walk
        s.best[label] = NEVER_FOUND
    first_bad = np.int64(-1)
    grouped = handle[place.N_REGIONS] == 0 and stop - start > 1
    for b in range(start, stop):
        query = queries[b]
        group = (b - start) % GROUP if grouped else -1
        if group == 0:
            _score_clusters_of_group(handle, queries, b, min(b + GROUP, stop), s)
        if not is_finite(query, dim):
            first_bad = np.int64(b)
            break
        for d in range(dim):
            s.x[d] = query[d]
        scale = quantise(s.x, dim, s.codes)
        if scale > LARGEST_SCALE:
            first_bad = np.int64(b)
            break
        correction = np.int32(128) * code_sum(s.codes, dim)
        sketch_scale = _sketch_of(handle, s.codes, scale, correction, s.sketch, s.sketch_codes)
        sketch_correction = np.int32(128) * code_sum(s.sketch_codes, sketch_dim)
        asked = beam_width
        while True:
            width = _route(handle, asked, constants, scale, correction, group, s, counts)
            counts[2] += end_walks(
                s.beam, s.beam_scores, width, exponent, n_clusters,
                np.uintp(handle[place.EDGE_OFFSETS]), np.uintp(handle[place.EDGE_WEIGHTS]),
                budget if asked == beam_width else NO_BUDGET, s.stops, s.values,
            )  # fmt: skip
            n = walk(
                s.beam, s.beam_scores, width, exponent, n_clusters,
                np.uintp(handle[place.EDGE_OFFSETS]), np.uintp(handle[place.EDGE_LABELS]),
                np.uintp(handle[place.EDGE_WEIGHTS]), s.stops,
                np.uintp(handle[place.SKETCHES]), np.uintp(sketch_bytes), s.best, s.labels, s.paths,
            )  # fmt: skip
            if n >= least_candidates or asked >= n_clusters:
                break
            # Too few, most of all under a filter.
            asked = min(GROWTH * asked, n_clusters)
            group = -1  # its logits have become scores
        sketch_logits(
            handle[place.SKETCHES], s.labels, n, sketch_bytes, s.sketch_codes, sketch_scale,
            sketch_correction, s.z,
        )  # fmt: skip
        label_scores(s.paths, s.z, n, s.values)
        kept = select_largest(s.values, n, shortlist_size, s.chosen)
        for i in range(kept):
            s.order[i] = s.labels[s.chosen[i]]
            s.values[i] = s.paths[s.chosen[i]]
            prefetch(np.uintp(ids_at + np.uintp(4) * np.uintp(s.order[i])))
        _whole_logits(handle, s.order, kept, scale, correction, s)
        for i in range(kept):
            s.chosen[i] = ids_of[s.order[i]]
        label_scores(s.values, s.whole_z, kept, s.values)
        rank_best(s.values, s.chosen, kept, out_ids[b], out_scores[b], s.order, s.ranks)
        counts[0] += 1
        counts[3] += n
        counts[4] += kept
    for label in denied:
        s.best[label] = 0
    return first_bad
