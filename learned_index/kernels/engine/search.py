"""The compiled search of one query: route, walk, sketch, select, rescore, rank.

The steps of a query x (legend of :mod:`learned_index.types`; S sketch dimensions):

1. *route*: int8 cluster vectors against an int8 query, ``s_c = min(1, alpha softmax)``; the best W.
   With regions above the clusters only those clusters are scored that the best regions lead to.
2. *walk*: the edges of those clusters; a label keeps its best ``(s_c e_cl)^a`` (a: path exponent).
3. *sketch*: each label found is scored on one cache line: S principal coordinates of its vector.
4. *select*: the K labels of the best ``path^a sigmoid(z)`` by the sketch.
5. *rescore* those with their whole vectors against the float query, *rank*, give the best k.

An engine with a segment (:mod:`learned_index.engine.segment`) has a second handle behind the first,
of the labels that joined later: they are walked, sketched and rescored after the others, by the
same code, and selected and ranked with them.

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
    code_sum,
    dot_float16,
    dot_float32,
    is_finite,
    label_scores,
    quantise,
    quantise_rest,
    row_logits,
    sketch_bias,
    sketch_logits,
    whole_logits,
)
from learned_index.kernels.engine.routing import NO_BUDGET, route, score_clusters_of_group
from learned_index.kernels.engine.scratch import GROUP, carve
from learned_index.kernels.engine.steps import NEVER_FOUND, end_walks, walk
from learned_index.kernels.machine.intrinsics import as_float32, as_int32, prefetch, prefetch_row
from learned_index.kernels.select.cpu import rank_best, select_largest

GROWTH = 4
"""A beam that found too little is so many times as wide next. Each time all starts anew: few, large
steps."""
LEAST_LOGIT = np.float32(-1e30)
"""In the place of a logit that is no number, because the label's vector holds one that is none."""


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
def _whole_logits(handle, labels, n, scale, correction, s, z):
    """Logits of n labels with their whole vectors."""
    if handle[place.PRECISION] != place.INT8:
        _float_logits(handle, labels, n, s.x, z)
        return
    quantise_rest(s.x, handle[place.DIM], s.codes, scale, s.rest_codes)
    rest_correction = np.int32(128) * code_sum(s.rest_codes, handle[place.DIM])
    whole_logits(
        handle[place.LABEL_VECTORS], handle[place.PADDED_DIM], handle[place.SKETCHES],
        handle[place.SKETCH_BYTES], labels, n, s.codes, s.rest_codes, scale, correction,
        rest_correction, z,
    )  # fmt: skip


@numba.njit(nogil=True, cache=True, forceinline=True)
def _sketch_of(handle, codes, scale, correction, sketch, sketch_codes):
    """Coordinates of the query along the sketch axes as int8 codes; returns their scale."""
    sketch_dim, padded_dim = handle[place.SKETCH_DIM], handle[place.PADDED_DIM]
    scales = numba.carray(as_float32(np.uintp(handle[place.SKETCH_MAP_SCALES])), (sketch_dim,))
    base = np.uintp(handle[place.SKETCH_MAP])
    row_logits(base, scales, sketch_dim, padded_dim, codes, scale, correction, sketch)
    return quantise(sketch, sketch_dim, sketch_codes)


@numba.njit(nogil=True, cache=True, forceinline=True)
def _walk_part(of, width, exponent, budget, s, best, first, counts):
    """Walk the beam's edges of one part; candidates go behind the ``first`` that are there."""
    n_clusters = of[place.N_CLUSTERS]
    offsets, weights = np.uintp(of[place.EDGE_OFFSETS]), np.uintp(of[place.EDGE_WEIGHTS])
    counts[2] += end_walks(
        s.beam, s.beam_scores, width, exponent, n_clusters, offsets, weights, budget, s.stops,
        s.values,
    )  # fmt: skip
    return walk(
        s.beam, s.beam_scores, width, exponent, n_clusters, offsets,
        np.uintp(of[place.EDGE_LABELS]), weights, s.stops, np.uintp(of[place.SKETCHES]),
        np.uintp(of[place.SKETCH_BYTES]), best, s.labels[first:], s.paths[first:],
    )  # fmt: skip


@numba.njit(nogil=True, cache=True)
def _sorted_by_part(chosen, n, n_first, scratch):
    """Move those of the first part to the front, in the order that they have; return their number.

    Args:
        chosen: int32, places among the candidates.
        n: How many of them count.
        n_first: Candidates of the first part, which lie before the others.
        scratch: int32 of as many places.
    """
    first, rest = np.int64(0), np.int64(0)
    for i in range(n):
        if chosen[i] < n_first:
            chosen[first] = chosen[i]
            first += 1
        else:
            scratch[rest] = chosen[i]
            rest += 1
    for i in range(rest):
        chosen[first + i] = scratch[i]
    return first


