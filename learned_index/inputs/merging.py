"""Which labels become one with which, and what each of them counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.sparse as sp

from learned_index.errors import InputError
from learned_index.inputs.numbers import shown, whole_number
from learned_index.inputs.vectors import as_array
from learned_index.types import Int64Array


def merge_targets(targets: Mapping[int, int], n_labels: int) -> Int64Array:
    """For each label the one that it becomes: itself, as a rule.

    Args:
        targets: Labels that go, and the ones that they become.
        n_labels: L.

    Raises:
        InputError: Nothing to merge, ids that do not exist, a target that goes itself.
    """
    if not isinstance(targets, Mapping) or not targets:
        raise InputError(f"got {shown(targets)} to merge, expected {{label that goes: label}}")
    target_L = np.arange(n_labels)
    for gone, kept in targets.items():
        gone, kept = (
            whole_number(label, "label", low=0, high=n_labels - 1) for label in (gone, kept)
        )
        target_L[gone] = kept
    wrong = np.flatnonzero(target_L[target_L] != target_L)
    same = [label for label in targets if target_L[label] == label]
    if len(wrong) or same:
        label = int(wrong[0]) if len(wrong) else same[0]
        raise InputError(
            f"label {label} becomes label {int(target_L[label])}, which goes itself; name another "
            "one that stays in the end"
        )
    return target_L


def merge_shares(target_L: Int64Array, weights: Any | None) -> sp.csr_matrix:
    """Weighted means of what becomes one, as a matrix L x L; rows of labels that go are theirs.

    Args:
        target_L: See :func:`merge_targets`.
        weights: L numbers of 0 or more; None: all alike. Where those of all that become one are 0
            they count alike.

    Raises:
        InputError: Weights of another length, below 0, or no numbers.
    """
    n_labels = len(target_L)
    weight_L = np.ones(n_labels) if weights is None else as_array(weights, name="weights")
    if weight_L.shape != (n_labels,) or weight_L.dtype.kind not in "iuf":
        raise InputError(
            f"weights are {weight_L.dtype} of shape {weight_L.shape}, expected {n_labels} numbers"
        )
    weight_L = weight_L.astype(np.float64)
    if not (np.isfinite(weight_L).all() and weight_L.min(initial=0.0) >= 0):
        raise InputError("weights hold NaN, infinity or a number below 0; expected 0 or more")
    sums_L = np.bincount(target_L, weights=weight_L, minlength=n_labels)
    counts_L = np.bincount(target_L, minlength=n_labels)
    sum_L, count_L = sums_L[target_L], counts_L[target_L]
    share_L = np.where(sum_L > 0, weight_L / np.where(sum_L > 0, sum_L, 1.0), 1.0 / count_L)
    gone = np.flatnonzero(target_L != np.arange(n_labels))
    rows = np.concatenate([target_L, gone])
    columns = np.concatenate([np.arange(n_labels), gone])
    values = np.concatenate([share_L, np.ones(len(gone))])
    return sp.csr_matrix((values, (rows, columns)), shape=(n_labels, n_labels))
