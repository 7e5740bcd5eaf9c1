"""The shortlist of one model or of several: merged, cut, and followed by the rest.

Legend: B queries, m models, S labels that each model finds, R labels that are ranked again, k
labels wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from learned_index.types import PAD_ID, Float32Array, Int64Array, SearchResult


class Shortlist(NamedTuple):
    """Labels of each query, best first by p.

    Attributes:
        ids: int64, B x width, padded at the end with -1.
        p: float32, B x width. Mean of the models' probabilities, 0 at pads.
    """

    ids: Int64Array
    p: Float32Array


def merge(results: Sequence[SearchResult], width: int) -> Shortlist:
    """Average the scores of several searches of the same queries.

    p(l) is the mean over the m models of their p(l), 0 where a model did not find the label.
    Equal scores are ordered by the label's id.

    Args:
        results: For each model ids and scores B x S.
        width: Columns of the answer; fewer labels are followed by padding, more are cut.
    """
    if len(results) == 1:
        ids, p = results[0]
        p = np.maximum(p, np.float32(0))  # -inf at pads
        if ids.shape[1] == width:
            return Shortlist(ids, p)
        return _padded(ids[:, :width], p[:, :width], width)
    n_models = len(results)
    ids = np.concatenate([result.ids for result in results], axis=1)
    p = np.concatenate([result.scores for result in results], axis=1)
    p = np.where(ids == PAD_ID, np.float32(0), p).astype(np.float32)
    # Equal labels come to stand together, those of the first model first: sums in one order.
    order = np.argsort(ids, axis=1, kind="stable")
    ids, p = np.take_along_axis(ids, order, axis=1), np.take_along_axis(p, order, axis=1)
    total = p.copy()
    for shift in range(1, min(n_models, ids.shape[1])):
        same = ids[:, shift:] == ids[:, :-shift]
        total[:, :-shift] += np.where(same, p[:, shift:], np.float32(0))
    first = np.ones(ids.shape, dtype=bool)
    first[:, 1:] = ids[:, 1:] != ids[:, :-1]
    found = first & (ids != PAD_ID)
    # Below every p, so that pads and repeats are sorted behind what was found.
    mean = np.where(found, total / np.float32(n_models), np.float32(-1))
    order = np.argsort(-mean, axis=1, kind="stable")[:, :width]
    ids, mean = np.take_along_axis(ids, order, axis=1), np.take_along_axis(mean, order, axis=1)
    unused = mean < 0
    return _padded(np.where(unused, PAD_ID, ids), np.where(unused, np.float32(0), mean), width)


def _padded(ids: Int64Array, p: Float32Array, width: int) -> Shortlist:
    missing = width - ids.shape[1]
    if missing > 0:
        ids = np.pad(ids, ((0, 0), (0, missing)), constant_values=PAD_ID)
        p = np.pad(p, ((0, 0), (0, missing)))
    return Shortlist(np.ascontiguousarray(ids), np.ascontiguousarray(p, dtype=np.float32))


def followed_by(head: Int64Array, wide: Shortlist, width: int) -> Shortlist:
    """Return labels beyond the head in the order of the wide shortlist.

    Args:
        head: int64, B x R. Labels that already have a place.
        wide: B x S, the labels of a wider search.
        width: Columns of the answer.
    """
    taken = wide.ids == PAD_ID
    for row in range(len(head)):
        taken[row] |= np.isin(wide.ids[row], head[row])
    order = np.argsort(taken, axis=1, kind="stable")[:, :width]
    unused = np.take_along_axis(taken, order, axis=1)
    ids = np.where(unused, PAD_ID, np.take_along_axis(wide.ids, order, axis=1))
    p = np.where(unused, np.float32(0), np.take_along_axis(wide.p, order, axis=1))
    return _padded(ids, p, width)
