"""All stages of the full model, one after the other (paper, sections 3.3 to 3.5)."""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from learned_index.data.holdout import without_labels
from learned_index.data.naming import named_label_matrix
from learned_index.elias.final_ranking import remembered
from learned_index.elias.kept_texts import KeptTexts
from learned_index.elias.label_texts import (
    LEAST_SHARED,
    LabelPoints,
    label_points,
    learn_unseen_labels,
    reads_label_texts,
)
from learned_index.elias.parts import EliasParts
from learned_index.elias.points import default_features, fit_encoder, is_trained, take
from learned_index.elias.request import HeldOut, Request, check_request, held_out, request_key
from learned_index.elias.steps import Steps
from learned_index.elias.validation import ENOUGH_TO_LEARN, validate
from learned_index.encoding import dense_vectors
from learned_index.errors import InputError, TrainingInterrupted
from learned_index.index.fit import fit_end_to_end
from learned_index.index.learned_graph_index import LearnedGraphIndex
from learned_index.inputs.labels import points_per_label
from learned_index.inputs.points import n_rows
from learned_index.ranking.combination import Combination
from learned_index.ranking.hard_points import DualVariables
from learned_index.ranking.records import Records
from learned_index.ranking.sparse_ranker import SparseRanker
from learned_index.training.processes import is_first_process
from learned_index.types import PAD_ID, Encoder, Int64Array

logger = logging.getLogger(__name__)

_CHUNK_ROWS = 4096


@dataclass
class _Data:
    """What one fit learns from.

    Attributes:
        texts: The N points, held-out ones too.
        labels_NL: Their labels; a point that is held out has none.
        all_labels_NL: The labels of all of them.
        learned: int64. The rows that are not held out, which encoders are fitted on.
        held: Points to validate and calibrate on.
        trains_encoder: Whether the encoder learns with the index.
        vectors: N x D of each encoder; of encoders that are trained, known after the training.
        sparse_NV: tf-idf of all points, where the model has a use for it.
        shortlist_NK: Labels that the index found for points that the ranker has learned from.
        all_label_points: Texts of the labels as points, where the model reads them at all.
        shared_terms: Part of the points' labels whose texts share a term with the point.
        label_points: The same points where they take part in the ranking.
        label_shortlist_MK: Labels that the index found for these.
    """

    texts: Any
    labels_NL: sp.csr_matrix
    all_labels_NL: sp.csr_matrix
    learned: Int64Array
    held: HeldOut | None
    trains_encoder: bool
    vectors: list[Any] | None
    sparse_NV: sp.csr_matrix | None = None
    shortlist_NK: Int64Array | None = None
    all_label_points: LabelPoints | None = None
    shared_terms: float = 0.0
    label_points: LabelPoints | None = None
    label_shortlist_MK: Int64Array | None = None


def fit_model(model: EliasParts, request: Request, steps: Steps) -> None:
    """See :meth:`ELIAS.fit`."""
    try:
        _fit_model(model, request, steps)
    except TrainingInterrupted:
        steps.keep_curves()
        raise


def _fit_model(model: EliasParts, request: Request, steps: Steps) -> None:
    data = _prepared(model, request, steps)
    if request.embeddings is None and model.given_index is None:
        with steps.step("fitting the encoder"):
            fit_encoder(
                model.encoder,
                take(data.texts, data.learned),
                whole_split=data.texts,
                labels=data.labels_NL[data.learned],
            )
    _make_features(model, data, steps)
    if not data.trains_encoder:
        _encode(model, data, steps)
    if reads_label_texts(model):
        model.encoders = [model.encoder]  # those of an earlier fit know other texts
        with steps.step("label texts"):
            data.all_label_points = label_points(model)
        _choose_label_texts(model, data)
    _train_members(model, data, steps)
    if data.trains_encoder:
        with steps.step("encoding"):
            data.vectors = model.encode(data.texts)
            _encode_held_out(model, data)
            _encode_label_texts(model, data)
    if not is_first_process():
        return  # all processes hold the same members; the rest is made once
    model.ranker_ = _trained_ranker(model, data, steps)
    model.combination, model.calibrator_ = Combination(), None
    model.final_ranker_ = None
    model.records_ = _records(model, data, data.labels_NL, steps)
    model.report_ = {
        "n_models": len(model.members),
        "n_held_out": 0 if data.held is None else n_rows(data.held.texts),
        "seconds": steps.seconds,
        "curves": steps.curves.rows,
    }
    if data.held is not None:
        validate(model, data.held, steps, texts=data.label_points)
        _refit(model, data, steps)
    if data.all_label_points is not None:
        model.report_["label_texts_share_terms"] = data.shared_terms
        with steps.step("unseen labels"):
            n_unseen = learn_unseen_labels(model, data.all_label_points)
        model.report_["n_labels_by_text"] = n_unseen
        if n_unseen:
            logger.info("%d labels without a training point are learned from their texts", n_unseen)
    model.n_indexed = model.n_points
    keeps = model.config.keep_texts == "yes"
    model.texts_ = KeptTexts.of(data.texts, data.all_labels_NL) if keeps else None
    ranker, calibrator = model.ranker_, model.calibrator_
    if ranker is not None:
        ranker.dual_ = None  # no training follows, and it is as large as all shortlists
    model.report_["ranker"] = (
        None if ranker is None else {"n_weights": ranker.n_weights, "bytes": ranker.nbytes}
    )
    model.report_["records"] = (
        None
        if model.records_ is None
        else {"n_records": len(model.records_), "bytes": model.records_.nbytes}
    )
    model.report_["calibration"] = None if calibrator is None else calibrator.report_


