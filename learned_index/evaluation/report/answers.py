"""Answers of a model that a person can judge: some right, some wrong, the surest mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from learned_index.data.dataset import Dataset
from learned_index.data.naming import joint_ids
from learned_index.elias.model import ELIAS
from learned_index.evaluation.report.measured import Measured
from learned_index.metrics import hit_matrix
from learned_index.types import PAD_ID, Int64Array

SHOWN = 5
"""Answers of a point."""
LONGEST_TEXT = 500
"""Characters of a text."""


def example_answers(
    model: ELIAS, dataset: Dataset, measured: Measured, *, n: int = 4, seed: int = 0
) -> dict[str, list[dict[str, Any]]]:
    """Choose points, and tell what the model answered.

    Args:
        model: Its vocabulary names the labels.
        dataset: The points.
        measured: The answers.
        n: Points of each kind.
        seed: Of the choice.

    Returns:
        ``right`` and ``wrong``: points whose best label is, or is not, true, drawn at random;
        ``surest``: those of all wrong ones whose best label has the highest score. Each is
        ``{"row", "text", "answers": [{"label", "score", "is_true"}], "missed": [{"label",
        "place"}]}``: the missed labels are true and not among the answers shown; place is theirs
        among all answers, counted from 1, None where they are not among them, and -1 for labels
        that the model was never trained on.
    """
    ids_NK = np.asarray(measured.result.ids).astype(np.int64)
    is_hit_NK = hit_matrix(ids_NK, measured.truth_NL)
    asked = (ids_NK[:, 0] != PAD_ID) & (np.diff(measured.truth_NL.indptr) > 0)
    right, wrong = np.flatnonzero(asked & is_hit_NK[:, 0]), np.flatnonzero(asked & ~is_hit_NK[:, 0])
    generator = np.random.default_rng(seed)
    surest = wrong[np.argsort(-np.asarray(measured.result.scores)[wrong, 0], kind="stable")][:n]
    others = np.setdiff1d(wrong, surest)
    chosen = {
        "right": generator.permutation(right)[:n],
        "wrong": generator.permutation(others)[:n],
        "surest": surest,
    }
    name_of = _names(model, dataset)
    return {
        kind: [_told(name_of, dataset, measured, int(row), is_hit_NK[row]) for row in rows]
        for kind, rows in chosen.items()
    }


def _names(model: ELIAS, dataset: Dataset) -> Callable[[int], str]:
    """The name of a label by its id in the truth; those that the model does not know come last."""
    joint, _ = joint_ids(dataset.vocabulary, model.vocabulary)
    unknown = {
        int(number): dataset.vocabulary.name(label)
        for label, number in enumerate(joint.tolist())
        if number >= len(model.vocabulary)
    }
    return lambda label: unknown[label] if label in unknown else model.vocabulary.name(label)


def _told(
    name_of: Callable[[int], str], dataset: Dataset, measured: Measured, row: int, is_hit_K: Any
) -> dict[str, Any]:
    ids_K: Int64Array = np.asarray(measured.result.ids[row]).astype(np.int64)
    scores_K = np.asarray(measured.result.scores[row])
    shown = [place for place in range(min(SHOWN, len(ids_K))) if ids_K[place] != PAD_ID]
    answered = {int(ids_K[place]) for place in shown}
    places = {int(label): place + 1 for place, label in enumerate(ids_K) if label != PAD_ID}
    truth = measured.truth_NL
    true = truth.indices[truth.indptr[row] : truth.indptr[row + 1]].tolist()
    text = None if dataset.texts is None else " ".join(dataset.texts[row].split())
    if text is not None and len(text) > LONGEST_TEXT:
        text = text[: LONGEST_TEXT - 1].rstrip() + "…"
    return {
        "row": row,
        "text": text,
        "answers": [
            {
                "label": name_of(int(ids_K[place])),
                "score": float(scores_K[place]),
                "is_true": bool(is_hit_K[place]),
            }
            for place in shown
        ],
        "missed": [
            {
                "label": name_of(label),
                # A label without a training point may be answered all the same, by its text.
                "place": places.get(label, None if measured.counts_L[label] else -1),
            }
            for label in true
            if label not in answered
        ],
    }
