"""How the arrays of an engine reach the compiled search: an array of numbers, the handle.

A call takes one array object in place of twenty, whose unboxing alone would cost as much as the
routing of a query. The engine that makes a handle (:mod:`learned_index.engine.arrays`) keeps the
arrays alive.
"""

from __future__ import annotations

(
    N_LABELS, N_CLUSTERS, N_REGIONS, DIM, PADDED_DIM, SKETCH_DIM, SKETCH_BYTES, PRECISION,
    MAX_CANDIDATES, REGION_BEAM, CLUSTER_CANDIDATES, REFERENCE_BEAM,
    SEGMENT_LABELS,
    LABEL_IDS, SKETCHES, LABEL_VECTORS,
    CLUSTER_VECTORS, CLUSTER_SCALES, EDGE_OFFSETS, EDGE_LABELS, EDGE_WEIGHTS,
    SKETCH_MAP, SKETCH_MAP_SCALES,
    REGION_VECTORS, REGION_SCALES, REGION_EDGE_OFFSETS, REGION_EDGE_CLUSTERS, REGION_EDGE_WEIGHTS,
    HANDLE_SIZE,
) = range(29)  # fmt: skip
"""Places in the handle: sizes, then addresses of the arrays in the order of an engine's fields.

Where ``SEGMENT_LABELS`` is above 0 the handle of a segment of so many labels follows.
``MAX_CANDIDATES`` counts both parts.
"""


INT8, FLOAT16, FLOAT32 = range(3)
"""Precisions of whole label vectors, as the handle says them."""