def _choose_label_texts(model: EliasParts, data: _Data) -> None:
    """Let label texts take part in the ranking, where they speak the language of the points."""
    points = data.all_label_points
    assert points is not None and data.sparse_NV is not None
    data.shared_terms = points.shared(data.sparse_NV, data.labels_NL)
    if model.config.label_text == "on" or data.shared_terms >= LEAST_SHARED:
        data.label_points = points
        return
    logger.info(
        "label texts do not take part in the ranking: %.0f %% of the labels' texts share a term "
        "with their points, less than %.0f %%; label_text 'on' lets them",
        100 * data.shared_terms,
        100 * LEAST_SHARED,
    )


def _encode_label_texts(model: EliasParts, data: _Data) -> None:
    """Give the texts of labels the vectors of encoders that were trained."""
    if data.all_label_points is None:
        return
    encoded = data.all_label_points.encoded(model)
    data.label_points = None if data.label_points is None else encoded
    data.all_label_points = encoded


def _prepared(model: EliasParts, request: Request, steps: Steps) -> _Data:
    """Check what is asked for, hold points out, and count what is left."""
    texts = request.texts
    labels_NL, names = named_label_matrix(texts, request.labels, request.vocabulary)
    held = held_out(model, request, labels_NL, names)
    trains_encoder = is_trained(model.encoder, model.config.train_encoder)
    check_request(model, request, labels_NL, names, held, trains_encoder=trains_encoder)
    steps.open(lambda: request_key(model, request, labels_NL, names))
    rows = np.empty(0, np.int64) if held is None or held.rows is None else held.rows
    kept_NL = without_labels(labels_NL, rows)
    learned = np.setdiff1d(np.arange(n_rows(texts)), rows)
    model.n_points = len(learned)
    model.label_counts = points_per_label(kept_NL)
    model.vocabulary = names
    model.removed_labels, model.merged_labels = frozenset(), {}
    vectors = None if request.embeddings is None else [request.embeddings]
    return _Data(texts, kept_NL, labels_NL, learned, held, trains_encoder, vectors)


# -- features and vectors -----------------------------------------------------------------------


def _make_features(model: EliasParts, data: _Data, steps: Steps) -> None:
    """Fit the sparse encoder, and fill in the features of all points."""
    if model.config.ranker == "none" and model.config.clustering_features == "none":
        model.features = None
        return
    with steps.step("sparse features"):
        if model.features is None:
            model.features = default_features(data.texts)
        fit_encoder(model.features, take(data.texts, data.learned), whole_split=data.texts)
        data.sparse_NV = model.features.encode(data.texts)
        if not sp.issparse(data.sparse_NV):
            raise InputError(
                f"the encoder {model.features.kind!r} of the sparse features makes dense vectors; "
                "use tfidf"
            )
        if data.held is not None:
            rows, texts = data.held.rows, data.held.texts
            data.held.sparse = (
                model.features.encode(texts) if rows is None else data.sparse_NV[rows]
            )


def _encode(model: EliasParts, data: _Data, steps: Steps) -> None:
    """Fill in the vectors that a frozen encoder makes."""
    if data.vectors is None:
        with steps.step("encoding"):
            data.vectors = [dense_vectors(model.encoder, data.texts)]
    if data.held is not None and data.held.vectors is None:
        with steps.step("encoding"):
            _encode_held_out(model, data)


