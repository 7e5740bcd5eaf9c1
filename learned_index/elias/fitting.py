"""All stages of the full model, one after the other (paper, sections 3.3 to 3.5)."""

from __future__ import annotations

import logging

import numpy as np
import scipy.sparse as sp

from learned_index.data.holdout import without_labels
from learned_index.data.naming import named_label_matrix
from learned_index.elias.fitting_data import FitData
from learned_index.elias.fitting_members import train_members
from learned_index.elias.fitting_ranker import fitted_records, refit, trained_ranker
from learned_index.elias.kept_texts import KeptTexts
from learned_index.elias.label_texts import (
    LEAST_SHARED,
    label_points,
    learn_unseen_labels,
    reads_label_texts,
)
from learned_index.elias.parts import EliasParts
from learned_index.elias.points import default_features, fit_encoder, is_trained, take
from learned_index.elias.request import Request, check_request, held_out, request_key
from learned_index.elias.steps import Steps
from learned_index.elias.validation import validate
from learned_index.encoding import dense_vectors
from learned_index.errors import InputError, TrainingInterrupted
from learned_index.inputs.labels import points_per_label
from learned_index.inputs.points import n_rows
from learned_index.ranking.combination import Combination
from learned_index.training.processes import is_first_process

logger = logging.getLogger(__name__)


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
    train_members(model, data, steps)
    if data.trains_encoder:
        with steps.step("encoding"):
            data.vectors = model.encode(data.texts)
            _encode_held_out(model, data)
            _encode_label_texts(model, data)
    if not is_first_process():
        return  # all processes hold the same members; the rest is made once
    model.ranker_ = trained_ranker(model, data, steps)
    model.combination, model.calibrator_ = Combination(), None
    model.final_ranker_ = None
    model.records_ = fitted_records(model, data, data.labels_NL, steps)
    model.report_ = {
        "n_models": len(model.members),
        "n_held_out": 0 if data.held is None else n_rows(data.held.texts),
        "seconds": steps.seconds,
        "curves": steps.curves.rows,
    }
    if data.held is not None:
        validate(model, data.held, steps, texts=data.label_points)
        refit(model, data, steps)
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


def _choose_label_texts(model: EliasParts, data: FitData) -> None:
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


def _encode_label_texts(model: EliasParts, data: FitData) -> None:
    """Give the texts of labels the vectors of encoders that were trained."""
    if data.all_label_points is None:
        return
    encoded = data.all_label_points.encoded(model)
    data.label_points = None if data.label_points is None else encoded
    data.all_label_points = encoded


def _prepared(model: EliasParts, request: Request, steps: Steps) -> FitData:
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
    return FitData(texts, kept_NL, labels_NL, learned, held, trains_encoder, vectors)


# -- features and vectors -----------------------------------------------------------------------


def _make_features(model: EliasParts, data: FitData, steps: Steps) -> None:
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


def _encode(model: EliasParts, data: FitData, steps: Steps) -> None:
    """Fill in the vectors that a frozen encoder makes."""
    if data.vectors is None:
        with steps.step("encoding"):
            data.vectors = [dense_vectors(model.encoder, data.texts)]
    if data.held is not None and data.held.vectors is None:
        with steps.step("encoding"):
            _encode_held_out(model, data)


def _encode_held_out(model: EliasParts, data: FitData) -> None:
    held = data.held
    if held is None:
        return
    if held.rows is None:
        held.vectors = model.encode(held.texts)
    else:
        assert data.vectors is not None
        held.vectors = [np.asarray(x[held.rows], dtype=np.float32) for x in data.vectors]
