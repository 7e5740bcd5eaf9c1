"""A split asked in batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict

import numpy as np

from learned_index.data.dataset import Dataset
from learned_index.elias.model import ELIAS
from learned_index.elias.prediction import Score
from learned_index.errors import InputError
from learned_index.inputs.points import n_rows
from learned_index.types import SearchResult

BATCH = 1024
"""Points that are searched at a time."""


class Query(TypedDict, total=False):
    """How a model is asked: keyword arguments of :meth:`ELIAS.search`."""

    beam_width: int | None
    shortlist_size: int | None
    score: Score


def require_points(dataset: Dataset) -> None:
    """Refuse an empty split.

    Raises:
        InputError: It has no points.
    """
    if dataset.n_points == 0:
        raise InputError(f"the {dataset.split} split has no points; nothing can be measured")


def search_points(
    model: ELIAS,
    points: Any,
    k: int,
    *,
    vectors: Any | None = None,
    query: Query | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SearchResult:
    """Search many points in batches.

    Args:
        model: The model.
        points: N texts or rows of sparse features.
        k: Labels wanted.
        vectors: N x D vectors of the points, where they are known already.
        query: How the model is asked.
        progress: Called with the points that are done and all.

    Returns:
        Ids and scores, N x k.
    """
    total = n_rows(points)
    if vectors is not None and len(vectors) != total:
        raise InputError(f"got {len(vectors)} vectors for {total} points; expected as many")
    ids, scores = np.empty((total, k), np.int64), np.empty((total, k), np.float32)
    for start in range(0, total, BATCH):
        part = slice(start, min(start + BATCH, total))
        known = None if vectors is None else vectors[part]
        ids[part], scores[part] = model.search(points[part], k, vectors=known, **(query or {}))
        if progress is not None:
            progress(part.stop, total)
    return SearchResult(ids, scores)