@numba.njit(nogil=True, cache=True, forceinline=True)
def _search(
    handle, queries, start, stop, constants, beam_width, shortlist_size, budget, least_candidates,
    denied, scratch, counts, out_ids, out_scores, has_segment,
):  # fmt: skip
    """See :func:`search_rows`; ``has_segment`` is a constant: false, it leaves no trace."""
    n_main, n_clusters = handle[place.N_LABELS], handle[place.N_CLUSTERS]
    dim, padded_dim = handle[place.DIM], handle[place.PADDED_DIM]
    sketch_dim, sketch_bytes = handle[place.SKETCH_DIM], handle[place.SKETCH_BYTES]
    exponent = constants[2]

    s, _ = carve(handle, shortlist_size, np.uintp(scratch.ctypes.data + 63) & ~np.uintp(63))
    ids_at = np.uintp(handle[place.LABEL_IDS])
    ids_of = numba.carray(as_int32(ids_at), (n_main,))
    segment = handle[place.HANDLE_SIZE :]
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
            score_clusters_of_group(handle, queries, b, min(b + GROUP, stop), s)
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
            width = route(handle, asked, constants, scale, correction, group, s, counts)
            walk_all = budget if asked == beam_width else NO_BUDGET
            n_first = _walk_part(handle, width, exponent, walk_all, s, s.best, 0, counts)
            n = n_first
            if has_segment:
                n += _walk_part(
                    segment, width, exponent, walk_all, s, s.best[n_main:], n_first, counts
                )
            if n >= least_candidates or asked >= n_clusters:
                break
            # Too few, most of all under a filter.
            asked = min(GROWTH * asked, n_clusters)
            group = -1  # its logits have become scores
        sketch_logits(
            handle[place.SKETCHES], s.labels, n_first, sketch_bytes, s.sketch_codes, sketch_scale,
            sketch_correction, s.z,
        )  # fmt: skip
        if has_segment:
            sketch_logits(
                segment[place.SKETCHES], s.labels[n_first:], n - n_first, sketch_bytes,
                s.sketch_codes, sketch_scale, sketch_correction, s.z[n_first:],
            )  # fmt: skip
        label_scores(s.paths, s.z, n, s.values)
        kept = select_largest(s.values, n, shortlist_size, s.chosen)
        first = kept
        if has_segment:
            first = _sorted_by_part(s.chosen, kept, n_first, s.order)
        for i in range(kept):
            s.order[i] = s.labels[s.chosen[i]]
            s.values[i] = s.paths[s.chosen[i]]
            prefetch(np.uintp(ids_at + np.uintp(4) * np.uintp(s.order[i])))
        _whole_logits(handle, s.order, first, scale, correction, s, s.whole_z)
        for i in range(first):
            s.chosen[i] = ids_of[s.order[i]]
        if has_segment:
            _whole_logits(
                segment, s.order[first:], kept - first, scale, correction, s, s.whole_z[first:]
            )
            ids_of_segment = numba.carray(
                as_int32(np.uintp(segment[place.LABEL_IDS])), (segment[place.N_LABELS],)
            )
            for i in range(first, kept):
                s.chosen[i] = ids_of_segment[s.order[i]]
        label_scores(s.values, s.whole_z, kept, s.values)
        rank_best(s.values, s.chosen, kept, out_ids[b], out_scores[b], s.order, s.ranks)
        counts[0] += 1
        counts[3] += n
        counts[4] += kept
    for label in denied:
        s.best[label] = 0
    return first_bad


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
        denied: int32, places of labels that may not be found; those of a segment follow the others.
        scratch: uint8, :func:`.scratch.scratch_bytes` long, 0 at the first call.
        counts: int64, five numbers to which the work is added: queries, clusters scored, edges
            walked, labels sketched, labels scored with whole vectors.
        out_ids: int64 B x k.
        out_scores: float32 B x k.

    Returns:
        -1, or the first row that is not finite or in float32's safe range (the search ends there).
    """
    return _search(
        handle, queries, start, stop, constants, beam_width, shortlist_size, budget,
        least_candidates, denied, scratch, counts, out_ids, out_scores, False,
    )  # fmt: skip


@numba.njit(nogil=True, cache=True)
def search_both(
    handle, queries, start, stop, constants, beam_width, shortlist_size, budget, least_candidates,
    denied, scratch, counts, out_ids, out_scores,
):  # fmt: skip
    """:func:`search_rows` of an engine with a segment: both parts."""
    return _search(
        handle, queries, start, stop, constants, beam_width, shortlist_size, budget,
        least_candidates, denied, scratch, counts, out_ids, out_scores, True,
    )  # fmt: skip
