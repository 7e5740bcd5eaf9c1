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

from typing import Any, NamedTuple

import numba
import numpy as np

from learned_index.kernels.engine_select import rank_best, select_largest
from learned_index.kernels.engine_steps import (
    best_rows,
    chosen_logits,
    code_sum,
    dot_float16,
    dot_float32,
    dot_int8,
    end_walks,
    is_finite,
    label_scores,
    quantise,
    row_logits,
    sketch_logits,
    softmax,
    walk,
)
from learned_index.kernels.intrinsics import (
    as_float32,
    as_int8,
    as_int32,
    as_int64,
    prefetch,
)
from learned_index.kernels.routing import routing_coverage, routing_widths

(
    N_LABELS, N_CLUSTERS, N_REGIONS, DIM, PADDED_DIM, SKETCH_DIM, SKETCH_BYTES, PRECISION,
    MAX_CANDIDATES, REGION_BEAM, CLUSTER_CANDIDATES, REFERENCE_BEAM,
    LABEL_IDS, SKETCHES, LABEL_VECTORS, LABEL_SCALES, LABEL_BIASES,
    CLUSTER_VECTORS, CLUSTER_SCALES, EDGE_OFFSETS, EDGE_LABELS, EDGE_WEIGHTS,
    SKETCH_MAP, SKETCH_MAP_SCALES,
    REGION_VECTORS, REGION_SCALES, REGION_EDGE_OFFSETS, REGION_EDGE_CLUSTERS, REGION_EDGE_WEIGHTS,
    HANDLE_SIZE,
) = range(30)  # fmt: skip
"""Places in the handle: sizes, then addresses of the arrays of an engine."""

INT8, FLOAT16, FLOAT32 = range(3)
NO_BUDGET = np.int64(1 << 62)


@numba.njit(nogil=True, cache=True, inline="always")
def _padded(n_bytes):
    return (n_bytes + 63) & ~63


@numba.njit(nogil=True, cache=True)
def scratch_bytes(handle, shortlist_size):
    """Bytes of scratch memory that :func:`search_rows` wants, all 0 at the first call."""
    per_candidate = _padded(4 * (handle[MAX_CANDIDATES] + 1))
    per_cluster = _padded(4 * (handle[N_CLUSTERS] + 1))
    per_result = _padded(4 * (shortlist_size + 1))
    total = _padded(4 * handle[N_LABELS]) + 4 * per_candidate + 7 * per_cluster + 4 * per_result
    total += _padded(4 * handle[N_REGIONS]) + _padded(8 * (handle[N_CLUSTERS] + 1))
    total += _padded(4 * handle[PADDED_DIM]) + _padded(handle[PADDED_DIM])
    total += _padded(4 * handle[SKETCH_DIM]) + _padded(handle[SKETCH_BYTES])
    return total + 64  # the start is aligned


class Scratch(NamedTuple):
    """Arrays of one thread's scratch memory; the first two must be 0 between calls."""

    best: Any  # float32 L, 0 between calls
    cluster_best: Any  # float32 C, 0 between calls
    labels: Any  # int32, labels found
    paths: Any  # float32, their path scores
    z: Any  # float32, their sketched logits
    values: Any  # float32, their scores
    cluster_scores: Any  # float32 C
    cluster_found: Any  # int32, clusters that regions lead to
    cluster_paths: Any  # float32, their path scores
    cluster_chosen: Any  # int32, which of them are scored
    beam: Any  # int32
    beam_scores: Any  # float32
    stops: Any  # int64, ends of the walks
    chosen: Any  # int32 K, the shortlist
    whole_z: Any  # float32 K, logits by whole vectors
    order: Any  # int32 K
    ranks: Any  # int32 K
    region_scores: Any  # float32 R
    x: Any  # float32 P, the query
    codes: Any  # int8 P, its codes
    sketch: Any  # float32 S, its coordinates
    sketch_codes: Any  # int8, their codes


