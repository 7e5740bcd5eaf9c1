"""Searches that make Numba compile, and keep in its cache, what searches of a model run."""

from __future__ import annotations

import numpy as np

from learned_index.elias.explanation import explain_labels
from learned_index.elias.parts import EliasParts, SearchOptions
from learned_index.elias.prediction import Score, predict_points
from learned_index.types import PAD_ID

_N_QUERIES = 40
"""Enough for an engine to answer some at once and for each thread to get some."""


def warm_up(model: EliasParts) -> None:
    """Ask a model for the names of its own labels, in every way that ``li search`` offers.

    What is compiled depends on the types of the model's arrays and not on the words, so that no
    later search by texts has to compile anything.
    """
    names = [model.vocabulary.name(label) for label in range(min(model.n_labels, _N_QUERIES))]
    texts = (names * _N_QUERIES)[:_N_QUERIES]
    scores: list[Score] = ["ranking", "index"]
    if model.calibrator_ is not None:
        scores.append("probability")
    ways: list[SearchOptions] = [{"deny": [0]}, {"allow": [0]}, {}]
    for score in scores:
        for options in ways:
            for asked in (texts[:1], texts):
                found = predict_points(
                    model, asked, 1, vectors=None, sparse=None, score=score, options=options
                )
    for text, label in zip(texts, found.ids[:, 0].tolist(), strict=True):
        if label != PAD_ID:
            explain_labels(model, [text], np.array([label]))
            return
