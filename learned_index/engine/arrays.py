"""The arrays of a search engine: their names, shapes and dtypes in one place."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from learned_index.engine.config import Precision
from learned_index.engine.constants import Constants
from learned_index.engine.mapping import Source
from learned_index.kernels.engine import handle as place
from learned_index.kernels.machine.byte_dots import LANE_BYTES

STORED_DTYPE: dict[Precision, type[np.generic]] = {
    "int8": np.uint8,
    "float16": np.uint16,
    "float32": np.float32,
}
"""int8 is stored plus 128; float16 as its bits: mapped integers are passed on as they are."""

SKETCH_TAIL = 8
"""Bytes at the end of a sketch: bfloat16 scales of the sketch and of the whole vector, and the
bias as float32."""

LEAST_WEIGHT, MOST_WEIGHT = 1, 0x3C00
"""Bits of the smallest float16 above 0 and of 1.0: weights of edges lie between them. The order of
such bits is that of their floats."""

_HUGE_PAGE = 1 << 21

OF_LABELS = (
    "label_ids_L",
    "sketches_LB",
    "label_vectors_LP",
    "edge_offsets_C1",
    "edge_labels_E",
    "edge_weights_E",
)
"""The arrays that a segment has of its own; it shares the others with the main part."""


def padded(n: int) -> int:
    """The next multiple of a cache line, for rows of n bytes."""
    return -(-n // LANE_BYTES) * LANE_BYTES


def aligned_zeros(shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Zeros in C order that begin at a cache line; a large array at a huge page.

    A row of 64 bytes then is one cache line, and Linux backs large arrays with huge pages, so that
    rows in no order miss fewer address translations.
    """
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    boundary = _boundary(n_bytes)
    memory = np.zeros(n_bytes + boundary, np.uint8)
    start = -memory.ctypes.data % boundary
    return memory[start : start + n_bytes].view(dtype).reshape(shape)


def _boundary(n_bytes: int) -> int:
    return LANE_BYTES if n_bytes < 2 * _HUGE_PAGE else _HUGE_PAGE


