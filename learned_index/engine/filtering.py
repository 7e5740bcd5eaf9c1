"""Engines of a part of the labels: allow- and deny-lists."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from learned_index.engine.arrays import EngineArrays
from learned_index.inputs.labels import LabelIds, label_ids, wanted_labels
from learned_index.kernels.engine.filter import edges_to

MOST_DENIED = 1 / 8
"""Share of the labels up to which a deny-list is left to the search; with more the edges that lead
to the others are copied."""


def restricted_arrays(
    arrays: EngineArrays, *, allow: LabelIds | None, deny: LabelIds | None
) -> EngineArrays:
    """The arrays with only those edges that lead to labels that may be found.

    The vectors are shared; the edges, about a tenth of an engine, are copied. Arguments and errors
    as :meth:`SearchEngine.restrict` has them.
    """
    wanted = wanted_labels(allow, deny, arrays.n_labels)
    segment = arrays.segment
    return replace(
        _kept(arrays, wanted), segment=None if segment is None else _kept(segment, wanted)
    )


def _kept(part: EngineArrays, wanted: npt.NDArray[np.bool_]) -> EngineArrays:
    offsets, labels, weights = edges_to(
        part.edge_offsets_C1,
        part.edge_labels_E,
        part.edge_weights_E,
        wanted[part.label_ids_L],
    )
    return replace(part, edge_offsets_C1=offsets, edge_labels_E=labels, edge_weights_E=weights)


class Places:
    """Where the labels of an engine lie, by id.

    Args:
        label_ids_L: int32, the id at each place.
    """

    def __init__(self, label_ids_L: npt.NDArray[np.int32]) -> None:
        n_labels = len(label_ids_L)
        self._of_id = np.full(int(label_ids_L.max()) + 1, -1, np.int32)
        self._of_id[label_ids_L] = np.arange(n_labels, dtype=np.int32)
        self._most = int(MOST_DENIED * n_labels)

    def denied(self, deny: LabelIds) -> npt.NDArray[np.int32] | None:
        """Places of the labels of a deny-list, each once; None if the list is too long for that.

        Raises:
            InputError: Ids that do not exist, or a mask of another length.
        """
        ids = label_ids(deny, len(self._of_id), name="deny")
        if len(ids) > self._most:
            return None
        places = self._of_id[ids]
        return np.unique(places[places >= 0])
