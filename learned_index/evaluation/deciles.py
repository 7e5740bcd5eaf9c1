"""Labels in groups of equal size by how often they were trained (the paper's decile analysis).

Legend: G groups (ten: deciles), group 0 the most frequent labels. Further legend in
:mod:`learned_index.types`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.errors import InputError
from learned_index.metrics import canonical_truth, check_ids, hit_matrix
from learned_index.types import Int64Array, SearchResult

Float64Array = npt.NDArray[np.float64]


class GroupRecall(NamedTuple):
    """Recall of each group's (point, label) pairs.

    Attributes:
        recall_G: float64, percent of the pairs that were found; NaN where there are none.
        n_pairs_G: int64, (point, true label) pairs of each group.
    """

    recall_G: Float64Array
    n_pairs_G: Int64Array


def frequency_groups(label_counts_L: npt.ArrayLike, *, n_groups: int = 10) -> Int64Array:
    """Sort labels by training frequency into groups of equal numbers of labels.

    Args:
        label_counts_L: L training counts.
        n_groups: G; at most L groups are made.

    Returns:
        int64, L. Group of each label, 0 for the most frequent; sizes differ by at most one, the
        first groups are the larger ones. Labels of equal count go by their id.

    Raises:
        InputError: Not one-dimensional, no label, negative counts, or ``n_groups`` below 1.
    """
    counts = np.asarray(label_counts_L)
    if counts.ndim != 1 or not counts.size or not np.issubdtype(counts.dtype, np.integer):
        raise InputError(
            f"label_counts must be a non-empty row of integers, got {counts.dtype} {counts.shape}"
        )
    if counts.min() < 0:
        raise InputError(f"label_counts hold {counts.min()}, expected 0 or more")
    if n_groups < 1:
        raise InputError(f"n_groups is {n_groups}, expected at least 1")
    order = np.lexsort((np.arange(counts.size), -counts.astype(np.int64)))
    groups = np.empty(counts.size, dtype=np.int64)
    for group, members in enumerate(np.array_split(order, min(n_groups, counts.size))):
        groups[members] = group
    return groups


def recall_by_group(
    result: SearchResult | Int64Array,
    truth_NL: sp.csr_matrix,
    group_of_label_L: Int64Array,
    *,
    k: int = 100,
) -> GroupRecall:
    """Recall@k of the labels of each group: found pairs / pairs (a ratio of sums).

    A mean over points of each point's share would weigh the few labels of a group in a point
    unevenly; pairs count alike.

    Args:
        result: A search result, or its ids N x at least k, best first, padded with -1.
        truth_NL: True labels, sparse.
        group_of_label_L: int64, group of each label; -1 for a label that counts in none.
        k: Cut-off.

    Raises:
        InputError: Shapes do not fit, or the result is narrower than k.
    """
    truth = canonical_truth(truth_NL)
    ids_NK = check_ids(result, truth.shape, at_least=k)[:, :k]
    groups = np.asarray(group_of_label_L, dtype=np.int64)
    if groups.shape != (truth.shape[1],):
        raise InputError(f"got groups of {groups.size} labels, the truth has {truth.shape[1]}")
    n_groups = int(groups.max(initial=0)) + 1
    n_pairs = _count(groups[truth.indices], n_groups)
    found = _count(groups[ids_NK[hit_matrix(ids_NK, truth)]], n_groups)
    recall = np.full(n_groups, np.nan)
    np.divide(100.0 * found, n_pairs, out=recall, where=n_pairs > 0)
    return GroupRecall(recall, n_pairs)


def mean_by_group(values_L: npt.ArrayLike, group_of_label_L: Int64Array) -> Float64Array:
    """Mean of a number of each label over the labels of each group, float64 G."""
    values = np.asarray(values_L, dtype=np.float64)
    groups = np.asarray(group_of_label_L)
    if values.shape != groups.shape:
        raise InputError(f"got {values.size} values for {groups.size} labels; expected as many")
    return np.asarray(
        np.bincount(groups, weights=values) / np.maximum(np.bincount(groups), 1), np.float64
    )


def _count(groups: npt.NDArray[Any], n_groups: int) -> Int64Array:
    return np.bincount(groups[groups >= 0], minlength=n_groups).astype(np.int64)