def _aligned(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The array, or a copy of it where it does not begin as :func:`aligned_zeros` do."""
    if array.ctypes.data % _boundary(array.nbytes) == 0:
        return array
    copy = aligned_zeros(array.shape, array.dtype)
    copy[...] = array
    return copy


@dataclass(frozen=True)
class EngineArrays:
    """What the compiled search reads.

    P is D rounded up to a multiple of 64, E the edges in all, R the regions above the clusters
    (0: none), F the edges from regions to clusters.

    Codes (of clusters, sketches, the sketch map and int8 label vectors) are int8 plus 128, as
    uint8, followed by zeros.

    Attributes:
        label_ids_L: int32, ids by which labels are known outside; the rows below follow the order
            of the clusters, so that labels found together lie together.
        sketches_LB: uint8 L x B, B a multiple of 64: codes of the S principal coordinates, and in
            the last 8 bytes the label's numbers, see :data:`SKETCH_TAIL`.
        label_vectors_LP: uint8 (codes), uint16 (bits of float16) or float32.
        cluster_vectors_CP: uint8 codes.
        cluster_scales_C: float32.
        edge_offsets_C1: int64, C + 1.
        edge_labels_E: int32, in the order of ``label_ids_L``; by descending weight in each cluster.
        edge_weights_E: uint16 bits of float16, ``e^a`` with the path exponent a.
        sketch_map_SP: uint8 codes of the map from a query to its S coordinates.
        sketch_map_scales_S: float32.
        region_vectors_RP: uint8 codes.
        region_scales_R: float32.
        region_edge_offsets_R1: int64, R + 1.
        region_edge_clusters_F: int32.
        region_edge_weights_F: uint16 bits of float16.
        source: Where those arrays that are memory-mapped come from; None: nowhere known. They are
            pickled as this place alone.
        segment: M labels that joined later, with the ids from L on, and edges of their own
            (:data:`OF_LABELS`); the other arrays are those of this main part.
    """

    label_ids_L: npt.NDArray[np.int32]
    sketches_LB: npt.NDArray[np.uint8]
    label_vectors_LP: npt.NDArray[Any]
    cluster_vectors_CP: npt.NDArray[np.uint8]
    cluster_scales_C: npt.NDArray[np.float32]
    edge_offsets_C1: npt.NDArray[np.int64]
    edge_labels_E: npt.NDArray[np.int32]
    edge_weights_E: npt.NDArray[np.uint16]
    sketch_map_SP: npt.NDArray[np.uint8]
    sketch_map_scales_S: npt.NDArray[np.float32]
    region_vectors_RP: npt.NDArray[np.uint8]
    region_scales_R: npt.NDArray[np.float32]
    region_edge_offsets_R1: npt.NDArray[np.int64]
    region_edge_clusters_F: npt.NDArray[np.int32]
    region_edge_weights_F: npt.NDArray[np.uint16]
    source: Source | None = None
    segment: EngineArrays | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by value, and mapped arrays by where they lie."""
        own = self._pickled(self.names())
        return _unpickled, (own, None if self.segment is None else self.segment._pickled(OF_LABELS))

    def _pickled(self, names: Iterable[str]) -> tuple[Iterable[str], dict[str, Any], Source | None]:
        """Names of some arrays, those of them that are pickled by value, and where others lie."""
        values = {
            name: array
            for name, array in self.named().items()
            if name in names and (self.source is None or not _is_mapped(array))
        }
        return names, values, self.source

    @property
    def n_main(self) -> int:
        """L, labels of the main part."""
        return len(self.label_ids_L)

    @property
    def n_labels(self) -> int:
        """Labels of both parts, L + M."""
        return self.n_main + (0 if self.segment is None else self.segment.n_main)

    @property
    def n_edges(self) -> int:
        """Edges to labels, of both parts."""
        own = len(self.edge_labels_E)
        return own + (0 if self.segment is None else self.segment.n_edges)

    def ids(self) -> npt.NDArray[np.int32]:
        """Ids by place, those of the segment behind the others, int32 L + M."""
        if self.segment is None:
            return self.label_ids_L
        return np.concatenate([self.label_ids_L, self.segment.label_ids_L])

    @property
    def n_clusters(self) -> int:
        """C."""
        return len(self.cluster_scales_C)

    @property
    def n_regions(self) -> int:
        """R."""
        return len(self.region_scales_R)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, in memory and on disk alike (beside a few bytes of file headers)."""
        own = sum(array.nbytes for array in self.named().values())
        return own + sum(array.nbytes for array in self.of_segment().values())

    @classmethod
    def names(cls) -> list[str]:
        """Names of the arrays."""
        return [field.name for field in fields(cls) if field.name not in ("source", "segment")]

    def named(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays of the main part by name."""
        return {name: getattr(self, name) for name in self.names()}

    def of_segment(self) -> dict[str, npt.NDArray[Any]]:
        """Arrays that the segment has of its own, by name; none where there is no segment."""
        if self.segment is None:
            return {}
        return {name: getattr(self.segment, name) for name in OF_LABELS}

    def with_segment(
        self, arrays: Mapping[str, npt.NDArray[Any]], source: Source | None = None
    ) -> EngineArrays:
        """The same main part with another segment.

        Args:
            arrays: Those of :data:`OF_LABELS`.
            source: Where those of them that are mapped come from.
        """
        whole: dict[str, Any] = {**self.named(), **arrays}
        segment = EngineArrays(**whole, source=source)
        return replace(self, segment=segment)

    def aligned(self) -> EngineArrays:
        """The same arrays in memory laid out for search, see :func:`aligned_zeros`."""
        arrays: dict[str, Any] = {name: _aligned(array) for name, array in self.named().items()}
        return replace(self, **arrays)

    def handle(self, constants: Constants, precision: Precision) -> npt.NDArray[np.int64]:
        """Sizes and addresses, at the places that :mod:`learned_index.kernels.engine.handle` names.

        Those of a segment follow. The arrays must outlive it.
        """
        values = np.zeros(place.HANDLE_SIZE, np.int64)
        sizes = {
            place.N_LABELS: self.n_main,
            place.N_CLUSTERS: self.n_clusters,
            place.N_REGIONS: self.n_regions,
            place.DIM: constants.dim,
            place.PADDED_DIM: padded(constants.dim),
            place.SKETCH_DIM: len(self.sketch_map_scales_S),
            place.SKETCH_BYTES: self.sketches_LB.shape[1],
            place.PRECISION: list(STORED_DTYPE).index(precision),
            place.MAX_CANDIDATES: min(self.n_main, len(self.edge_labels_E)),
            place.REGION_BEAM: constants.region_beam_width,
            place.CLUSTER_CANDIDATES: constants.n_candidates,
            place.REFERENCE_BEAM: constants.reference_width,
        }
        for at, size in sizes.items():
            values[at] = size
        # The places of the addresses follow each other as the fields of this class do.
        values[place.LABEL_IDS :] = [array.ctypes.data for array in self.named().values()]
        if self.segment is None:
            return values
        more = self.segment.handle(constants, precision)
        values[place.SEGMENT_LABELS] = self.segment.n_main
        values[place.MAX_CANDIDATES] += more[place.MAX_CANDIDATES]
        return np.concatenate([values, more])


def label_numbers(
    sketches_LB: npt.NDArray[np.uint8],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Scale of each label's sketch, scale of its whole vector, bias: float32 L each."""
    numbers = np.ascontiguousarray(sketches_LB[:, -SKETCH_TAIL:]).view("<u4")
    scales, biases = numbers[:, 0], np.ascontiguousarray(numbers[:, 1])
    return (
        (scales << np.uint32(16)).view(np.float32),
        (scales & np.uint32(0xFFFF0000)).view(np.float32),
        biases.view(np.float32),
    )


def _is_mapped(array: npt.NDArray[Any]) -> bool:
    """Whether it lies in a file; what was computed from such an array keeps the class, no more."""
    return isinstance(array, np.memmap) and array.filename is not None


Pickled: TypeAlias = tuple[Iterable[str], dict[str, npt.NDArray[Any]], Source | None]


def _unpickled(main: Pickled, segment: Pickled | None) -> EngineArrays:
    """The other side of :meth:`EngineArrays.__reduce__`.

    Raises:
        ModelFormatError: The files are not where they were, or not what they were.
    """
    arrays = EngineArrays(**_opened(main), source=main[2])
    return arrays if segment is None else arrays.with_segment(_opened(segment), segment[2])


def _opened(pickled: Pickled) -> dict[str, Any]:
    names, values, source = pickled
    arrays = {name: _aligned(array) for name, array in values.items()}
    if source is not None:
        arrays |= source.open(name for name in names if name not in values)
    return arrays
