"""Labels of an engine that become one with others: edges and classifiers of the ones that stay.

Legend: K labels that stay and gain others, D dimension.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from learned_index.engine.arrays import EngineArrays
from learned_index.engine.building import sketch_rows, stored_rows
from learned_index.engine.config import Precision
from learned_index.engine.segment import (
    edges_of_both,
    sketch_axes,
    sorted_edges,
    stored_classifiers,
)
from learned_index.types import Int64Array


def with_merged_labels(
    arrays: EngineArrays,
    target_L: Int64Array,
    shares_LL: sp.csr_matrix,
    *,
    dim: int,
    precision: Precision,
) -> EngineArrays:
    """The same labels, of which some are found no more: others have their edges.

    Where a cluster leads to several that become one, the strongest edge stays. The classifier of
    that one is the mean of those of all, as they are stored, rounded again. Tables of the part that
    holds it are copied; those of the other part, and what is known of clusters, are shared.

    Args:
        arrays: Of the engine, with or without a segment.
        target_L: For each label the one that takes its edges: itself, as a rule.
        shares_LL: What the classifiers (columns) are worth in the new ones (rows).
        dim: D.
        precision: Of the stored vectors.
    """
    ids = arrays.ids()
    place_of = np.empty(len(ids), np.int64)
    place_of[ids] = np.arange(len(ids))
    merged = _with_edges(arrays, place_of[target_L[ids]])
    gone = np.flatnonzero(target_L != np.arange(len(target_L)))
    kept_K = np.unique(target_L[gone])
    asked = np.concatenate([kept_K, gone])
    classifiers = stored_classifiers(arrays, asked, dim, precision)
    means_KO = shares_LL[kept_K][:, asked] @ classifiers
    places_K, first = place_of[kept_K], arrays.n_main
    axes_SD = sketch_axes(arrays, dim)

    def rewritten(part: EngineArrays, begin: int) -> dict[str, Any]:
        mine = (places_K >= begin) & (places_K < begin + part.n_main)
        if not mine.any():
            return {}
        rows, weights_KD = places_K[mine] - begin, means_KO[mine, :-1].astype(np.float32)
        vectors, sketches = part.label_vectors_LP.copy(), part.sketches_LB.copy()
        vectors[rows, :dim], scales = stored_rows(weights_KD, precision)
        biases = np.ascontiguousarray(means_KO[mine, -1], np.float32)
        sketches[rows] = sketch_rows(weights_KD @ axes_SD.T, scales, biases)
        return {"label_vectors_LP": vectors, "sketches_LB": sketches}

    segment = merged.segment
    if segment is not None:
        segment = replace(segment, **rewritten(segment, first)).aligned()
    return replace(merged, **rewritten(merged, 0), segment=segment).aligned()


def _with_edges(arrays: EngineArrays, target: Int64Array) -> EngineArrays:
    """Edges to other places; of several between the same two the strongest stays."""
    clusters, places, bits = edges_of_both(arrays)
    places = target[places]
    order = np.lexsort((-bits.astype(np.int32), places, clusters))
    clusters, places, bits = clusters[order], places[order], bits[order]
    is_first = np.ones(len(clusters), bool)
    is_first[1:] = (clusters[1:] != clusters[:-1]) | (places[1:] != places[:-1])

    def part(begin: int, end: int) -> dict[str, Any]:
        mine = is_first & (places >= begin) & (places < end)
        made = sorted_edges(clusters[mine], places[mine] - begin, bits[mine], arrays.n_clusters)
        names = ("edge_offsets_C1", "edge_labels_E", "edge_weights_E")
        return dict(zip(names, made, strict=True))

    segment = arrays.segment
    if segment is not None:
        segment = replace(segment, **part(arrays.n_main, arrays.n_labels))
    return replace(arrays, **part(0, arrays.n_main), segment=segment)
