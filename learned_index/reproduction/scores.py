"""Scores of true labels by how often the labels were trained (figure 4)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from learned_index.elias.label_scores import asked, pairs_of
from learned_index.elias.model import ELIAS
from learned_index.elias.points import take
from learned_index.errors import InputError
from learned_index.ranking.combination import Combination
from learned_index.reproduction.by_decile import by_decile, decile_rows, draw_by_decile
from learned_index.reproduction.results import Made, Row
from learned_index.reproduction.study import Study
from learned_index.types import Float32Array, Int64Array

BATCH = 512
"""Points at a time, with all their true labels."""
NAMES = ("index", "sparse ranker")


def true_label_scores(
    model: ELIAS, points: Any, truth_NL: sp.csr_matrix, *, vectors: Sequence[Any] | None = None
) -> tuple[Float32Array, Float32Array, Int64Array]:
    """Return what index and ranker make of each true label, whether or not a search finds it.

    Args:
        model: A model with a ranker.
        points: N texts or rows of features.
        truth_NL: True labels; those that the model does not know are left out.
        vectors: N x D of each encoder, where they are known already.

    Returns:
        p of the index, float32 T, 0 where no path leads to the label; sigmoid(2 q) of the ranker's
        margin q, float32 T; the label, int64 T.
    """
    known_NL = sp.csr_matrix(truth_NL[:, : model.n_labels])
    p, q, labels = [], [], []
    for start in range(0, known_NL.shape[0], BATCH):
        part_BL = known_NL[start : start + BATCH]
        rows = np.arange(start, start + part_BL.shape[0])
        known = None if vectors is None else [np.asarray(x[rows], np.float32) for x in vectors]
        told = asked(model, take(points, rows), vectors=known)
        rows_T = np.repeat(np.arange(part_BL.shape[0]), np.diff(part_BL.indptr))
        labels_T = part_BL.indices.astype(np.int64)
        answerable_T = told.answerable_B[rows_T]
        pairs = pairs_of(model, told, rows_T[answerable_T], labels_T[answerable_T])
        p.append(pairs.of_label(pairs.listed.p))
        q.append(pairs.of_label(pairs.listed.q))
        labels.append(labels_T[answerable_T])
    ranker_only = Combination(index_weight=0.0, ranker_weight=1.0)
    margins = np.concatenate(q)
    scores = ranker_only(np.ones_like(margins)[None, :], margins[None, :])[0]
    return np.concatenate(p), scores, np.concatenate(labels)


def figure_4(study: Study) -> Made:
    """Mean score of true labels by decile, of the index and of the sparse ranker."""
    if study.model.ranker_ is None:
        raise InputError(
            "the model has no sparse ranker (li train-index trains none); give one of li train"
        )
    points = take(study.test.points, study.rows)
    found = []
    for model in study.models:
        study.say("scores of true labels")
        vectors = [study.encode(encoder, study.test)[study.rows] for encoder in model.encoders]
        found.append(true_label_scores(model, points, study.truth, vectors=vectors))
    rows: list[Row] = []
    lines = {}
    group_T = study.groups[found[0][2]]
    pairs = np.bincount(group_T, minlength=len(study.group_names)).tolist()
    for column, name in enumerate(NAMES):
        values_ST = np.stack([scores[column] for scores in found])
        lines[name] = by_decile(values_ST, group_T, study)
        rows += decile_rows({"scored by": name}, "mean score", lines[name], study, pairs=pairs)
    over = study.spread("pairs of point and true label")

    def draw(paths: Sequence[Path]) -> None:
        draw_by_decile(
            study,
            lines,
            paths,
            title="What index and ranker make of true labels",
            below=f"{study.below}\nBars: {over}.",
            unit="mean score of the true label, 0 to 1",
            top=None,
        )

    return Made(
        rows=rows,
        draw=draw,
        caption="Mean over the true (point, label) pairs of each decile of labels: p of the index "
        "(0 where no path leads to the label), and sigmoid(2 q) of the sparse ranker's margin q. "
        f"low and high: {over}.",
    )
