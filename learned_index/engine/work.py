"""What a search costs, counted."""

from __future__ import annotations

from typing import NamedTuple

from learned_index.engine.arrays import EngineArrays
from learned_index.types import Int64Array


class Work(NamedTuple):
    """Mean work of a query.

    Attributes:
        clusters: Clusters scored.
        edges: Edges walked, from clusters to labels.
        candidates: Labels found and scored by their sketches.
        rescored: Labels scored with their whole vectors.
        n_bytes: Bytes that must be read for it.
    """

    clusters: float
    edges: float
    candidates: float
    rescored: float
    n_bytes: float


def mean_work(arrays: EngineArrays, counts: Int64Array) -> Work:
    """Work of a query on average, from the counts of the compiled search."""
    n, *done = counts.tolist()
    clusters, edges, candidates, rescored = (number / n for number in done)
    n_bytes = (
        arrays.sketch_map_SP.nbytes
        + arrays.region_vectors_RP.nbytes
        + clusters * (arrays.cluster_vectors_CP.strides[0] + arrays.cluster_scales_C.itemsize)
        + edges * (arrays.edge_labels_E.itemsize + arrays.edge_weights_E.itemsize)
        + candidates * arrays.sketches_LB.strides[0]
        + rescored * arrays.label_vectors_LP.strides[0]
    )
    return Work(clusters, edges, candidates, rescored, n_bytes)
