"""Route one query to its clusters: all of them scored, or those that the best regions reach.

Compiled; every query is computed in the same order on one thread, so that the answers depend
neither on the batch nor on the threads.
"""

from __future__ import annotations

import numba
import numpy as np

from learned_index.kernels.machine.dense import dot
from learned_index.kernels.machine.exponential import softmax_in_order
from learned_index.kernels.select.cpu import best_rows, keep_k_largest, top_k

NOT_FOUND = np.float32(-1.0)
"""Below every path: paths are products of numbers from 0 to 1."""


@numba.njit(nogil=True, cache=True, forceinline=True)
def route_flat(x, router, scale, scores):
    """``alpha softmax(x W^T)`` of all clusters, not yet cut off at 1.

    Args:
        x: float32 D, the projected query.
        router: float32 C x D.
        scale: alpha.
        scores: float32 C, written.
    """
    C = router.shape[0]
    for c in range(C):
        scores[c] = dot(router[c], x)
    softmax_in_order(scores, C, scale)


@numba.njit(nogil=True, cache=True)
def max_merge(rows, row_scores, n_rows, edge_targets, edge_weights, best, touched):
    """Walk the edges of some rows; a target's score is that of its best path (equation 5).

    Args:
        rows: Row numbers, -1 where unused.
        row_scores: Their scores; cut off at 1 here.
        n_rows: How many rows count.
        edge_targets: int32, rows x M, -1 at pads.
        edge_weights: float32, rows x M.
        best: float32, one per target, all :data:`NOT_FOUND`; holds the scores of those touched
            afterwards.
        touched: int32, written: the targets reached, in the order of their first path.

    Returns:
        How many targets were reached.
    """
    M = edge_targets.shape[1]
    n = 0
    for w in range(n_rows):
        row = rows[w]
        if row < 0:
            continue
        s = min(np.float32(1.0), row_scores[w])
        for m in range(M):
            target = edge_targets[row, m]
            if target < 0:
                continue
            path = s * edge_weights[row, m]
            old = best[target]
            if path > old:
                best[target] = path
                # Not "below 0": each target counts once, whatever a path is.
                if old == NOT_FOUND:
                    touched[n] = target
                    n += 1
    return n


@numba.njit(nogil=True, cache=True)
def take_best(best, touched, n, values, size):
    """Cut the touched targets to the ``size`` best and clean the scratch.

    Args:
        best: As :func:`max_merge` left it; all -1 again afterwards.
        touched: The n targets; the kept ones stand first afterwards.
        n: How many targets.
        values: float32, written: the scores of the kept ones.
        size: How many to keep.

    Returns:
        How many are kept.
    """
    for i in range(n):
        values[i] = best[touched[i]]
        best[touched[i]] = NOT_FOUND
    return keep_k_largest(values, touched, n, size)


@numba.njit(nogil=True, cache=True, forceinline=True)
def route_deep(
    x, region, region_edges, region_weights, router, region_scale, scale, n_candidates,
    region_scores, region_beam, region_beam_scores, best_cluster, touched, values,
    beam, beam_scores,
):  # fmt: skip
    """The beam among the clusters that the best regions reach (docs/method.md, "Deep routing").

    Args:
        x: float32 D, the projected query.
        region: float32 S x D.
        region_edges: int32 S x M0, clusters, -1 at pads.
        region_weights: float32 S x M0.
        router: float32 C x D.
        region_scale: alpha of the regions.
        scale: alpha of the clusters.
        n_candidates: K0.
        region_scores: float32 scratch of S.
        region_beam: int64 scratch of W0.
        region_beam_scores: float32 scratch of W0.
        best_cluster: float32 scratch of C, all -1, left so.
        touched: int32 scratch of min(W0 M0, C).
        values: float32 scratch of the same length.
        beam: int64 W, written, best first, -1 where fewer clusters are reached.
        beam_scores: float32 W, written: ``alpha softmax`` over the candidates, not cut off at 1.
    """
    route_flat(x, region, region_scale, region_scores)
    n_regions = best_rows(
        region_scores, region.shape[0], region_beam.shape[0], region_beam, region_beam_scores
    )
    n = max_merge(
        region_beam, region_beam_scores, n_regions, region_edges, region_weights, best_cluster,
        touched,
    )  # fmt: skip
    kept = take_best(best_cluster, touched, n, values, n_candidates)
    for i in range(kept):
        values[i] = dot(router[touched[i]], x)
    if kept:
        softmax_in_order(values, kept, scale)
    # Not best_rows: equal scores go by the cluster's number, and these are in no order of it.
    top_k(values, touched, kept, beam.shape[0], beam, beam_scores)


@numba.njit(nogil=True, cache=True)
def routing_widths(
    beam_width, reference_width, region_beam_width, n_candidates, n_regions, n_clusters
):
    """Regions to explore and clusters to score for a beam of W clusters.

    Both grow with W; narrower beams shrink them more slowly, since the best cluster must be among
    the candidates. All clusters as beam means all regions and all clusters.

    Args:
        beam_width: W.
        reference_width: The W that the next two numbers are for.
        region_beam_width: W0.
        n_candidates: K0.
        n_regions: S.
        n_clusters: C.

    Returns:
        (W0, K0): at least 1 and W, at most S and C.
    """
    if beam_width >= n_clusters:
        return n_regions, n_clusters
    ratio = beam_width / reference_width
    ratio = max(ratio, np.sqrt(ratio))
    regions = min(max(1, np.int64(np.ceil(region_beam_width * ratio))), n_regions)
    return regions, min(max(beam_width, np.int64(np.ceil(n_candidates * ratio))), n_clusters)


@numba.njit(nogil=True, cache=True)
def routing_coverage(n_scored, n_candidates, n_clusters, coverage):
    """Part of the softmax over all clusters that the candidates hold on average.

    Args:
        n_scored: Candidates that this search scores.
        n_candidates: K0, for which the part was measured.
        n_clusters: C.
        coverage: The part that K0 candidates hold; other numbers follow a power law that is 1
            for all C.
    """
    if max(n_scored, n_candidates) >= n_clusters:
        return 1.0
    return coverage ** (np.log(n_scored / n_clusters) / np.log(n_candidates / n_clusters))
