"""All stages of the full model, one after the other (paper, sections 3.3 to 3.5)."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from learned_index.data.holdout import without_labels
from learned_index.data.naming import named_label_matrix
from learned_index.elias.parts import EliasParts
from learned_index.elias.points import (
    default_features,
    fit_encoder,
    is_trained,
    take,
)
from learned_index.elias.request import HeldOut, check_request, held_out, request_key
from learned_index.elias.steps import Steps
from learned_index.elias.validation import validate
from learned_index.encoding import dense_vectors
from learned_index.errors import InputError
from learned_index.index.fit import fit_end_to_end
from learned_index.index.learned_graph_index import LearnedGraphIndex
from learned_index.inputs.points import n_rows
from learned_index.ranking.combination import Combination
from learned_index.ranking.sparse_ranker import SparseRanker
from learned_index.training.checkpoint import CheckpointOptions
from learned_index.training.events import Progress
from learned_index.training.processes import is_first_process
from learned_index.types import PAD_ID, Encoder, Int64Array

_CHUNK_ROWS = 4096


def fit_model(
    model: EliasParts,
    texts: Any,
    labels: Any,
    *,
    vocabulary: Any | None,
    validation: Any | None,
    embeddings: Any | None,
    validation_embeddings: Any | None,
    progress: Progress | None,
    checkpoint: CheckpointOptions | None,
) -> None:
    """See :meth:`ELIAS.fit`."""
    labels_NL, names = named_label_matrix(texts, labels, vocabulary)
    held = held_out(model, texts, labels_NL, names, validation, validation_embeddings)
    trained = is_trained(model.encoder, model.config.train_encoder)
    check_request(model, labels_NL, held, trained=trained, embeddings=embeddings)
    steps = Steps(progress, checkpoint)
    if checkpoint is not None:
        steps.open(request_key(model, texts, labels_NL, validation))
    rows = np.empty(0, np.int64) if held is None or held.rows is None else held.rows
    kept_NL = without_labels(labels_NL, rows)
    kept = np.setdiff1d(np.arange(n_rows(texts)), rows)
    model.n_points = len(kept)
    model.label_counts = np.bincount(kept_NL.indices, minlength=kept_NL.shape[1]).astype(np.int64)
    model.vocabulary = names

    if embeddings is None and model.given_index is None:
        with steps.step("fitting the encoder"):
            fit_encoder(model.encoder, take(texts, kept), whole_split=texts)
    sparse_NV = _sparse_features(model, texts, kept, steps)
    vectors = None if embeddings is None else [embeddings]
    if not trained and vectors is None:
        with steps.step("encoding"):
            vectors = [dense_vectors(model.encoder, texts)]
    if held is not None:
        _describe(model, held, vectors if not trained else None, sparse_NV, steps)
    if trained:
        _train_with_encoders(model, texts, kept_NL, sparse_NV, held, steps)
        with steps.step("encoding"):
            vectors = model.encode(texts)
            if held is not None:
                held.vectors = _held_vectors(model, held, vectors)
    else:
        assert vectors is not None
        _train_on_vectors(model, vectors[0], kept_NL, sparse_NV, held, steps)
    if not is_first_process():
        return
    _train_ranker(model, vectors, sparse_NV, kept_NL, steps)
    model.combination, model.calibrator_ = Combination(), None
    model.report_ = {
        "n_models": len(model.members),
        "n_held_out": 0 if held is None else n_rows(held.texts),
        "seconds": steps.seconds,
    }
    if held is not None:
        validate(model, held, steps)
    _describe_parts(model)


# -- features and vectors -----------------------------------------------------------------------


def _sparse_features(
    model: EliasParts, texts: Any, kept: Int64Array, steps: Steps
) -> sp.csr_matrix | None:
    config = model.config
    if config.ranker == "none" and config.clustering_features == "none":
        model.features = None
        return None
    with steps.step("sparse features"):
        if model.features is None:
            model.features = default_features(texts)
        fit_encoder(model.features, take(texts, kept), whole_split=texts)
        features = model.features.encode(texts)
        if not sp.issparse(features):
            raise InputError(
                f"the encoder {model.features.kind!r} of the sparse features makes dense vectors; "
                "use tfidf"
            )
        return features


def _describe(
    model: EliasParts,
    held: HeldOut,
    vectors: list[Any] | None,
    sparse_NV: sp.csr_matrix | None,
    steps: Steps,
) -> None:
    """Fill in vectors and sparse features of the held-out points."""
    if held.rows is not None:
        held.sparse = None if sparse_NV is None else sparse_NV[held.rows]
    elif model.features is not None:
        held.sparse = model.features.encode(held.texts)
    if vectors is not None and held.vectors is None:
        with steps.step("encoding"):
            held.vectors = _held_vectors(model, held, vectors)


def _held_vectors(model: EliasParts, held: HeldOut, vectors: list[Any]) -> list[Any]:
    if held.rows is not None:
        return [np.asarray(x[held.rows], dtype=np.float32) for x in vectors]
    return list(model.encode(held.texts))


# -- the members --------------------------------------------------------------------------------


def _train_on_vectors(
    model: EliasParts,
    vectors: Any,
    kept_NL: sp.csr_matrix,
    sparse_NV: sp.csr_matrix | None,
    held: HeldOut | None,
    steps: Steps,
) -> None:
    model.encoders = [model.encoder]
    if model.given_index is not None:
        given = model.given_index
        if (given.dim, given.n_labels) != (vectors.shape[1], kept_NL.shape[1]):
            raise InputError(
                f"the index takes {given.dim}-dimensional vectors and has {given.n_labels} labels, "
                f"got {vectors.shape[1]} dimensions and {kept_NL.shape[1]} labels"
            )
        model.members = [given]
        return
    validation = None
    if held is not None:
        assert held.vectors is not None
        validation = (held.vectors[0], held.labels)
    members = []
    for number in range(model.config.n_models):
        with steps.step("training"):
            index = steps.kept_member(number, None)
            if index is None:
                index = _new_index(model, number).fit(
                    vectors,
                    kept_NL,
                    clustering_features=_clustering(model, sparse_NV),
                    validation=validation,
                    progress=steps.member_progress(number, model.config.n_models),
                    checkpoint=steps.member_checkpoint(number),
                )
                steps.keep_member(number, index, None)
        members.append(index)
    model.members = members


def _train_with_encoders(
    model: EliasParts,
    texts: Any,
    kept_NL: sp.csr_matrix,
    sparse_NV: sp.csr_matrix | None,
    held: HeldOut | None,
    steps: Steps,
) -> None:
    total = model.config.n_models
    members: list[LearnedGraphIndex] = []
    encoders: list[Encoder] = [copy.deepcopy(model.encoder) for _ in range(total - 1)]
    encoders.insert(0, model.encoder)
    for number, encoder in enumerate(encoders):
        with steps.step("training"):
            index = steps.kept_member(number, encoder)
            if index is None:
                index = _new_index(model, number)
                fit_end_to_end(
                    index,
                    encoder,
                    texts,
                    kept_NL,
                    clustering_features=_clustering(model, sparse_NV),
                    validation=None if held is None else (held.texts, held.labels),
                    progress=steps.member_progress(number, total),
                    checkpoint=steps.member_checkpoint(number),
                )
                steps.keep_member(number, index, encoder)
        members.append(index)
    model.members, model.encoders = members, encoders


def _new_index(model: EliasParts, number: int) -> LearnedGraphIndex:
    training = replace(model.training_config, seed=model.training_config.seed + number)
    return LearnedGraphIndex(model.index_config, training=training)


def _clustering(model: EliasParts, sparse_NV: sp.csr_matrix | None) -> sp.csr_matrix | None:
    return None if model.config.clustering_features == "none" else sparse_NV


# -- ranker and calibration ---------------------------------------------------------------------


def _train_ranker(
    model: EliasParts,
    vectors: list[Any],
    sparse_NV: sp.csr_matrix | None,
    kept_NL: sp.csr_matrix,
    steps: Steps,
) -> None:
    model.ranker_ = None
    if model.config.ranker == "none":
        return
    assert sparse_NV is not None
    model.ranker_ = steps.kept_ranker()
    if model.ranker_ is not None:
        return
    with steps.step("shortlists"):
        shortlist_NK = training_shortlists(model, vectors, kept_NL, steps)

    def tell(done: int, total: int) -> None:
        steps.tell("ranker", done, total)
        steps.stop_if_asked()

    with steps.step("ranker"):
        ranker = SparseRanker(model.ranker_config)
        ranker.fit(sparse_NV, vectors[0], kept_NL, shortlist_NK, progress=tell)
        steps.keep_ranker(ranker)
    model.ranker_ = ranker


def training_shortlists(
    model: EliasParts, vectors: list[Any], kept_NL: sp.csr_matrix, steps: Steps
) -> Int64Array:
    """Search the training points: int64 N x R; rows of points that do not train are all -1."""
    labelled = np.flatnonzero(np.diff(kept_NL.indptr))
    width = model.config.ranker_shortlist
    shortlist_NK = np.full((kept_NL.shape[0], width), PAD_ID, np.int64)
    for start in range(0, len(labelled), _CHUNK_ROWS):
        steps.stop_if_asked()
        rows = labelled[start : start + _CHUNK_ROWS]
        _, wide = model.shortlist([x[rows] for x in vectors], width)
        shortlist_NK[rows] = wide.ids[:, :width]
        steps.tell("shortlists", start + len(rows), len(labelled))
    return shortlist_NK


def _describe_parts(model: EliasParts) -> None:
    ranker, calibrator = model.ranker_, model.calibrator_
    model.report_["ranker"] = (
        None if ranker is None else {"n_weights": ranker.n_weights, "bytes": ranker.nbytes}
    )
    model.report_["combination"] = model.combination.to_dict()
    model.report_["calibration"] = None if calibrator is None else calibrator.report_
