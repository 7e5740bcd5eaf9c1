"""The ranker and the records of the full model, and the held-out points given back to both."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from learned_index.elias.final_ranking import remembered
from learned_index.elias.fitting_data import FitData
from learned_index.elias.parts import EliasParts
from learned_index.elias.steps import Steps
from learned_index.elias.validation import ENOUGH_TO_LEARN
from learned_index.inputs.labels import points_per_label
from learned_index.inputs.points import n_rows
from learned_index.ranking.hard_points import DualVariables
from learned_index.ranking.records import Records
from learned_index.ranking.sparse_ranker import SparseRanker
from learned_index.types import PAD_ID, Int64Array

_CHUNK_ROWS = 4096


def trained_ranker(model: EliasParts, data: FitData, steps: Steps) -> SparseRanker | None:
    """Train the ranker on the shortlists of the points, or take it from an unfinished training."""
    if model.config.ranker == "none":
        return None
    kept = steps.kept_ranker()
    if kept is not None:
        return kept
    assert data.sparse_NV is not None and data.vectors is not None
    # A model that is fitted again is searched as one index would be, not as it was ranked before.
    model.ranker_ = None
    ranker = _new_ranker(model, data, data.labels_NL, steps)
    steps.keep_ranker(ranker)
    return ranker


def _new_ranker(
    model: EliasParts,
    data: FitData,
    labels_NL: sp.csr_matrix,
    steps: Steps,
    *,
    start: DualVariables | None = None,
) -> SparseRanker:
    assert data.sparse_NV is not None and data.vectors is not None
    sparse, x, labels = data.sparse_NV, data.vectors[0], labels_NL
    with steps.step("shortlists"):
        shortlist = _training_shortlists(model, data, labels_NL, steps)
        if data.label_points is not None:
            sparse, x, labels, shortlist = _with_label_points(model, data, labels_NL, steps)

    def tell(done: int, total: int) -> None:
        steps.tell("ranker", done, total)
        steps.stop_if_asked()

    with steps.step("ranker"):
        ranker = SparseRanker(model.ranker_config)
        ranker.fit(sparse, x, labels, shortlist, start=start, progress=tell)
    return ranker


def fitted_records(
    model: EliasParts,
    data: FitData,
    labels_NL: sp.csr_matrix,
    steps: Steps,
) -> Records | None:
    """Remember the points, where a final ranker is to be learned or they are wanted anyway."""
    wanted = model.config.final_ranker
    too_few = data.held is None or (wanted == "auto" and n_rows(data.held.texts) < ENOUGH_TO_LEARN)
    no_use = model.config.records != "yes" and (wanted == "fixed" or too_few)
    if model.ranker_ is None or no_use:
        return None
    assert data.sparse_NV is not None and data.vectors is not None
    with steps.step("records"):
        records = remembered(model, data.sparse_NV, data.vectors[0], labels_NL)
        if records is not None and data.label_points is not None:
            records = data.label_points.join(records, labels_NL)
        return records


def refit(model: EliasParts, data: FitData, steps: Steps) -> None:
    """Train the sparse ranker on all points, and remember and count them all.

    Points that were handed in to validate on are no training points, and stay outside.
    """
    no_final_ranker = model.final_ranker_ is None or model.config.refit == "no"
    if no_final_ranker or data.held is None or data.held.rows is None:
        return
    assert model.ranker_ is not None
    labels_NL, start = data.all_labels_NL, model.ranker_.dual_
    model.ranker_ = None  # searched as one index would be
    model.ranker_ = _new_ranker(model, data, labels_NL, steps, start=start)
    if model.records_ is not None:
        model.records_ = fitted_records(model, data, labels_NL, steps)
    model.n_points = labels_NL.shape[0]
    model.label_counts = points_per_label(labels_NL)


def _training_shortlists(
    model: EliasParts, data: FitData, labels_NL: sp.csr_matrix, steps: Steps
) -> Int64Array:
    """Search the training points: int64 N x R; rows of points that do not train are all -1.

    What was found before is kept in ``data`` and not searched again.
    """
    assert data.vectors is not None
    if data.shortlist_NK is None:
        data.shortlist_NK = _no_shortlists(model, labels_NL.shape[0])
    missing = (np.diff(labels_NL.indptr) > 0) & (data.shortlist_NK[:, 0] == PAD_ID)
    _fill_shortlists(model, data.vectors, np.flatnonzero(missing), data.shortlist_NK, steps)
    return data.shortlist_NK


def _with_label_points(
    model: EliasParts, data: FitData, labels_NL: sp.csr_matrix, steps: Steps
) -> tuple[sp.csr_matrix, Any, sp.csr_matrix, Int64Array]:
    """Features, vectors, labels and shortlists of the points and, behind them, of label texts.

    Texts of labels without a point teach nothing, but have their rows: so the dual variables of one
    training belong to the same rows in the next.
    """
    points = data.label_points
    assert points is not None and data.vectors is not None and data.shortlist_NK is not None
    rows = points.taught(labels_NL)
    if data.label_shortlist_MK is None:
        data.label_shortlist_MK = _no_shortlists(model, len(points.labels_M))
    missing = rows[data.label_shortlist_MK[rows, 0] == PAD_ID]
    _fill_shortlists(model, points.vectors, missing, data.label_shortlist_MK, steps)
    return (
        sp.vstack([data.sparse_NV, points.sparse_MV], format="csr"),
        np.concatenate([np.asarray(data.vectors[0], np.float32), points.vectors[0]]),
        sp.vstack([labels_NL, points.owned_by(rows, labels_NL.shape[1])], format="csr"),
        np.concatenate([data.shortlist_NK, data.label_shortlist_MK]),
    )


def _no_shortlists(model: EliasParts, n_points: int) -> Int64Array:
    return np.full((n_points, model.config.ranker_shortlist), PAD_ID, np.int64)


def _fill_shortlists(
    model: EliasParts, vectors: list[Any], rows: Int64Array, out: Int64Array, steps: Steps
) -> None:
    """Search some points and write what is found into their rows."""
    width = out.shape[1]
    for start in range(0, len(rows), _CHUNK_ROWS):
        steps.stop_if_asked()
        part = rows[start : start + _CHUNK_ROWS]
        _, wide = model.shortlist([x[part] for x in vectors], width)
        out[part] = wide.ids[:, :width]
        steps.tell("shortlists", start + len(part), len(rows))
