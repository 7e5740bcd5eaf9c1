"""Labels that join an engine: a segment of their own beside the main part, which stays as it is.

The main part of an engine is mapped from a file and never written to. Labels that join it get rows
and edges in a small segment (:attr:`EngineArrays.segment`): their ids follow, their edges begin at
the engine's own clusters, and regions, clusters and sketch axes are shared. A search walks,
sketches and rescores both parts, and selects and ranks what it found in them together.

Legend: K known labels, M new ones, n examples of these, D dimension, P its padded width.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.engine.arrays import (
    STORED_DTYPE,
    EngineArrays,
    aligned_zeros,
    label_numbers,
    padded,
)
from learned_index.engine.building import label_order, sketch_rows, stored_rows, weight_bits
from learned_index.engine.checking import check_segment
from learned_index.engine.config import EngineConfig, Precision
from learned_index.engine.constants import Constants
from learned_index.engine.new_edges import (
    background,
    drawn_rows,
    new_edges,
    strongest_weights,
    visits_of,
)
from learned_index.engine.new_labels import Examples, Known, known_means, new_classifiers
from learned_index.engine.new_steps import stepped
from learned_index.errors import InputError
from learned_index.inputs.labels import points_per_label
from learned_index.inputs.matrices import largest_first
from learned_index.kernels.engine.routing import route_rows
from learned_index.kernels.engine.scratch import scratch_bytes
from learned_index.types import Float32Array, Int64Array

_ZERO = 128
"""The byte that stands for 0 in codes."""


def with_new_labels(
    arrays: EngineArrays,
    config: EngineConfig,
    constants: Constants,
    examples: Examples,
    known: tuple[Float32Array, sp.csr_matrix],
    counts_L: Int64Array | None = None,
) -> EngineArrays:
    """The same main part, and a segment that holds M labels more.

    The map of the queries is folded into an engine's vectors, so all is done in the space of the
    queries as they come, scaled so that known points are of length 1 on average, for which the
    ridge of equation (21) is made.

    Args:
        arrays: Of the engine, with or without a segment.
        config: Its precision, the default beam width, and the least weight of an edge.
        constants: Its numbers.
        examples: Of the new labels.
        known: Vectors and labels (CSR) of points that the engine knows labels by.
        counts_L: int64, training points of each label; None: as many as in ``known``.
    """
    points_ND, labels_NL = known
    scale = 1.0 / max(float(np.linalg.norm(points_ND, axis=1).mean()), 1e-30)
    labels_K, means_KD, counts_K = known_means(points_ND, labels_NL)

    def of_known(rows: Int64Array) -> npt.NDArray[np.float64]:
        found = stored_classifiers(arrays, labels_K[rows], constants.dim, config.precision)
        found[:, :-1] /= scale
        return found

    x_nD = examples.vectors_nD * np.float32(scale)
    means_KD *= np.float32(scale)
    made_MO = new_classifiers(Known(means_KD, counts_K, of_known), x_nD, examples)
    rows = drawn_rows(labels_NL)
    visits_SC, visits_nC = (
        visits_of(*_beams(arrays, config, constants, x), arrays.n_clusters)
        for x in (points_ND[rows], examples.vectors_nD)
    )
    beside = background(
        points_ND[rows] * np.float32(scale), visits_SC, labels_NL[rows], labels_NL, counts_L
    )
    known_L = points_per_label(labels_NL) if counts_L is None else counts_L
    strongest_L = _strongest_edges(arrays, constants.path_exponent)
    strongest_M = strongest_weights(known_L, strongest_L, examples.counts)
    edges_MC = new_edges(visits_nC, examples, beside.all_C, strongest_M)
    edges_MC = _without_weak(edges_MC, config.edge_threshold)
    made_MO = stepped(made_MO, edges_MC, x_nD, examples, beside)
    weights_MD = np.ascontiguousarray(made_MO[:, :-1] * scale, np.float32)
    biases_M = np.ascontiguousarray(made_MO[:, -1], np.float32)
    grown = _appended(arrays, config.precision, weights_MD, biases_M, edges_MC, constants)
    check_segment(grown, dim=constants.dim, precision=config.precision)
    return grown


def _strongest_edges(arrays: EngineArrays, exponent: float) -> Float32Array:
    """Weight of each label's strongest edge, float32 L; 0 where it has none."""
    _, places, bits = edges_of_both(arrays)
    weights = bits.view(np.float16).astype(np.float32)
    if exponent > 0:
        weights **= np.float32(1 / exponent)
    strongest_L = np.zeros(arrays.n_labels, np.float32)
    np.maximum.at(strongest_L, arrays.ids()[places], weights)
    return strongest_L