@numba.njit(nogil=True, cache=True)
def _carve(handle, shortlist_size, scratch):
    """Lay the arrays out in the scratch memory, each at a cache line."""
    n_labels, n_clusters, n_regions = handle[N_LABELS], handle[N_CLUSTERS], handle[N_REGIONS]
    padded_dim, sketch_dim = handle[PADDED_DIM], handle[SKETCH_DIM]
    sketch_bytes = handle[SKETCH_BYTES]
    n_candidates = handle[MAX_CANDIDATES] + 1  # the walk writes one place ahead
    at = np.uintp(scratch.ctypes.data + 63) & ~np.uintp(63)
    best = numba.carray(as_float32(at), (n_labels,))
    at = np.uintp(at + np.uintp(_padded(4 * n_labels)))
    cluster_best = numba.carray(as_float32(at), (n_clusters + 1,))
    at = np.uintp(at + np.uintp(_padded(4 * (n_clusters + 1))))
    labels = numba.carray(as_int32(at), (n_candidates,))
    at = np.uintp(at + np.uintp(_padded(4 * n_candidates)))
    paths = numba.carray(as_float32(at), (n_candidates,))
    at = np.uintp(at + np.uintp(_padded(4 * n_candidates)))
    z = numba.carray(as_float32(at), (n_candidates,))
    at = np.uintp(at + np.uintp(_padded(4 * n_candidates)))
    values = numba.carray(as_float32(at), (n_candidates,))
    at = np.uintp(at + np.uintp(_padded(4 * n_candidates)))
    cluster_scores = numba.carray(as_float32(at), (n_clusters + 1,))
    at = np.uintp(at + np.uintp(_padded(4 * (n_clusters + 1))))
    cluster_found = numba.carray(as_int32(at), (n_clusters + 1,))
    at = np.uintp(at + np.uintp(_padded(4 * (n_clusters + 1))))
    cluster_paths = numba.carray(as_float32(at), (n_clusters + 1,))
    at = np.uintp(at + np.uintp(_padded(4 * (n_clusters + 1))))
    cluster_chosen = numba.carray(as_int32(at), (n_clusters + 1,))
    at = np.uintp(at + np.uintp(_padded(4 * (n_clusters + 1))))
    beam = numba.carray(as_int32(at), (n_clusters + 1,))
    at = np.uintp(at + np.uintp(_padded(4 * (n_clusters + 1))))
    beam_scores = numba.carray(as_float32(at), (n_clusters + 1,))
    at = np.uintp(at + np.uintp(_padded(4 * (n_clusters + 1))))
    stops = numba.carray(as_int64(at), (n_clusters + 1,))
    at = np.uintp(at + np.uintp(_padded(8 * (n_clusters + 1))))
    chosen = numba.carray(as_int32(at), (shortlist_size + 1,))
    at = np.uintp(at + np.uintp(_padded(4 * (shortlist_size + 1))))
    whole_z = numba.carray(as_float32(at), (shortlist_size + 1,))
    at = np.uintp(at + np.uintp(_padded(4 * (shortlist_size + 1))))
    order = numba.carray(as_int32(at), (shortlist_size + 1,))
    at = np.uintp(at + np.uintp(_padded(4 * (shortlist_size + 1))))
    ranks = numba.carray(as_int32(at), (shortlist_size + 1,))
    at = np.uintp(at + np.uintp(_padded(4 * (shortlist_size + 1))))
    region_scores = numba.carray(as_float32(at), (n_regions,))
    at = np.uintp(at + np.uintp(_padded(4 * n_regions)))
    x = numba.carray(as_float32(at), (padded_dim,))
    at = np.uintp(at + np.uintp(_padded(4 * padded_dim)))
    codes = numba.carray(as_int8(at), (padded_dim,))
    at = np.uintp(at + np.uintp(_padded(padded_dim)))
    sketch = numba.carray(as_float32(at), (sketch_dim,))
    at = np.uintp(at + np.uintp(_padded(4 * sketch_dim)))
    sketch_codes = numba.carray(as_int8(at), (sketch_bytes,))
    at = np.uintp(at + np.uintp(_padded(sketch_bytes)))
    return Scratch(
        best, cluster_best, labels, paths, z, values, cluster_scores, cluster_found,
        cluster_paths, cluster_chosen, beam, beam_scores, stops, chosen, whole_z, order, ranks,
        region_scores, x, codes, sketch, sketch_codes,
    )  # fmt: skip


