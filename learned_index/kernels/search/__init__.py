"""The index's own search on the CPU: equations 2 to 6 for one query after the other.

Every query is computed by the same code on one thread, whatever the batch and the thread count, so
the answers are equal bit for bit. A batch would let the steps share their reads, as training's do;
then an answer would depend on who asks at the same time.

Versions: :mod:`.cpu` (Numba; with :mod:`.routing`). The same in plain torch, operation by
operation, is :func:`learned_index.index.search.search_in_torch`; compared in
``tests/index/test_learned_graph_index.py`` and ``tests/index/test_hierarchy.py``. An engine's is
:mod:`learned_index.kernels.engine`.
"""

from __future__ import annotations

import threading
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from learned_index.kernels.machine.parallel import run_queries
from learned_index.kernels.search.cpu import search_rows
from learned_index.kernels.search.routing import NOT_FOUND

__all__ = ["SearchArrays", "SearchSettings", "search_cpu"]

_Float32: TypeAlias = npt.NDArray[np.float32]


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
        region_SD: float32 region vectors of a deep index; 0 x D where all clusters are scored.
        region_edge_clusters: int32 S x M0, -1 at pads.
        region_edge_weights: float32 S x M0 in [0, 1].
    """

    projection_DD: _Float32
    router_CD: _Float32
    edge_labels_CM: npt.NDArray[np.int32]
    edge_weights_CM: _Float32
    label_LD: _Float32
    bias_L: _Float32
    input_scale: np.float32
    region_SD: _Float32
    region_edge_clusters: npt.NDArray[np.int32]
    region_edge_weights: _Float32


class SearchSettings(NamedTuple):
    """How a search goes through these arrays.

    Attributes:
        router_scale: alpha; for candidates of a deep index times their share of the softmax.
        region_scale: alpha of the regions.
        path_exponent: Labels are ranked by ``path^exponent * sigmoid(w.x + b)``.
        beam_width: W, at most C.
        shortlist_size: K.
        region_beam_width: W0, at most S; 0 where there are no regions.
        n_candidates: K0, at least W where there are regions.
    """

    router_scale: float
    region_scale: float
    path_exponent: float
    beam_width: int
    shortlist_size: int
    region_beam_width: int = 0
    n_candidates: int = 0


_scratch = threading.local()


def _scratch_row(name: str, size: int) -> _Float32:
    """One thread's array of so many floats, all -1; the kernel leaves it as it found it."""
    row: _Float32 | None = _scratch.__dict__.get(name)
    if row is None or len(row) != size:
        row = np.full(size, NOT_FOUND, np.float32)
        _scratch.__dict__[name] = row
    return row


def search_cpu(
    queries_BD: _Float32, arrays: SearchArrays, settings: SearchSettings, k: int
) -> tuple[npt.NDArray[np.int64], _Float32]:
    """Search with compiled code on the CPU.

    Args:
        queries_BD: float32, C order, finite.
        arrays: The index.
        settings: Constants and widths.
        k: Results per query.

    Returns:
        ids int64 B x k (-1 pads), scores float32 B x k (-inf pads), best first; equal scores come
        in ascending order of id.
    """
    n_queries = len(queries_BD)
    n_clusters = len(arrays.router_CD) if len(arrays.region_SD) else 0
    ids = np.empty((n_queries, k), np.int64)
    scores = np.empty((n_queries, k), np.float32)

    def call(start: int, stop: int) -> None:
        search_rows(
            start, stop, queries_BD, *arrays, *settings,
            _scratch_row("labels", len(arrays.bias_L)), _scratch_row("clusters", n_clusters),
            ids, scores,
        )  # fmt: skip

    run_queries(n_queries, call)
    return ids, scores