def _without_weak(edges_MC: sp.csr_matrix, threshold: float) -> sp.csr_matrix:
    """The edges that weigh at least so much, and the strongest of each label."""
    row, order, place = largest_first(edges_MC)
    order = order[(place == 0) | (edges_MC.data[order] >= threshold)]
    row = np.repeat(np.arange(edges_MC.shape[0]), np.diff(edges_MC.indptr))[order]
    kept = sp.csr_matrix(
        (edges_MC.data[order], (row, edges_MC.indices[order])), shape=edges_MC.shape
    )
    kept.sort_indices()
    return kept


def stored_classifiers(
    arrays: EngineArrays, labels_K: Int64Array, dim: int, precision: Precision
) -> npt.NDArray[np.float64]:
    """Weights, as they act on queries, and biases of some labels: float64 K x (D + 1)."""
    out = np.empty((len(labels_K), dim + 1))
    first = arrays.n_main
    parts = [(arrays, labels_K < first, 0)]
    if arrays.segment is not None:
        parts.append((arrays.segment, labels_K >= first, first))
    for part, mine, begin in parts:
        place_of = np.empty(part.n_main, np.int64)
        place_of[part.label_ids_L - begin] = np.arange(part.n_main)
        places = place_of[labels_K[mine] - begin]
        rows = part.label_vectors_LP[places, :dim]
        _, scales, biases = label_numbers(part.sketches_LB[places])
        if precision == "int8":
            rows = (rows.astype(np.float64) - _ZERO) * scales[:, None]
        elif precision == "float16":
            rows = rows.view(np.float16)
        out[mine, :dim], out[mine, dim] = rows, biases
    return out


def _beams(
    arrays: EngineArrays, config: EngineConfig, constants: Constants, vectors_nD: Float32Array
) -> tuple[Any, Any]:
    """Numbers and scores of the clusters that each example visits."""
    width = min(config.beam_width, arrays.n_clusters)
    handle = arrays.handle(constants, config.precision)
    clusters = np.empty((len(vectors_nD), width), np.int32)
    scores = np.empty((len(vectors_nD), width), np.float32)
    scratch = np.zeros(scratch_bytes(handle, 1), np.uint8)
    bad = route_rows(
        handle, np.ascontiguousarray(vectors_nD), np.array(constants.of_search), width, scratch,
        np.zeros(5, np.int64), clusters, scores,
    )  # fmt: skip
    if bad >= 0:
        raise InputError(f"example {bad} of the new labels runs beyond what an engine takes")
    return clusters, scores


def _appended(
    arrays: EngineArrays,
    precision: Precision,
    weights_MD: Float32Array,
    biases_M: Float32Array,
    edges_MC: sp.csr_matrix,
    constants: Constants,
) -> EngineArrays:
    """Rows and edges of new labels behind those of the segment, in the order of their ids."""
    n_new, dim = weights_MD.shape
    axes_SD = sketch_axes(arrays, dim)
    rows, scales = stored_rows(weights_MD, precision)
    vectors = np.zeros((n_new, padded(dim)), STORED_DTYPE[precision])
    vectors[:, :dim] = rows
    sketches = sketch_rows(weights_MD @ axes_SD.T, scales, biases_M)
    by_edge = edges_MC.tocoo()
    edges: _Edges = (
        by_edge.col, by_edge.row, weight_bits(by_edge.data, constants.path_exponent)
    )  # fmt: skip
    old = arrays.segment
    n_old = 0 if old is None else old.n_main
    ids = np.arange(arrays.n_labels, arrays.n_labels + n_new, dtype=np.int32)
    if old is not None:
        ids = np.concatenate([old.label_ids_L, ids])
        edges = _joined(_edges(old), edges, n_old)
    offsets, labels, bits = sorted_edges(*edges, arrays.n_clusters)
    return arrays.with_segment(
        {
            "label_ids_L": ids,
            "sketches_LB": _stacked(None if old is None else old.sketches_LB, sketches),
            "label_vectors_LP": _stacked(None if old is None else old.label_vectors_LP, vectors),
            "edge_offsets_C1": offsets,
            "edge_labels_E": labels,
            "edge_weights_E": bits,
        }
    )


