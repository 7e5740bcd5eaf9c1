"""What an engine's arrays must hold before compiled code reads them, which checks no bounds."""

from __future__ import annotations

from typing import Any

import numpy as np

from learned_index.engine.arrays import (
    LEAST_WEIGHT,
    MOST_WEIGHT,
    SKETCH_TAIL,
    STORED_DTYPE,
    EngineArrays,
    label_numbers,
    padded,
)
from learned_index.engine.config import Precision
from learned_index.errors import InputError
from learned_index.inputs.numbers import LARGEST
from learned_index.persistence.contents import (
    require_distinct,
    require_layout,
    require_offsets,
    require_range,
)

_MOST_SCALE = 1e30
"""Scales and biases beyond it are no result of training; sums of them could overflow."""


def check_arrays(arrays: EngineArrays, *, dim: int, precision: Precision) -> None:
    """Check everything that the compiled search relies on, contents too.

    Whole vectors are not read: any codes are right, and floats are guarded where they are
    scored.

    Raises:
        InputError: A dtype, a shape, an id, an offset or a number that does not fit.
    """
    _check_part(arrays, dim=dim, precision=precision)
    if arrays.segment is not None:
        check_segment(arrays, dim=dim, precision=precision)


def check_segment(arrays: EngineArrays, *, dim: int, precision: Precision) -> None:
    """Check the segment alone, likewise; its ids follow those of the main part."""
    assert arrays.segment is not None
    try:
        _check_part(arrays.segment, dim=dim, precision=precision, first=arrays.n_main)
    except InputError as error:
        raise InputError(f"the segment of new labels: {error}") from error


def _check_part(arrays: EngineArrays, *, dim: int, precision: Precision, first: int = 0) -> None:
    """Check one part, whose ids are ``first`` and those that follow."""
    _check_layout(arrays, padded(dim), precision)
    targets_E, targets_F = arrays.edge_labels_E, arrays.region_edge_clusters_F
    ids = arrays.label_ids_L if first == 0 else arrays.label_ids_L.astype(np.int64) - first
    require_distinct("label_ids_L", ids, arrays.n_main)
    require_offsets("edge_offsets_C1", arrays.edge_offsets_C1, len(targets_E))
    require_offsets("region_edge_offsets_R1", arrays.region_edge_offsets_R1, len(targets_F))
    require_range("edge_labels_E", targets_E, 0, arrays.n_main - 1)
    require_range("region_edge_clusters_F", targets_F, 0, arrays.n_clusters - 1)
    for name in ("edge_weights_E", "region_edge_weights_F"):
        require_range(f"the bits of {name}", getattr(arrays, name), LEAST_WEIGHT, MOST_WEIGHT)
    _check_scales(arrays, padded(dim))


def _check_layout(arrays: EngineArrays, P: int, precision: Precision) -> None:
    L, C, R, S = arrays.n_main, arrays.n_clusters, arrays.n_regions, len(arrays.sketch_map_scales_S)
    E, F = len(arrays.edge_labels_E), len(arrays.region_edge_clusters_F)
    expected: dict[str, tuple[Any, tuple[int, ...]]] = {
        "label_ids_L": (np.int32, (L,)),
        "sketches_LB": (np.uint8, (L, padded(S + SKETCH_TAIL))),
        "label_vectors_LP": (STORED_DTYPE[precision], (L, P)),
        "cluster_vectors_CP": (np.uint8, (C, P)),
        "cluster_scales_C": (np.float32, (C,)),
        "edge_offsets_C1": (np.int64, (C + 1,)),
        "edge_labels_E": (np.int32, (E,)),
        "edge_weights_E": (np.uint16, (E,)),
        "sketch_map_SP": (np.uint8, (S, P)),
        "sketch_map_scales_S": (np.float32, (S,)),
        "region_vectors_RP": (np.uint8, (R, P)),
        "region_scales_R": (np.float32, (R,)),
        "region_edge_offsets_R1": (np.int64, (R + 1,)),
        "region_edge_clusters_F": (np.int32, (F,)),
        "region_edge_weights_F": (np.uint16, (F,)),
    }
    require_layout(arrays.named(), expected)
    if L == 0 or C == 0 or S == 0:
        raise InputError(f"got {L} labels, {C} clusters and {S} coordinates, expected some")
    if R > C:
        raise InputError(f"got {R} regions above {C} clusters, expected as many at most")


def _check_scales(arrays: EngineArrays, P: int) -> None:
    """Check that no score of a query that is let in can overflow."""
    for name in ("cluster_scales_C", "sketch_map_scales_S", "region_scales_R"):
        require_range(name, getattr(arrays, name), 0.0, _MOST_SCALE)
    sketch_scales, vector_scales, biases = label_numbers(arrays.sketches_LB)
    require_range("the scales of the sketches", sketch_scales, 0.0, _MOST_SCALE)
    require_range("the scales of the label vectors", vector_scales, 0.0, _MOST_SCALE)
    require_range("the biases of the labels", biases, -_MOST_SCALE, _MOST_SCALE)
    # A product of codes is at most 128 * 127 an entry, and the scale of a query its largest
    # entry over 127. Whole vectors of floats are guarded where they are scored.
    on_axes = 128.0 * P * float(arrays.sketch_map_scales_S.max())
    of_rows = (arrays.cluster_scales_C, arrays.region_scales_R, vector_scales)
    most = max(
        *(128.0 * P * float(scales.max(initial=0.0)) for scales in of_rows),
        on_axes,
        on_axes * 128.0 * arrays.sketches_LB.shape[1] * float(sketch_scales.max()),
    )
    if 4.0 * most * LARGEST > float(np.finfo(np.float32).max):
        raise InputError(
            f"the scales run so high that scores of a query of {LARGEST:g} overflow, expected "
            "smaller ones"
        )
