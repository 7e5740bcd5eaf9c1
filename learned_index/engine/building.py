"""Lay a trained index out for search: order, fold, quantise, sketch."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.engine.arrays import (
    LEAST_WEIGHT,
    MOST_WEIGHT,
    SKETCH_TAIL,
    STORED_DTYPE,
    EngineArrays,
    aligned_zeros,
    padded,
)
from learned_index.engine.config import EngineConfig, Precision
from learned_index.errors import InputError
from learned_index.types import Float32Array

_BLOCK = 1 << 16
"""Labels converted at a time: what is built beside the engine stays small."""


class RegionParts(NamedTuple):
    """Regions above the clusters (docs/method.md, "Deep routing").

    Attributes:
        vectors_RD: float32.
        edges_RC: CSR float32, weights in [0, 1].
        scale: alpha of the regions.
        beam_width: W0, regions explored.
        n_candidates: K0, clusters scored.
        reference_width: W, the beam of clusters that W0 and K0 are for.
        coverage: Part of the softmax over all clusters that K0 candidates hold on average.
    """

    vectors_RD: Float32Array
    edges_RC: sp.csr_matrix
    scale: float
    beam_width: int
    n_candidates: int
    reference_width: int
    coverage: float = 1.0


class IndexParts(NamedTuple):
    """A trained index in plain arrays.

    Attributes:
        cluster_vectors_CD: float32.
        edges_CL: CSR float32, weights in [0, 1].
        label_vectors_LD: float32.
        label_biases_L: float32.
        fold_DD: float32 F; cluster and label vectors act on ``F x``; None: on x.
        router_scale: alpha.
        path_exponent: a.
        regions: None in a flat index.
    """

    cluster_vectors_CD: Float32Array
    edges_CL: sp.csr_matrix
    label_vectors_LD: Float32Array
    label_biases_L: Float32Array
    fold_DD: Float32Array | None
    router_scale: float
    path_exponent: float
    regions: RegionParts | None = None

    def some_regions(self) -> RegionParts:
        """The regions; of a flat index none of them, with numbers that nobody reads."""
        n_clusters, dim = self.cluster_vectors_CD.shape
        return self.regions or RegionParts(
            vectors_RD=np.empty((0, dim), np.float32),
            edges_RC=sp.csr_matrix((0, n_clusters), dtype=np.float32),
            scale=1.0,
            beam_width=1,
            n_candidates=1,
            reference_width=1,
        )


def default_sketch_dim(dim: int) -> int:
    """Sketch coordinates: what fits one cache line, two for long vectors."""
    return min(dim, padded(1) - SKETCH_TAIL if dim <= 512 else 2 * padded(1) - SKETCH_TAIL)


def build_arrays(parts: IndexParts, config: EngineConfig) -> EngineArrays:
    """Make the arrays of a search engine.

    The map of the queries is folded into the vectors: ``w.(F x) = (F^T w).x``.

    Raises:
        InputError: The graph has no edge, or the sketch is longer than the vectors.
    """
    dim = parts.label_vectors_LD.shape[1]
    n_labels = len(parts.label_vectors_LD)
    sketch_dim = config.sketch_dim or default_sketch_dim(dim)
    if sketch_dim > dim:
        raise InputError(f"sketch_dim is {sketch_dim}, the vectors have {dim} dimensions")
    edges = _kept_edges(parts, config.edge_threshold)
    order_L = label_order(edges)
    place_L = np.empty(n_labels, np.int32)
    place_L[order_L] = np.arange(n_labels, dtype=np.int32)
    offsets, edge_labels, edge_weights = _sorted_edges(edges, place_L)
    regions = parts.some_regions()
    region_codes, region_scales = quantised_rows(_folded(regions.vectors_RD, parts))
    region_offsets, region_clusters, region_weights = _sorted_edges(
        regions.edges_RC, np.arange(len(parts.cluster_vectors_CD), dtype=np.int32)
    )
    cluster_codes, cluster_scales = quantised_rows(_folded(parts.cluster_vectors_CD, parts))
    basis_SD = _principal_axes(parts, sketch_dim)
    map_codes, map_scales = quantised_rows(basis_SD)
    # Made aligned: a copy of what is largest would double the memory of the build.
    sketches = aligned_zeros((n_labels, padded(sketch_dim + SKETCH_TAIL)), np.uint8)
    vectors = aligned_zeros((n_labels, padded(dim)), STORED_DTYPE[config.precision])
    biases = np.ascontiguousarray(parts.label_biases_L[order_L], np.float32)
    for start in range(0, n_labels, _BLOCK):
        rows = slice(start, min(start + _BLOCK, n_labels))
        block = _folded(parts.label_vectors_LD[order_L[rows]], parts)
        vectors[rows, :dim], scales = stored_rows(block, config.precision)
        sketches[rows] = sketch_rows(block @ basis_SD.T, scales, biases[rows])
    return EngineArrays(
        label_ids_L=order_L.astype(np.int32),
        sketches_LB=sketches,
        label_vectors_LP=vectors,
        cluster_vectors_CP=_as_unsigned(cluster_codes, padded(dim)),
        cluster_scales_C=cluster_scales,
        edge_offsets_C1=offsets,
        edge_labels_E=edge_labels,
        edge_weights_E=weight_bits(edge_weights, parts.path_exponent),
        sketch_map_SP=_as_unsigned(map_codes, padded(dim)),
        sketch_map_scales_S=map_scales,
        region_vectors_RP=_as_unsigned(region_codes, padded(dim)),
        region_scales_R=region_scales,
        region_edge_offsets_R1=region_offsets,
        region_edge_clusters_F=region_clusters,
        region_edge_weights_F=weight_bits(region_weights, 1.0),
    ).aligned()


def quantised_rows(
    rows_ND: Float32Array, *, scales: Literal["float32", "bfloat16"] = "float32"
) -> tuple[npt.NDArray[np.int8], Float32Array]:
    """Rows as ``codes * scale``: int8 codes of -127 to 127, float32 scale of each row.

    Args:
        rows_ND: float32.
        scales: bfloat16: scales whose last 16 bits are 0, the next ones upwards.
    """
    steps = np.abs(rows_ND).max(axis=1, initial=0.0).astype(np.float32) / np.float32(127.0)
    if scales == "bfloat16":
        # Upwards: below its true scale the largest entry would be cut off at 127.
        steps = ((steps.view(np.uint32) + 0xFFFF) & 0xFFFF0000).view(np.float32)
    factors = np.divide(1.0, steps, out=np.zeros_like(steps), where=steps > 0)
    codes = np.clip(np.rint(rows_ND * factors[:, None]), -127, 127).astype(np.int8)
    return codes, steps


def sketch_rows(
    coordinates_NS: Float32Array, scales_N: Float32Array, biases_N: Float32Array
) -> npt.NDArray[np.uint8]:
    """Rows of the sketch table: codes, zeros, and the numbers of :data:`.arrays.SKETCH_TAIL`.

    Args:
        coordinates_NS: float32.
        scales_N: float32 scales of the whole vectors, their last 16 bits 0.
        biases_N: float32.
    """
    codes, scales = quantised_rows(coordinates_NS, scales="bfloat16")
    rows = _as_unsigned(codes, padded(codes.shape[1] + SKETCH_TAIL))
    numbers = np.empty((len(rows), 2), "<u4")
    numbers[:, 0] = (scales.view(np.uint32) >> 16) | scales_N.view(np.uint32)
    numbers[:, 1] = biases_N.view(np.uint32)
    rows[:, -SKETCH_TAIL:] = numbers.view(np.uint8)
    return rows


def _as_unsigned(codes: npt.NDArray[np.int8], width: int) -> npt.NDArray[np.uint8]:
    """int8 plus 128 as uint8, padded with zeros that meet zeros of the query."""
    rows = np.zeros((len(codes), width), np.uint8)
    rows[:, : codes.shape[1]] = codes.view(np.uint8) ^ 128
    return rows


def stored_rows(block: Float32Array, precision: Precision) -> tuple[npt.NDArray[Any], Float32Array]:
    """Rows as they are stored, and the scale of each."""
    if precision == "int8":
        codes, scales = quantised_rows(block, scales="bfloat16")
        return _as_unsigned(codes, block.shape[1]), scales
    rows = _half_bits(block) if precision == "float16" else block
    return rows, np.ones(len(block), np.float32)


def _half_bits(values: Float32Array) -> npt.NDArray[np.uint16]:
    limit = float(np.finfo(np.float16).max)
    bits: npt.NDArray[np.uint16] = np.clip(values, -limit, limit).astype(np.float16).view(np.uint16)
    return bits


def _folded(rows_ND: npt.NDArray[Any], parts: IndexParts) -> Float32Array:
    rows = np.ascontiguousarray(rows_ND, np.float32)
    return rows if parts.fold_DD is None else rows @ parts.fold_DD


def _kept_edges(parts: IndexParts, threshold: float) -> sp.csr_matrix:
    """Edges of the threshold or more; each label keeps its strongest one in any case."""
    edges = parts.edges_CL.tocsr(copy=True)
    edges.sum_duplicates()
    if threshold > 0:
        strongest_L = np.asarray(edges.max(axis=0).todense()).ravel()
        edges.data[(edges.data < threshold) & (edges.data < strongest_L[edges.indices])] = 0
    edges.eliminate_zeros()
    if edges.nnz == 0:
        raise InputError("the index has no edge of a weight above 0; train it first")
    return edges


def label_order(edges: sp.csr_matrix) -> npt.NDArray[np.int64]:
    """Labels by the cluster of their strongest edge, there by descending weight."""
    n_clusters, n_labels = edges.shape
    by_label = edges.tocoo()
    order = np.lexsort((-by_label.data, by_label.col))
    labels, first = np.unique(by_label.col[order], return_index=True)
    cluster = np.full(n_labels, n_clusters)
    weight = np.zeros(n_labels, np.float32)
    cluster[labels] = by_label.row[order][first]
    weight[labels] = by_label.data[order][first]
    return np.lexsort((np.arange(n_labels), -weight, cluster))


def _sorted_edges(
    edges: sp.csr_matrix, place_L: npt.NDArray[np.int32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], Float32Array]:
    """Edges of each cluster by descending weight, equal ones by the place of their label."""
    rows = np.repeat(np.arange(edges.shape[0]), np.diff(edges.indptr))
    places = place_L[edges.indices]
    order = np.lexsort((places, -edges.data, rows))
    return (
        edges.indptr.astype(np.int64),
        np.ascontiguousarray(places[order], np.int32),
        np.ascontiguousarray(edges.data[order], np.float32),
    )


def weight_bits(weights: Float32Array, exponent: float) -> npt.NDArray[np.uint16]:
    """``weights ** exponent`` as float16, never 0: an edge that is there can be walked."""
    bits = _half_bits((np.asarray(weights, np.float64) ** exponent).astype(np.float32))
    return np.clip(bits, LEAST_WEIGHT, MOST_WEIGHT)


def _principal_axes(parts: IndexParts, count: int) -> Float32Array:
    """Orthonormal directions, count x D, that hold most of the label vectors' second moment."""
    dim = parts.label_vectors_LD.shape[1]
    moment = np.zeros((dim, dim))
    for start in range(0, len(parts.label_vectors_LD), _BLOCK):
        block = parts.label_vectors_LD[start : start + _BLOCK].astype(np.float64)
        moment += block.T @ block
    if parts.fold_DD is not None:
        fold = parts.fold_DD.astype(np.float64)
        moment = fold.T @ moment @ fold
    _, vectors = np.linalg.eigh(moment)
    return np.ascontiguousarray(vectors[:, ::-1][:, :count].T, np.float32)