def sketch_axes(arrays: EngineArrays, dim: int) -> Float32Array:
    """The axes along which sketches lie, as they are stored: float32 S x D."""
    codes = arrays.sketch_map_SP[:, :dim].astype(np.float32) - _ZERO
    axes: Float32Array = codes * arrays.sketch_map_scales_S[:, None]
    return axes


def _stacked(first: npt.NDArray[Any] | None, second: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Rows of both in memory that begins at a cache line."""
    n_first = 0 if first is None else len(first)
    table = aligned_zeros((n_first + len(second), *second.shape[1:]), second.dtype)
    if first is not None:
        table[:n_first] = first
    table[n_first:] = second
    return table


_Edges: TypeAlias = tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]
"""Cluster, place of the label and weight bits of each edge."""


def _joined(first: _Edges, second: _Edges, n_first: int) -> _Edges:
    """All edges; the labels of the second ones lie behind ``n_first`` others."""
    shifted = (second[0], second[1] + n_first, second[2])
    clusters, places, bits = (np.concatenate(pair) for pair in zip(first, shifted, strict=True))
    return clusters, places, bits


def edges_of_both(arrays: EngineArrays) -> _Edges:
    """Cluster, place and weight bits of all edges; places of the segment follow those of main."""
    if arrays.segment is None:
        return _edges(arrays)
    return _joined(_edges(arrays), _edges(arrays.segment), arrays.n_main)


def _edges(part: EngineArrays) -> _Edges:
    clusters = np.repeat(np.arange(part.n_clusters), np.diff(part.edge_offsets_C1))
    return clusters, part.edge_labels_E, part.edge_weights_E


def sorted_edges(
    clusters: npt.NDArray[Any], places: npt.NDArray[Any], bits: npt.NDArray[Any], n_clusters: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.uint16]]:
    """Offsets, places and weights of edges by cluster, there by descending weight, then place."""
    order = np.lexsort((places, -bits.astype(np.int32), clusters))
    counts = np.bincount(clusters, minlength=n_clusters)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return offsets, places[order].astype(np.int32), bits[order].astype(np.uint16)


def compacted(arrays: EngineArrays) -> EngineArrays:
    """Main part and segment laid out as one; arrays without a segment are given back.

    Codes, scales and weights are copied as they are: no score changes.
    """
    segment = arrays.segment
    if segment is None:
        return arrays
    clusters, places, bits = edges_of_both(arrays)
    weights = bits.view(np.float16).astype(np.float32)
    order_L = label_order(
        sp.csr_matrix((weights, (clusters, places)), (arrays.n_clusters, arrays.n_labels))
    )
    place_of = np.empty(arrays.n_labels, np.int32)
    place_of[order_L] = np.arange(arrays.n_labels, dtype=np.int32)
    offsets, labels, bits = sorted_edges(clusters, place_of[places], bits, arrays.n_clusters)
    return replace(
        arrays,
        label_ids_L=arrays.ids()[order_L],
        sketches_LB=_gathered(arrays.sketches_LB, segment.sketches_LB, order_L),
        label_vectors_LP=_gathered(arrays.label_vectors_LP, segment.label_vectors_LP, order_L),
        edge_offsets_C1=offsets,
        edge_labels_E=labels,
        edge_weights_E=bits,
        segment=None,
    ).aligned()


def _gathered(
    main: npt.NDArray[Any], more: npt.NDArray[Any], order: Int64Array
) -> npt.NDArray[Any]:
    """Rows of two tables in another order, without a third table beside them."""
    table = aligned_zeros((len(order), *main.shape[1:]), main.dtype)
    from_main = order < len(main)
    table[from_main] = main[order[from_main]]
    table[~from_main] = more[order[~from_main] - len(main)]
    return table
