"""Scratch memory of the compiled search: one piece of bytes, cut into arrays.

Nothing is allocated in a search: a thread keeps its piece from query to query.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np

from learned_index.kernels.engine import handle as place
from learned_index.kernels.machine.intrinsics import as_float32, as_int8, as_int32, as_int64

GROUP = 8
"""Queries of a batch whose clusters are scored together, in an index without regions."""


@numba.njit(nogil=True, cache=True, inline="always")
def _padded(n_bytes):
    return (n_bytes + 63) & ~63


@numba.njit(nogil=True, cache=True)
def scratch_bytes(handle, shortlist_size):
    """Bytes of scratch memory that :func:`search_rows` wants, all 0 at the first call."""
    _, end = carve(handle, shortlist_size, np.uintp(0))
    return np.int64(end) + 64  # the start is aligned


class Scratch(NamedTuple):
    """Arrays of one thread's scratch memory; the first two must be 0 between calls."""

    best: Any  # float32 L, cells of the walk (a segment's at the end), 0 between calls
    cluster_best: Any  # float32 C, the same of clusters
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
    rest_codes: Any  # int8 P, codes of what those leave
    sketch: Any  # float32 S, its coordinates
    sketch_codes: Any  # int8, their codes
    group_codes: Any  # int8 G x P, codes of the queries that are routed together
    group_scales: Any  # float32 G, their scales
    group_corrections: Any  # int32 G
    group_scores: Any  # float32 G x C, their logits


@numba.njit(nogil=True, cache=True, inline="always")
def _floats(at, n):
    """n float32 at an address, and the address of the cache line after them."""
    return numba.carray(as_float32(at), (n,)), np.uintp(at + np.uintp(_padded(4 * n)))


@numba.njit(nogil=True, cache=True, inline="always")
def _numbers(at, n):
    return numba.carray(as_int32(at), (n,)), np.uintp(at + np.uintp(_padded(4 * n)))


@numba.njit(nogil=True, cache=True, inline="always")
def _bytes(at, n):
    return numba.carray(as_int8(at), (n,)), np.uintp(at + np.uintp(_padded(n)))


@numba.njit(nogil=True, cache=True)
def carve(handle, shortlist_size, at):
    """Lay the arrays out from an address on, each at a cache line; return them and the end."""
    n_candidates = handle[place.MAX_CANDIDATES] + 1  # the walk writes one place ahead
    n_clusters, n_results = handle[place.N_CLUSTERS] + 1, shortlist_size + 1
    best, at = _floats(at, handle[place.N_LABELS] + handle[place.SEGMENT_LABELS])
    cluster_best, at = _floats(at, n_clusters)
    labels, at = _numbers(at, n_candidates)
    paths, at = _floats(at, n_candidates)
    z, at = _floats(at, n_candidates)
    values, at = _floats(at, n_candidates)
    cluster_scores, at = _floats(at, n_clusters)
    cluster_found, at = _numbers(at, n_clusters)
    cluster_paths, at = _floats(at, n_clusters)
    cluster_chosen, at = _numbers(at, n_clusters)
    beam, at = _numbers(at, n_clusters)
    beam_scores, at = _floats(at, n_clusters)
    stops = numba.carray(as_int64(at), (n_clusters,))
    at = np.uintp(at + np.uintp(_padded(8 * n_clusters)))
    chosen, at = _numbers(at, n_results)
    whole_z, at = _floats(at, n_results)
    order, at = _numbers(at, n_results)
    ranks, at = _numbers(at, n_results)
    region_scores, at = _floats(at, handle[place.N_REGIONS])
    x, at = _floats(at, handle[place.PADDED_DIM])
    codes, at = _bytes(at, handle[place.PADDED_DIM])
    rest_codes, at = _bytes(at, handle[place.PADDED_DIM])
    sketch, at = _floats(at, handle[place.SKETCH_DIM])
    sketch_codes, at = _bytes(at, handle[place.SKETCH_BYTES])
    group = GROUP if handle[place.N_REGIONS] == 0 else 0
    group_codes, at = _bytes(at, group * handle[place.PADDED_DIM])
    group_scales, at = _floats(at, group)
    group_corrections, at = _numbers(at, group)
    group_scores, at = _floats(at, group * handle[place.N_CLUSTERS])
    arrays = Scratch(
        best, cluster_best, labels, paths, z, values, cluster_scores, cluster_found,
        cluster_paths, cluster_chosen, beam, beam_scores, stops, chosen, whole_z, order, ranks,
        region_scores, x, codes, rest_codes, sketch, sketch_codes,
        group_codes, group_scales, group_corrections, group_scores,
    )  # fmt: skip
    return arrays, at
