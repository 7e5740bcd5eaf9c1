"""What the remembered records consist of in memory and in a file, and how it grows.

Legend: N records, V terms, L labels, C cells, D dimensions, P bytes of a coded vector.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from learned_index.errors import InputError
from learned_index.kernels.machine.byte_dots import LANE_BYTES
from learned_index.persistence.contents import (
    LARGEST_WEIGHT,
    require_layout,
    require_offsets,
    require_range,
)
from learned_index.ranking.record_layout import owned
from learned_index.types import Int64Array


class RecordMemory(NamedTuple):
    """What is saved, by name. Records are numbered in the order of their cells.

    Attributes:
        label_indptr: int64, N + 1. Where the labels of each record begin.
        label_ids: int32.
        term_indptr: int64, V + 1. Where the list of each term begins.
        term_records: int32, the records that have it, ascending.
        term_weights: uint8, 255 times their tf-idf.
        codes_NP: uint8, the vectors' coordinates in units of ``units_N``, plus 128.
        units_N: float32.
        cell_offsets: int64, C + 1. Where the records of each cell begin.
        centroids_CD: float32, unit vectors.
        own_indptr: int64, L + 1. Where the records that each label owns begin.
        own_records: int32, ascending within a label.
        own_scales: float32. One over the length of the sum of a label's own records, by words; 0
            where there is none.
    """

    label_indptr: Any
    label_ids: Any
    term_indptr: Any
    term_records: Any
    term_weights: Any
    codes_NP: Any
    units_N: Any
    cell_offsets: Any
    centroids_CD: Any
    own_indptr: Any
    own_records: Any
    own_scales: Any


def joined_lists(
    memory: RecordMemory, more: Any, number_N: Any, n_known: int
) -> tuple[Any, Any, Any]:
    """The lists of records by term, of the known records and of those behind them, renumbered.

    The new numbers of the known records ascend as their old ones do, so that their lists stay
    sorted, and the others' postings are put in between.
    """
    known, new = (
        np.repeat(np.arange(len(indptr) - 1), np.diff(indptr)) * np.int64(len(number_N))
        + number_N[records]
        for indptr, records in (
            (memory.term_indptr, memory.term_records),
            (more[0], more[1] + n_known),
        )
    )
    order = np.argsort(new, kind="stable")
    place = np.searchsorted(known, new[order])
    records = np.insert(number_N[memory.term_records], place, number_N[more[1] + n_known][order])
    weights = np.insert(memory.term_weights, place, more[2][order])
    return memory.term_indptr + more[0], records.astype(np.int32), weights


def own_of_both(
    memory: RecordMemory, number_N: Any, labels_NL: sp.csr_matrix, touched_U: Int64Array, lists: Any
) -> tuple[Any, Any, Any]:
    """What :func:`owned` gives of all records, computed for the labels that have new ones alone.

    Args:
        memory: Of the known records.
        number_N: The new numbers of all records, known ones first; those of these ascend.
        labels_NL: CSR, the labels of all records under their new numbers.
        touched_U: int64, ascending: the labels of new records.
        lists: All records by term.
    """
    n_known, n_labels = len(memory.own_scales), int(labels_NL.shape[1])
    counts_L = np.zeros(n_labels, np.int64)
    counts_L[:n_known] = np.diff(memory.own_indptr)
    scales_L = np.zeros(n_labels, np.float32)
    scales_L[:n_known] = memory.own_scales
    stays = np.repeat(np.isin(np.arange(n_known), touched_U, invert=True), counts_L[:n_known])
    kept = number_N[memory.own_records[stays]]
    indptr_U, records, scales_L[touched_U] = owned(labels_NL[:, touched_U], *lists)
    counts_L[touched_U] = 0
    before_U = np.concatenate([[0], np.cumsum(counts_L)])[touched_U]  # of kept ones
    counts_L[touched_U] = np.diff(indptr_U)
    both = np.insert(kept, np.repeat(before_U, np.diff(indptr_U)), records)
    indptr = np.concatenate([[0], np.cumsum(counts_L)]).astype(np.int64)
    return indptr, both.astype(np.int32), scales_L


def check_memory(memory: RecordMemory, n_labels: int) -> None:
    """The compiled code does not check bounds: arrays from a file are checked here."""
    m = memory
    n, n_postings, n_cells = len(m.units_N), len(m.term_records), len(m.cell_offsets) - 1
    dim, n_terms = m.centroids_CD.shape[-1], len(m.term_indptr) - 1
    width = -(-dim // LANE_BYTES) * LANE_BYTES
    require_layout(
        m._asdict(),
        {
            "label_indptr": (np.int64, (n + 1,)),
            "label_ids": (np.int32, (len(m.label_ids),)),
            "term_indptr": (np.int64, (n_terms + 1,)),
            "term_records": (np.int32, (n_postings,)),
            "term_weights": (np.uint8, (n_postings,)),
            "codes_NP": (np.uint8, (n, width)),
            "units_N": (np.float32, (n,)),
            "cell_offsets": (np.int64, (n_cells + 1,)),
            "centroids_CD": (np.float32, (n_cells, dim)),
            "own_indptr": (np.int64, (n_labels + 1,)),
            "own_records": (np.int32, (len(m.own_records),)),
            "own_scales": (np.float32, (n_labels,)),
        },
    )
    require_offsets("label_indptr", m.label_indptr, len(m.label_ids))
    require_range("label_ids", m.label_ids, 0, n_labels - 1)
    require_offsets("term_indptr", m.term_indptr, n_postings)
    require_range("term_records", m.term_records, 0, n - 1)
    require_offsets("cell_offsets", m.cell_offsets, n)
    # A weight of 0 would leave a sum at 0, and its record would be counted twice.
    require_range("term_weights", m.term_weights, 1, 255)
    require_range("units_N", m.units_N, 0.0, LARGEST_WEIGHT)
    require_range("centroids_CD", m.centroids_CD, -LARGEST_WEIGHT, LARGEST_WEIGHT)
    require_offsets("own_indptr", m.own_indptr, len(m.own_records))
    require_range("own_records", m.own_records, 0, n - 1)
    require_range("own_scales", m.own_scales, 0.0, LARGEST_WEIGHT)
    # Scratch is allotted for distinct labels of records.
    _require_ascending("label_ids", m.label_indptr, m.label_ids)
    _require_ascending("term_records", m.term_indptr, m.term_records)


def _require_ascending(name: str, offsets: Int64Array, ids: Any) -> None:
    """Within each row every id is larger than the one before, so that none comes twice."""
    rises = np.ones(len(ids), bool)
    rises[1:] = ids[1:] > ids[:-1]
    rises[offsets[:-1][np.diff(offsets) > 0]] = True
    if not rises.all():
        raise InputError(f"{name} do not ascend within a row")