@numba.njit(nogil=True, cache=True)
def _route(handle, beam_width, constants, scale, correction, s, counts):
    """Find the best clusters: among all, or among those that the best regions lead to."""
    n_clusters, n_regions = handle[N_CLUSTERS], handle[N_REGIONS]
    padded_dim = handle[PADDED_DIM]
    vectors = np.uintp(handle[CLUSTER_VECTORS])
    scales = numba.carray(as_float32(np.uintp(handle[CLUSTER_SCALES])), (n_clusters,))
    if n_regions == 0:
        counts[1] += n_clusters
        row_logits(
            vectors, scales, n_clusters, padded_dim, s.codes, scale, correction, s.cluster_scores
        )
        softmax(s.cluster_scores, n_clusters, constants[0])
        return best_rows(s.cluster_scores, n_clusters, beam_width, s.beam, s.beam_scores)
    region_width, n_candidates = routing_widths(
        beam_width, handle[REFERENCE_BEAM], handle[REGION_BEAM], handle[CLUSTER_CANDIDATES],
        n_regions, n_clusters,
    )  # fmt: skip
    region_scales = numba.carray(as_float32(np.uintp(handle[REGION_SCALES])), (n_regions,))
    row_logits(
        np.uintp(handle[REGION_VECTORS]), region_scales, n_regions, padded_dim, s.codes, scale,
        correction, s.region_scores,
    )  # fmt: skip
    softmax(s.region_scores, n_regions, constants[1])
    width = best_rows(s.region_scores, n_regions, region_width, s.beam, s.beam_scores)
    end_walks(
        s.beam, s.beam_scores, width, 1.0, n_regions, np.uintp(handle[REGION_EDGE_OFFSETS]),
        np.uintp(handle[REGION_EDGE_WEIGHTS]), NO_BUDGET, s.stops, s.cluster_paths,
    )  # fmt: skip
    n = walk(
        s.beam, s.beam_scores, width, 1.0, n_regions, np.uintp(handle[REGION_EDGE_OFFSETS]),
        np.uintp(handle[REGION_EDGE_CLUSTERS]), np.uintp(handle[REGION_EDGE_WEIGHTS]), s.stops,
        vectors, np.uintp(padded_dim), s.cluster_best, s.cluster_found, s.cluster_paths,
    )  # fmt: skip
    n = select_largest(s.cluster_paths, n, n_candidates, s.cluster_chosen)
    counts[1] += n
    chosen_logits(
        vectors,
        scales,
        s.cluster_found,
        s.cluster_chosen,
        n,
        padded_dim,
        s.codes,
        scale,
        correction,
        s.cluster_scores,
    )
    covered = routing_coverage(n_candidates, handle[CLUSTER_CANDIDATES], n_clusters, constants[3])
    softmax(s.cluster_scores, n, constants[0] * covered)
    width = best_rows(s.cluster_scores, n, beam_width, s.beam, s.beam_scores)
    for w in range(width):
        s.beam[w] = s.cluster_found[s.cluster_chosen[s.beam[w]]]
    return width


@numba.njit(nogil=True, cache=True)
def _whole_scores(handle, labels, chosen, n, x, z):
    """``z = w.x + b`` of the chosen labels with their whole vectors and the float query."""
    base = np.uintp(handle[LABEL_VECTORS])
    dim = handle[PADDED_DIM]
    scales = numba.carray(as_float32(np.uintp(handle[LABEL_SCALES])), (handle[N_LABELS],))
    biases = numba.carray(as_float32(np.uintp(handle[LABEL_BIASES])), (handle[N_LABELS],))
    precision = handle[PRECISION]
    for i in range(n):
        label = labels[chosen[i]]
        if precision == INT8:
            product = dot_int8(np.uintp(base + np.uintp(label * dim)), x, dim)
        elif precision == FLOAT16:
            product = dot_float16(np.uintp(base + np.uintp(2 * label * dim)), x, dim)
        else:
            product = dot_float32(np.uintp(base + np.uintp(4 * label * dim)), x, dim)
        z[i] = product * scales[label] + biases[label]


@numba.njit(nogil=True, cache=True)
def _prefetch_rows(handle, labels, chosen, n):
    size = 1 if handle[PRECISION] == INT8 else (2 if handle[PRECISION] == FLOAT16 else 4)
    row_bytes = handle[PADDED_DIM] * size
    base = np.uintp(handle[LABEL_VECTORS])
    for i in range(n):
        row = base + np.uintp(np.int64(labels[chosen[i]]) * row_bytes)
        for line in range(0, row_bytes, 64):
            prefetch(np.uintp(row + np.uintp(line)))


