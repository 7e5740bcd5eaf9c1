"""Steps of the engine's search through the graph: softmax, beam, where walks end, the walk.

Without a branch that depends on the data where it matters, so that they vectorise or at least
pipeline. :mod:`.search` puts them together with :mod:`.logits`.
"""

from __future__ import annotations

import numba
import numpy as np

from learned_index.kernels.machine.exponential import power
from learned_index.kernels.machine.intrinsics import (
    as_int32,
    as_int64,
    as_uint16,
    half_to_float,
    prefetch,
)
from learned_index.kernels.select.cpu import kth_bits

LEAST_SCORE = np.float32(1e-30)
"""Of a cluster, so that no path is 0: labels of far clusters are found, if asked for."""
LEAST_PATH = np.float32(1.2e-38)
"""Of a path, whatever its edge weighs: 0 stands for no path. All products of scores and weights
that an engine can hold are larger."""
NEVER_FOUND = np.float32(np.inf)
"""In a cell of the walk: its target counts as found already."""
SAMPLED = 16
"""Of so many edges one is looked at to see where a walk should end."""


@numba.njit(nogil=True, cache=True)
def end_walks(beam, beam_scores, width, exponent, n_rows, offsets, weights, budget, stops, samples):
    """Where to stop walking each row of the beam so that about ``budget`` edges are walked.

    The edges of a row come by descending weight, so what is left out are the weakest paths of
    all: the threshold is the right quantile of the paths of every 16th edge.

    Args:
        beam: int32, rows.
        beam_scores: float32, their scores.
        width: How many of them count.
        exponent: Exponent of the scores.
        n_rows: Rows in all.
        offsets: Address of int64, n_rows + 1.
        weights: Address of uint16 bits of float16.
        budget: Edges to walk.
        stops: int64, receives the edge after the last for each row of the beam.
        samples: float32 scratch.

    Returns:
        How many edges will be walked.
    """
    offsets_R1 = numba.carray(as_int64(offsets), (n_rows + 1,))
    weights_E = numba.carray(as_uint16(weights), (offsets_R1[n_rows],))
    total = np.int64(0)
    n = np.int64(0)
    for w in range(width):
        first, last = offsets_R1[beam[w]], offsets_R1[beam[w] + 1]
        stops[w] = last
        total += last - first
        n += (last - first + SAMPLED - 1) // SAMPLED
    if total <= budget or n > samples.shape[0]:
        return total
    n = np.int64(0)
    for w in range(width):
        score = row_score(beam_scores[w], exponent)
        for e in range(offsets_R1[beam[w]], stops[w], SAMPLED):
            samples[n] = score * half_to_float(weights_E[e])
            n += 1
    wanted = max(1, min(budget // SAMPLED, n))
    threshold, _ = kth_bits(samples.view(np.int32), n, wanted)
    bits = samples.view(np.int32)
    n = np.int64(0)
    total = np.int64(0)
    for w in range(width):
        first, last = offsets_R1[beam[w]], stops[w]
        kept = np.int64(0)
        for _ in range(first, last, SAMPLED):
            kept += np.int64(bits[n] >= threshold)
            n += 1
        stops[w] = min(first + SAMPLED * kept, last)
        total += stops[w] - first
    return total


@numba.njit(nogil=True, cache=True)
def row_score(score, exponent):
    """Score of a row as it enters paths: cut off at 1, to the power of the exponent, never 0."""
    return max(power(max(min(np.float32(1.0), score), LEAST_SCORE), exponent), LEAST_SCORE)


@numba.njit(nogil=True, cache=True)
def walk(
    beam, beam_scores, width, exponent, n_rows, offsets, targets, weights, stops,
    wanted, wanted_bytes, best, found, paths,
):  # fmt: skip
    """Max-merge the edges of the beam; return how many targets were found.

    No branch depends on the data: whether an edge finds a new target cannot be predicted, and a
    wrong guess costs more than the edge. A cell of ``best`` (float32) is 0 for a target that is not
    found yet, and no path is 0 (:data:`LEAST_PATH`). It is 0 everywhere before and after; a cell
    of :data:`NEVER_FOUND` keeps its target out. The rows at ``wanted`` of the targets found, which
    are read next, are asked for on the way.
    """
    offsets_R1 = numba.carray(as_int64(offsets), (n_rows + 1,))
    n_edges = offsets_R1[n_rows]
    targets_E = numba.carray(as_int32(targets), (n_edges,))
    weights_E = numba.carray(as_uint16(weights), (n_edges,))
    n = np.int64(0)
    for w in range(width):
        score = row_score(beam_scores[w], exponent)
        for e in range(offsets_R1[beam[w]], stops[w]):
            target = targets_E[e]
            path = score * half_to_float(weights_E[e])
            path = path if path > LEAST_PATH else LEAST_PATH  # also where it is NaN
            old = best[target]
            prefetch(np.uintp(wanted + np.uintp(target) * wanted_bytes))
            best[target] = max(old, path)
            found[n] = target
            n += np.int64(old == 0)
    for i in range(n):
        target = found[i]
        paths[i] = best[target]
        best[target] = 0
    return n
