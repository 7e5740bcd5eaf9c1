"""The words that weigh most in classifiers of the sparse ranker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from learned_index.elias.parts import EliasParts
from learned_index.elias.points import feature_names
from learned_index.types import Float32Array, Int64Array


@dataclass(frozen=True)
class WordWeight:
    """A word (or pair, or numbered feature) and what it weighs in a classifier of the ranker."""

    term: str
    weight: float


def label_words(
    model: EliasParts, label: int, k: int
) -> tuple[list[WordWeight], list[WordWeight]] | tuple[None, None]:
    """Words for a label, the largest weights first, and those against it, the smallest first.

    Args:
        model: Trained.
        label: Its id.
        k: Words wanted of each kind, at most.

    Returns:
        Words of weights above 0, and of weights below 0; None twice where there is no ranker.
    """
    if model.ranker_ is None:
        return None, None
    row = model.ranker_.sparse_weights()[label]
    terms, weights = row.indices, row.data
    return _largest(model, terms, weights, k), _largest(model, terms, weights, k, sign=-1)


def mean_words(
    model: EliasParts, labels: Int64Array, shares: Float32Array, k: int
) -> list[WordWeight] | None:
    """Words with the largest weights above 0 in the weighted mean of some labels' classifiers.

    Args:
        model: Trained.
        labels: int64, distinct ids.
        shares: float32, 0 or more: what each classifier counts.
        k: Words wanted, at most.

    Returns:
        The largest first; none where all shares are 0; None where there is no ranker.
    """
    if model.ranker_ is None:
        return None
    total = float(shares.sum(dtype=np.float64))
    if total == 0.0:
        return []
    mean_V = model.ranker_.sparse_weights()[labels].T @ (shares / total)
    return _largest(model, np.arange(len(mean_V)), mean_V, k)


def _largest(
    model: EliasParts, terms: Any, weights: Any, k: int, *, sign: int = 1
) -> list[WordWeight]:
    """The first k of the weights with this sign by their size, of equal ones in their order."""
    order = np.argsort(-sign * weights, kind="stable")[:k]
    order = order[sign * weights[order] > 0]
    return [
        WordWeight(term, float(weight))
        for term, weight in zip(
            feature_names(model.features, terms[order]), weights[order], strict=True
        )
    ]
