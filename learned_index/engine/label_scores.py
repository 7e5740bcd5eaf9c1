"""Scores that an index or an engine gives to labels that somebody names.

The score of a label is the one that a search for it alone finds: its best path from the clusters of
the beam, times its classifier. While no cluster of the beam leads to it, the beam grows as that
search's would. So a score depends on no other label that is asked about with it.

The same, label by label, is a search with ``allow=[label]`` of an index, and of an engine one of
those that :meth:`SearchEngine.remove_labels` leaves; compared in
``tests/engine/test_scored_labels.py``.

Legend: B queries, M labels, n pairs of a query and a label.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from learned_index.types import PAD_ID, PAD_SCORE, Float32Array, Int64Array, SearchResult

BeamSearch: TypeAlias = Callable[[Int64Array, int], SearchResult]
"""Searches rows with a beam of just that width, for all labels that it was made for."""

_MOST_CELLS = 1 << 22
"""Queries times labels of one search: its ids and scores are arrays of that size."""


def score_pairs(
    rows_n: Int64Array,
    labels_n: Int64Array,
    only: Callable[[Int64Array], BeamSearch],
    widths: list[int],
) -> Float32Array:
    """Score pairs of a query and a label.

    Args:
        rows_n: int64, the query of each, in ascending order.
        labels_n: int64, its label.
        only: Makes the search of some labels, all of which it finds where a path leads to them.
        widths: Widths of the beam, ascending; a label has the score of the first that reaches it.

    Returns:
        float32 n; -inf where no edge leads to a label.
    """
    scores_n = np.full(len(rows_n), PAD_SCORE, np.float32)
    start = 0
    while start < len(rows_n):
        part = slice(start, _end(rows_n, labels_n, start))
        scores_n[part] = _scored(rows_n[part], labels_n[part], only, widths)
        start = part.stop
    return scores_n


def _end(rows_n: Int64Array, labels_n: Int64Array, start: int) -> int:
    """Where a block ends whose queries times different labels are few enough."""
    stop = len(rows_n)
    while stop > start + 1:
        cells = len(np.unique(rows_n[start:stop])) * len(np.unique(labels_n[start:stop]))
        if cells <= _MOST_CELLS:
            break
        stop = start + (stop - start) // 2
    return stop


def _scored(
    rows_n: Int64Array,
    labels_n: Int64Array,
    only: Callable[[Int64Array], BeamSearch],
    widths: list[int],
) -> Float32Array:
    labels_M, column_n = np.unique(labels_n, return_inverse=True)
    search = only(labels_M)
    scores_n = np.full(len(rows_n), PAD_SCORE, np.float32)
    missing = np.arange(len(rows_n))
    for width in widths:
        rows_B, row_n = np.unique(rows_n[missing], return_inverse=True)
        found = search(rows_B, width)
        scores_BM = np.full((len(rows_B), len(labels_M)), PAD_SCORE, np.float32)
        row, place = np.nonzero(found.ids != PAD_ID)
        column = np.searchsorted(labels_M, found.ids[row, place])
        scores_BM[row, column] = found.scores[row, place]
        scores_n[missing] = scores_BM[row_n, column_n[missing]]
        missing = missing[np.isneginf(scores_n[missing])]
        if not len(missing):
            break
    return scores_n


def growing_widths(width: int, factor: int, n_clusters: int) -> list[int]:
    """The widths of a beam that grows by a factor, up to all clusters."""
    widths = [min(width, n_clusters)]
    while widths[-1] < n_clusters:
        widths.append(min(factor * widths[-1], n_clusters))
    return widths