def _encode_held_out(model: EliasParts, data: _Data) -> None:
    held = data.held
    if held is None:
        return
    if held.rows is None:
        held.vectors = model.encode(held.texts)
    else:
        assert data.vectors is not None
        held.vectors = [np.asarray(x[held.rows], dtype=np.float32) for x in data.vectors]


# -- the members --------------------------------------------------------------------------------


def _train_members(model: EliasParts, data: _Data, steps: Steps) -> None:
    if model.given_index is not None:
        model.encoders, model.members = [model.encoder], [_given_index(model, data)]
        return
    total = model.config.n_models
    encoders = [model.encoder]
    if data.trains_encoder:
        # Copied before the first is trained: every member starts from the same weights.
        encoders += [copy.deepcopy(model.encoder) for _ in range(total - 1)]
    members = []
    for number in range(total):
        encoder = encoders[number] if data.trains_encoder else None
        with steps.step("training"):
            index = steps.kept_member(number, encoder)
            if index is None:
                index = _trained_member(model, data, steps, number, encoder)
                steps.keep_member(number, index, encoder)
        members.append(index)
    model.members, model.encoders = members, encoders


def _given_index(model: EliasParts, data: _Data) -> LearnedGraphIndex:
    assert model.given_index is not None and data.vectors is not None
    dim = data.vectors[0].shape[1]
    if model.given_index.dim != dim:
        raise InputError(
            f"the index takes {model.given_index.dim}-dimensional vectors, got {dim} dimensions"
        )
    return model.given_index


def _trained_member(
    model: EliasParts, data: _Data, steps: Steps, number: int, encoder: Encoder | None
) -> LearnedGraphIndex:
    """Train one index: on the vectors, or with an encoder of its own."""
    training = replace(model.training_config, seed=model.training_config.seed + number)
    index = LearnedGraphIndex(model.index_config, training=training)
    points, labels_NL, features_NV = _index_points(model, data, trained=encoder is not None)
    how: dict[str, Any] = {
        "clustering_features": features_NV,
        "progress": steps.member_progress(number, model.config.n_models),
        "checkpoint": steps.member_checkpoint(number),
    }
    held = data.held
    if encoder is not None:
        validation = None if held is None else (held.texts, held.labels)
        fit_end_to_end(index, encoder, points, labels_NL, validation=validation, **how)
        return index
    assert held is None or held.vectors is not None
    validation = None if held is None or held.vectors is None else (held.vectors[0], held.labels)
    return index.fit(points, labels_NL, validation=validation, **how)


def _index_points(
    model: EliasParts, data: _Data, *, trained: bool
) -> tuple[Any, sp.csr_matrix, sp.csr_matrix | None]:
    """What an index is trained on: points, their labels, and features to cluster on.

    Behind the training points stand the texts of the labels that these have, where the
    configuration says so.

    Args:
        trained: The points are texts, whose encoder is trained along; else vectors.
    """
    points = data.texts
    if not trained:
        assert data.vectors is not None
        points = data.vectors[0]
    features = data.sparse_NV if model.config.clustering_features != "none" else None
    named, labels_NL = data.label_points, data.labels_NL
    if named is None or model.config.index_label_text == "no":
        return points, labels_NL, features
    rows = named.taught(labels_NL)
    if trained:
        points = [*points, *named.texts(model, rows)]
    else:
        points = np.concatenate([np.asarray(points, np.float32), named.vectors[0][rows]])
    if features is not None:
        features = sp.vstack([features, named.sparse_MV[rows]], format="csr")
    owned = named.owned_by(rows, labels_NL.shape[1])[rows]
    return points, sp.vstack([labels_NL, owned], format="csr"), features


# -- the ranker ---------------------------------------------------------------------------------


def _trained_ranker(model: EliasParts, data: _Data, steps: Steps) -> SparseRanker | None:
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
    data: _Data,
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


# -- the records, and the held-out points given back -------------------------------------------


def _records(
    model: EliasParts,
    data: _Data,
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


def _refit(model: EliasParts, data: _Data, steps: Steps) -> None:
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
        model.records_ = _records(model, data, labels_NL, steps)
    model.n_points = labels_NL.shape[0]
    model.label_counts = points_per_label(labels_NL)


def _training_shortlists(
    model: EliasParts, data: _Data, labels_NL: sp.csr_matrix, steps: Steps
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
    model: EliasParts, data: _Data, labels_NL: sp.csr_matrix, steps: Steps
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
