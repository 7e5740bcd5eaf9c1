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
from learned_index.kernels.select import keep_k_largest
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
    """

    projection_DD: Float32Array
    router_CD: Float32Array
    edge_labels_CM: np.ndarray[Any, np.dtype[np.int32]]
    edge_weights_CM: Float32Array
    label_LD: Float32Array
    bias_L: Float32Array
    input_scale: np.float32


@numba.njit(nogil=True, cache=True)
def _precedes(score_a, id_a, score_b, id_b):
    """Order of results: higher score first, then the smaller id."""
    return score_a > score_b or (score_a == score_b and id_a < id_b)


@numba.njit(nogil=True, cache=True)
def _sift_down(scores, ids, start, n):
    """Restore a heap whose root is the worst result."""
    root = start
    while True:
        child = 2 * root + 1
        if child >= n:
            return
        if child + 1 < n and _precedes(
            scores[child], ids[child], scores[child + 1], ids[child + 1]
        ):
            child += 1
        if not _precedes(scores[root], ids[root], scores[child], ids[child]):
            return
        scores[root], scores[child] = scores[child], scores[root]
        ids[root], ids[child] = ids[child], ids[root]
        root = child


@numba.njit(nogil=True, cache=True)
def _top_k(values, labels, n, k, out_ids, out_scores):
    """Best k of n (value, label), best first; the outputs double as a bounded heap."""
    size = 0
    for i in range(n):
        if size < k:
            out_scores[size] = values[i]
            out_ids[size] = labels[i]
            size += 1
            if size == k:
                for start in range(k // 2 - 1, -1, -1):
                    _sift_down(out_scores, out_ids, start, k)
        elif _precedes(values[i], labels[i], out_scores[0], out_ids[0]):
            out_scores[0] = values[i]
            out_ids[0] = labels[i]
            _sift_down(out_scores, out_ids, 0, k)
    if size < k:
        for start in range(size // 2 - 1, -1, -1):
            _sift_down(out_scores, out_ids, start, size)
    for last in range(size - 1, 0, -1):
        out_scores[0], out_scores[last] = out_scores[last], out_scores[0]
        out_ids[0], out_ids[last] = out_ids[last], out_ids[0]
        _sift_down(out_scores, out_ids, 0, last)
    for i in range(size, k):
        out_scores[i] = -np.inf
        out_ids[i] = -1


@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"}, error_model="numpy")
def _project(query, input_scale, projection, scaled, x):
    for d in range(x.shape[0]):
        scaled[d] = query[d] * input_scale
        x[d] = scaled[d]
    for d in range(projection.shape[0]):
        x[d] += dot(projection[d], scaled)


@numba.njit(nogil=True, cache=True)
def _route(x, router, scale, scores):
    """``alpha softmax(x W^T)`` of all clusters, not yet cut off at 1 (the cut would make ties)."""
    C = router.shape[0]
    largest = np.float32(-np.inf)
    for c in range(C):
        scores[c] = dot(router[c], x)
        largest = max(largest, scores[c])
    total = 0.0
    for c in range(C):
        scores[c] = np.exp(scores[c] - largest)
        total += scores[c]
    factor = np.float32(scale / total)
    for c in range(C):
        scores[c] *= factor


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
    scale,
    path_exponent,
    beam_width,
    shortlist_size,
    best,
    out_ids,
    out_scores,
):
    C = router.shape[0]
    M = edge_labels.shape[1]
    k = out_ids.shape[1]
    x = np.empty(queries.shape[1], np.float32)
    scaled = np.empty(queries.shape[1], np.float32)
    cluster_scores = np.empty(C, np.float32)
    cluster_numbers = np.arange(C)
    beam = np.empty(beam_width, np.int64)
    beam_scores = np.empty(beam_width, np.float32)
    limit = min(beam_width * M, best.shape[0])
    touched = np.empty(limit, np.int32)
    values = np.empty(limit, np.float32)
    histogram = np.empty(2048, np.int32)
    for b in range(start, stop):
        _project(queries[b], input_scale, projection, scaled, x)
        _route(x, router, scale, cluster_scores)
        _top_k(cluster_scores, cluster_numbers, C, beam_width, beam, beam_scores)
        n = 0
        for w in range(beam_width):
            c = beam[w]
            s = min(np.float32(1.0), beam_scores[w])
            for m in range(M):
                label = edge_labels[c, m]
                if label < 0:
                    continue
                path = s * edge_weights[c, m]
                old = best[label]
                if path > old:
                    best[label] = path
                    if old < 0:
                        touched[n] = label
                        n += 1
        for i in range(n):
            values[i] = best[touched[i]]
            best[touched[i]] = -1.0
        kept = keep_k_largest(values, touched, n, shortlist_size, histogram)
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
        _top_k(values, touched, kept, k, out_ids[b], out_scores[b])


_scratch = threading.local()


def _scratch_row(n_labels: int) -> Float32Array:
    """One thread's array of L floats, all -1; the kernel leaves it as it found it."""
    rows: dict[int, Float32Array] = _scratch.__dict__.setdefault("rows", {})
    if n_labels not in rows:
        rows.clear()
        rows[n_labels] = np.full(n_labels, -1.0, np.float32)
    return rows[n_labels]


def search_cpu(
    queries_BD: Float32Array,
    arrays: SearchArrays,
    *,
    router_scale: float,
    path_exponent: float,
    k: int,
    beam_width: int,
    shortlist_size: int,
) -> tuple[Int64Array, Float32Array]:
    """Search with compiled code on the CPU.

    Args:
        queries_BD: float32, C order, finite.
        arrays: The index.
        router_scale: alpha.
        path_exponent: Labels are ranked by ``path^exponent * sigmoid(w.x + b)``.
        k: Results per query.
        beam_width: W, at most C.
        shortlist_size: K.

    Returns:
        ids int64 B x k (-1 pads), scores float32 B x k (-inf pads), best first; equal scores come
        in ascending order of id.
    """
    n_queries = len(queries_BD)
    ids = np.empty((n_queries, k), np.int64)
    scores = np.empty((n_queries, k), np.float32)

    def call(_: int, start: int, stop: int) -> None:
        _search_rows(
            start, stop, queries_BD, *arrays, np.float64(router_scale), np.float64(path_exponent),
            beam_width, shortlist_size,
            _scratch_row(len(arrays.bias_L)), ids, scores,
        )  # fmt: skip

    n_threads = torch.get_num_threads()
    run_ranges(split_evenly(n_queries, 4 * n_threads if n_threads > 1 else 1), call)
    return ids, scores
