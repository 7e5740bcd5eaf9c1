"""Engines of a part of the labels: allow- and deny-lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from learned_index.engine.arrays import EngineArrays
from learned_index.errors import InputError

LabelIds: TypeAlias = Sequence[int] | npt.NDArray[Any]
"""Ids of labels in any order, or a mask of L booleans."""


def restricted_arrays(
    arrays: EngineArrays, *, allow: LabelIds | None, deny: LabelIds | None
) -> EngineArrays:
    """The arrays with only those edges that lead to labels that may be found.

    The vectors are shared; the edges, about a tenth of an engine, are copied.

    Args:
        arrays: Of the whole engine.
        allow: The only labels to find; None: all.
        deny: Labels not to find; wins over ``allow``.

    Raises:
        InputError: Ids that do not exist, or a mask of another length.
    """
    n_ids = int(arrays.label_ids_L.max()) + 1
    wanted = np.ones(n_ids, bool) if allow is None else label_mask(allow, n_ids, name="allow")
    if deny is not None:
        wanted &= ~label_mask(deny, n_ids, name="deny")
    kept_E = wanted[arrays.label_ids_L][arrays.edge_labels_E]
    before = np.concatenate([[0], np.cumsum(kept_E)])
    return replace(
        arrays,
        edge_offsets_C1=np.ascontiguousarray(before[arrays.edge_offsets_C1], np.int64),
        edge_labels_E=arrays.edge_labels_E[kept_E],
        edge_weights_E=arrays.edge_weights_E[kept_E],
    )


def label_mask(ids: LabelIds, n_labels: int, *, name: str) -> npt.NDArray[np.bool_]:
    """Ids or a mask as a mask of ``n_labels`` booleans.

    Raises:
        InputError: Ids that do not exist, or a mask of another length.
    """
    given = np.asarray(ids)
    if given.dtype == bool:
        if given.shape != (n_labels,):
            raise InputError(f"{name} is a mask of shape {given.shape}, expected ({n_labels},)")
        return given.copy()
    if given.ndim != 1 or (given.size and not np.issubdtype(given.dtype, np.integer)):
        raise InputError(
            f"{name} is {given.dtype} of shape {given.shape}, expected a list of label ids or a "
            "mask of booleans"
        )
    mask = np.zeros(n_labels, bool)
    if given.size:
        if given.min() < 0 or given.max() >= n_labels:
            raise InputError(
                f"{name} holds ids from {given.min()} to {given.max()}, expected 0 to "
                f"{n_labels - 1}"
            )
        mask[given] = True
    return mask
