"""Edges of an engine that lead to some of its labels."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt


@numba.njit(nogil=True, cache=True)
def _count(offsets, labels, wanted, out_offsets):
    kept = np.int64(0)
    for c in range(len(offsets) - 1):
        for e in range(offsets[c], offsets[c + 1]):
            kept += np.int64(wanted[labels[e]])
        out_offsets[c + 1] = kept


@numba.njit(nogil=True, cache=True)
def _copy(labels, weights, wanted, out_labels, out_weights):
    last = len(out_labels) - 1
    kept = np.int64(0)
    for e in range(len(labels)):
        place = min(kept, last)  # what is not wanted is written over by what comes next
        out_labels[place] = labels[e]
        out_weights[place] = weights[e]
        kept += np.int64(wanted[labels[e]])
        if kept > last:
            return


def edges_to(
    offsets_C1: npt.NDArray[np.int64],
    labels_E: npt.NDArray[np.int32],
    weights_E: npt.NDArray[np.uint16],
    wanted_L: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
    """Offsets, labels and weights of the edges that lead to wanted labels, in the same order.

    Args:
        offsets_C1: int64, from 0 to E.
        labels_E: int32, places of labels.
        weights_E: uint16.
        wanted_L: bool, by place.
    """
    offsets = np.zeros_like(offsets_C1)
    _count(offsets_C1, labels_E, wanted_L, offsets)
    labels, weights = np.empty(offsets[-1], np.int32), np.empty(offsets[-1], np.uint16)
    if offsets[-1]:
        _copy(labels_E, weights_E, wanted_L, labels, weights)
    return offsets, labels, weights