@numba.njit(nogil=True, cache=True)
def _sketch_of(handle, codes, scale, correction, sketch, sketch_codes):
    """Coordinates of the query along the sketch axes as int8 codes; returns their scale."""
    sketch_dim, padded_dim = handle[SKETCH_DIM], handle[PADDED_DIM]
    scales = numba.carray(as_float32(np.uintp(handle[SKETCH_MAP_SCALES])), (sketch_dim,))
    base = np.uintp(handle[SKETCH_MAP])
    row_logits(base, scales, sketch_dim, padded_dim, codes, scale, correction, sketch)
    return quantise(sketch, sketch_dim, sketch_codes)


@numba.njit(nogil=True, cache=True)
def search_rows(
    handle, queries, start, stop, constants, beam_width, shortlist_size, budget, least_candidates,
    scratch, counts, out_ids, out_scores,
):  # fmt: skip
    """Search ``queries[start:stop]``.

    Args:
        handle: int64, see the constants of this module.
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
        scratch: uint8, :func:`scratch_bytes` long, 0 at the first call.
        counts: int64, five numbers to which the work is added: queries, clusters scored, edges
            walked, labels sketched, labels scored with whole vectors.
        out_ids: int64 B x k.
        out_scores: float32 B x k.

    Returns:
        -1, or the first row that is not finite (the search ends there).
    """
    n_labels, n_clusters = handle[N_LABELS], handle[N_CLUSTERS]
    dim, padded_dim = handle[DIM], handle[PADDED_DIM]
    sketch_dim, sketch_bytes = handle[SKETCH_DIM], handle[SKETCH_BYTES]
    exponent = constants[2]
    k = out_ids.shape[1]

    s = _carve(handle, shortlist_size, scratch)
    ids_of = numba.carray(as_int32(np.uintp(handle[LABEL_IDS])), (n_labels,))
    for d in range(dim, padded_dim):
        s.x[d] = 0.0
        s.codes[d] = 0
    for d in range(sketch_dim, sketch_bytes):
        s.sketch_codes[d] = 0

    for b in range(start, stop):
        query = queries[b]
        if not is_finite(query, dim):
            return b
        for d in range(dim):
            s.x[d] = query[d]
        scale = quantise(s.x, dim, s.codes)
        correction = np.int32(128) * code_sum(s.codes, dim)
        sketch_scale = _sketch_of(handle, s.codes, scale, correction, s.sketch, s.sketch_codes)
        sketch_correction = np.int32(128) * code_sum(s.sketch_codes, sketch_dim)
        asked = beam_width
        while True:
            width = _route(handle, asked, constants, scale, correction, s, counts)
            counts[2] += end_walks(
                s.beam, s.beam_scores, width, exponent, n_clusters,
                np.uintp(handle[EDGE_OFFSETS]), np.uintp(handle[EDGE_WEIGHTS]),
                budget if asked == beam_width else NO_BUDGET, s.stops, s.values,
            )  # fmt: skip
            n = walk(
                s.beam, s.beam_scores, width, exponent, n_clusters,
                np.uintp(handle[EDGE_OFFSETS]), np.uintp(handle[EDGE_LABELS]),
                np.uintp(handle[EDGE_WEIGHTS]), s.stops,
                np.uintp(handle[SKETCHES]), np.uintp(sketch_bytes), s.best, s.labels, s.paths,
            )  # fmt: skip
            if n >= least_candidates or asked >= n_clusters:
                break
            asked = min(4 * asked, n_clusters)
        sketch_logits(
            handle[SKETCHES], s.labels, n, sketch_bytes, s.sketch_codes, sketch_scale,
            sketch_correction, s.z,
        )  # fmt: skip
        label_scores(s.paths, s.z, n, s.values)
        kept = select_largest(s.values, n, shortlist_size, s.chosen)
        _prefetch_rows(handle, s.labels, s.chosen, kept)
        _whole_scores(handle, s.labels, s.chosen, kept, s.x, s.whole_z)
        for i in range(kept):
            s.values[i] = s.paths[s.chosen[i]]
            s.chosen[i] = ids_of[s.labels[s.chosen[i]]]
        label_scores(s.values, s.whole_z, kept, s.values)
        rank_best(s.values, s.chosen, kept, out_ids[b], out_scores[b], s.order, s.ranks)
        counts[0] += 1
        counts[3] += n
        counts[4] += kept
        for i in range(kept, k):
            out_ids[b, i] = -1
            out_scores[b, i] = -np.inf
    return -1
