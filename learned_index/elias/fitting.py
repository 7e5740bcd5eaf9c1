"""All stages of the full model, one after the other (paper, sections 3.3 to 3.5)."""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from learned_index.data.dataset import Dataset
from learned_index.data.holdout import without_labels
from learned_index.data.vocabulary import LabelVocabulary
from learned_index.elias.points import (
    default_features,
    dense_vectors,
    fit_encoder,
    is_trained,
    n_rows,
    take,
)
from learned_index.elias.progress import Steps, data_key
from learned_index.errors import InputError
from learned_index.evaluation.metrics import evaluate, hit_matrix, propensities_from_counts
from learned_index.graph import LearnedGraphIndex
from learned_index.ranking import Calibrator, Combination, SparseRanker
from learned_index.training import Progress
from learned_index.training.batches import as_label_matrix
from learned_index.training.processes import is_first_process
from learned_index.types import PAD_ID, Encoder, Int64Array

if TYPE_CHECKING:
    from learned_index.elias.model import ELIAS
    from learned_index.training import CheckpointOptions

logger = logging.getLogger(__name__)

_CHUNK_ROWS = 4096
_METRIC_WIDTH = 100
_ENOUGH_TO_COMBINE = 100


@dataclass
class _HeldOut:
    """Points to validate and calibrate on.

    ``texts`` and ``labels`` are theirs. ``rows``: where they stand in the training points, None
    for points of their own. ``vectors`` and ``sparse`` are filled in when they are known.
    """

    texts: Any
    labels: sp.csr_matrix
    rows: Int64Array | None = None
    vectors: list[Any] | None = None
    sparse: sp.csr_matrix | None = None


def fit_model(
    model: ELIAS,
    texts: Any,
    labels: Any,
    *,
    vocabulary: LabelVocabulary | None,
    validation: Any | None,
    embeddings: Any | None,
    validation_embeddings: Any | None,
    progress: Progress | None,
    checkpoint: CheckpointOptions | None,
) -> None:
    """See :meth:`ELIAS.fit`."""
    labels_NL = _label_matrix(texts, labels, vocabulary)
    held = _held_out(model, texts, labels_NL, validation, validation_embeddings)
    trained = is_trained(model.encoder, model.config.train_encoder)
    _check(model, labels_NL, held, trained=trained, embeddings=embeddings)
    steps = Steps(progress, checkpoint)
    if checkpoint is not None:
        steps.open(_key(model, texts, labels_NL, validation))
    rows = np.empty(0, np.int64) if held is None or held.rows is None else held.rows
    kept_NL = without_labels(labels_NL, rows)
    kept = np.setdiff1d(np.arange(n_rows(texts)), rows)
    model.n_points = len(kept)
    model.label_counts = np.bincount(kept_NL.indices, minlength=kept_NL.shape[1]).astype(np.int64)
    model.vocabulary = vocabulary or LabelVocabulary.numbered(labels_NL.shape[1])

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
        _validate(model, held, steps)
    _describe_parts(model)


# -- what is asked for --------------------------------------------------------------------------


def _label_matrix(texts: Any, labels: Any, vocabulary: LabelVocabulary | None) -> sp.csr_matrix:
    if isinstance(texts, str):
        raise InputError("got one string, expected a list of texts; write [text]")
    if n_rows(texts) != n_rows(labels):
        raise InputError(
            f"got {n_rows(texts)} texts and {n_rows(labels)} rows of labels; expected as many"
        )
    n_labels = None if vocabulary is None else len(vocabulary)
    return as_label_matrix(labels, n_points=n_rows(texts), n_labels=n_labels)


def _held_out(
    model: ELIAS, texts: Any, labels_NL: sp.csr_matrix, validation: Any | None, vectors: Any | None
) -> _HeldOut | None:
    if validation is None:
        if vectors is not None:
            raise InputError("got validation_embeddings without validation; give both or neither")
        rows = model.held_out_rows(labels_NL)
        if not len(rows):
            return None
        return _HeldOut(take(texts, rows), labels_NL[rows], rows=rows)
    if isinstance(validation, Dataset):
        if validation.split == "test":
            raise InputError(
                "got the test split as validation: a model that was chosen on the test data "
                "cannot be measured on them; leave validation out or use a dev split"
            )
        own = validation.features if sp.issparse(texts) else validation.texts
        validation = (own, validation.labels)
    points, truth = validation
    truth_BL = as_label_matrix(truth, n_points=n_rows(points), n_labels=labels_NL.shape[1])
    if vectors is not None and len(vectors) != n_rows(points):
        raise InputError(
            f"got {len(vectors)} validation_embeddings for {n_rows(points)} validation texts"
        )
    return _HeldOut(points, truth_BL, vectors=None if vectors is None else [vectors])


def _check(
    model: ELIAS,
    labels_NL: sp.csr_matrix,
    held: _HeldOut | None,
    *,
    trained: bool,
    embeddings: Any | None,
) -> None:
    if embeddings is not None and trained:
        raise InputError(
            "got embeddings, but the encoder is trained and its vectors change; leave them out, "
            "or set train_encoder to 'no'"
        )
    if embeddings is not None and len(embeddings) != labels_NL.shape[0]:
        raise InputError(f"got {len(embeddings)} embeddings for {labels_NL.shape[0]} texts")
    if trained and model.given_index is not None:
        raise InputError(
            "got a fitted index and an encoder to train: its vectors would no longer fit the "
            "index; set train_encoder to 'no', or give an IndexConfig"
        )
    if held is None:
        why = "no training point can be held out without taking a label its last one"
        if model.config.validation_fraction == 0:
            why = "validation_fraction is 0"
        if model.config.calibration not in ("auto", "none"):
            raise InputError(
                f"calibration {model.config.calibration!r} needs held-out points, but {why}; give "
                "validation points, or set calibration to 'none'"
            )
        if model.config.combination == "learned" and model.config.ranker != "none":
            raise InputError(
                f"the combination is to be learned on held-out points, but {why}; give validation "
                "points, or set combination to 'fixed'"
            )
        logger.info("nothing is held out (%s): no validation and no calibration", why)


def _key(model: ELIAS, texts: Any, labels_NL: sp.csr_matrix, validation: Any | None) -> str:
    settings = {
        "encoder": model.encoder.kind,
        "model": model.config.to_dict(),
        "index": model.index_config.to_dict(),
        "training": model.training_config.to_dict(),
        "ranker": model.ranker_config.to_dict(),
        "validation": validation is not None,
    }
    return data_key(texts, labels_NL, settings)


# -- features and vectors -----------------------------------------------------------------------


def _sparse_features(
    model: ELIAS, texts: Any, kept: Int64Array, steps: Steps
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
    model: ELIAS,
    held: _HeldOut,
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


def _held_vectors(model: ELIAS, held: _HeldOut, vectors: list[Any]) -> list[Any]:
    if held.rows is not None:
        return [np.asarray(x[held.rows], dtype=np.float32) for x in vectors]
    return list(model.encode(held.texts))


# -- the members --------------------------------------------------------------------------------


def _train_on_vectors(
    model: ELIAS,
    vectors: Any,
    kept_NL: sp.csr_matrix,
    sparse_NV: sp.csr_matrix | None,
    held: _HeldOut | None,
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
    model: ELIAS,
    texts: Any,
    kept_NL: sp.csr_matrix,
    sparse_NV: sp.csr_matrix | None,
    held: _HeldOut | None,
    steps: Steps,
) -> None:
    from learned_index.graph.building import fit_end_to_end

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


def _new_index(model: ELIAS, number: int) -> LearnedGraphIndex:
    training = replace(model.training_config, seed=model.training_config.seed + number)
    return LearnedGraphIndex(model.index_config, training=training)


def _clustering(model: ELIAS, sparse_NV: sp.csr_matrix | None) -> sp.csr_matrix | None:
    return None if model.config.clustering_features == "none" else sparse_NV


# -- ranker and calibration ---------------------------------------------------------------------


def _train_ranker(
    model: ELIAS,
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
    model: ELIAS, vectors: list[Any], kept_NL: sp.csr_matrix, steps: Steps
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


def _validate(model: ELIAS, held: _HeldOut, steps: Steps) -> None:
    """Calibrate on the held-out points and measure on them, with and without the ranker."""
    assert held.vectors is not None and model.label_counts is not None
    with steps.step("calibration"):
        _calibrate(model, held)
    with steps.step("validation"):
        propensities = propensities_from_counts(model.label_counts, n_points=model.n_points)
        model.report_["validation"] = {
            name: evaluate(
                model.predict_ids(
                    held.texts, _METRIC_WIDTH, vectors=held.vectors, sparse=held.sparse, score=score
                ),
                held.labels,
                propensities=propensities,
            )
            for name, score in _rankings(model)
        }


def _calibrate(model: ELIAS, held: _HeldOut) -> None:
    """Learn the combination of p and q, and the probabilities, from the held-out points."""
    assert held.vectors is not None and model.label_counts is not None
    config = model.config
    head, _ = model.shortlist(held.vectors, config.rerank_size)
    relevant = hit_matrix(head.ids, held.labels)
    q_BK = np.zeros_like(head.p)
    if model.ranker_ is not None:
        assert held.sparse is not None
        q_BK = model.ranker_.score(held.sparse, held.vectors[0], head.ids)
        enough = n_rows(held.texts) >= _ENOUGH_TO_COMBINE and bool(relevant.any())
        if config.combination == "learned" or (config.combination == "auto" and enough):
            model.combination = Combination.fit(head.p, q_BK, relevant)
    if config.calibration == "none":
        return
    try:
        calibrator = Calibrator(config.calibration)
        calibrator.fit(head.p, q_BK, head.ids, relevant, model.label_counts)
    except InputError as error:
        if config.calibration != "auto":
            raise
        logger.warning("no calibration: %s", error)
        return
    model.calibrator_ = calibrator


def _rankings(model: ELIAS) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = [("without_ranker", "index")]
    if model.ranker_ is not None:
        found.append(("with_ranker", "ranking"))
    return found


def _describe_parts(model: ELIAS) -> None:
    ranker, calibrator = model.ranker_, model.calibrator_
    model.report_["ranker"] = (
        None if ranker is None else {"n_weights": ranker.n_weights, "bytes": ranker.nbytes}
    )
    model.report_["combination"] = model.combination.to_dict()
    model.report_["calibration"] = None if calibrator is None else calibrator.report_
