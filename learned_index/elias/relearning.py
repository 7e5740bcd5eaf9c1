"""What an update makes anew once a model knows twice the points that it was made from.

A model that keeps the texts of its points is trained anew on them and the new ones: all of it.

Of another one the index is trained on the remembered points, whose vectors and labels are all that
it needs; its words grow with every update, and its encoder stays.

Final order and probabilities are learned from the points of the update. A model is asked for the
new points before it learns from them (test, then train: Gama, Sebastião and Rodrigues, Machine
Learning 2013), so what it says of them is evidence of the kind that the held-out points of a
training give, from as many points, labels and records as it knows by now.
"""

from __future__ import annotations

import copy
import logging
from typing import Any, TypeVar

import numpy as np
import scipy.sparse as sp

from learned_index.data.vocabulary import LabelVocabulary
from learned_index.elias.final_ranking import judged, names_of
from learned_index.elias.fitting import fit_model
from learned_index.elias.label_changes import remove_labels
from learned_index.elias.new_labels import as_long_as_points
from learned_index.elias.parts import EliasParts
from learned_index.elias.points import Points
from learned_index.elias.request import Request
from learned_index.elias.steps import Steps
from learned_index.elias.validation import (
    ENOUGH_TO_LEARN,
    OutOfFold,
    calibrated_scores,
    true_points,
)
from learned_index.errors import InputError
from learned_index.index.learned_graph_index import LearnedGraphIndex
from learned_index.ranking.final_models import simplest_of_the_best
from learned_index.ranking.final_ranker import FinalRanker
from learned_index.types import Encoder

logger = logging.getLogger(__name__)

AnyModel = TypeVar("AnyModel", bound=EliasParts)


def all_anew(
    model: AnyModel, texts: list[str], labels_NL: sp.csr_matrix, names: LabelVocabulary
) -> AnyModel | None:
    """A model that is trained on the texts that this one keeps and on new ones, where that is due.

    That is, where it keeps its texts and they have at least doubled, with the new ones, since the
    last training. Configuration and seeds are those of this model. Removed labels stay away, and
    ids stay.

    Args:
        model: Not compiled; it stays as it is.
        texts: N new texts.
        labels_NL: CSR, their labels under the model's ids, new ones behind.
        names: Of all labels.
    """
    kept, n_new = model.texts_, int(np.count_nonzero(np.diff(labels_NL.indptr)))
    if kept is None or 2 * model.n_indexed > len(kept) + n_new:
        return None
    known_NL = model.merged(kept.labels(len(names)))
    every_NL = sp.vstack([known_NL, labels_NL], format="csr")
    gone = sorted(model.removed_labels)
    if gone:
        stays_L = np.ones(len(names), np.float32)
        stays_L[gone] = 0
        every_NL = (every_NL @ sp.diags(stays_L)).tocsr()
        every_NL.eliminate_zeros()
    twin = copy.copy(model)
    # What a training fits is fitted on copies; pretrained networks are shared.
    twin.encoder = _to_fit(model.encoder)
    twin.encoders = [twin.encoder]
    twin.features = None if model.features is None else _to_fit(model.features)
    twin.given_index = None
    logger.info("%d kept texts have doubled: all is trained anew", len(kept))
    request = Request([*kept.texts(), *texts], every_NL, names, None, None, None)
    fit_model(twin, request, Steps())
    if gone:
        twin = remove_labels(twin, gone)
    twin.merged_labels = dict(model.merged_labels)
    return twin


def _to_fit(encoder: Encoder) -> Encoder:
    return copy.deepcopy(encoder) if getattr(encoder, "needs_fit", True) else encoder


def with_words_grown(model: AnyModel, texts: Points) -> AnyModel:
    """The model with columns for words that only these texts have; all others stay.

    Where its sparse features are words that can grow (``grown`` of the encoder). Nothing weighs the
    new columns yet. Names of labels may have such words, too.

    Args:
        model: With a ranker; it stays as it is.
        texts: New points.
    """
    features: Any = model.features
    assert model.ranker_ is not None
    if not hasattr(features, "grown"):
        return model
    grown = features.grown(texts, n_known=model.n_points)
    if grown is features:
        return model
    twin = copy.copy(model)
    twin.features = grown
    twin.ranker_ = model.ranker_.with_more_features(grown.dim)
    if model.records_ is not None:
        twin.records_ = model.records_.with_more_terms(grown.dim)
    if model.final_ranker_ is not None:
        # What new words are spelled like is compared by the next training: it takes seconds.
        ranker = model.final_ranker_
        twin.final_ranker_ = ranker.with_names(names_of(twin, are_texts=True), ranker.alike)
    return twin


def with_index_anew(model: AnyModel) -> AnyModel:
    """The model with indexes trained on all points that it remembers, where these have doubled.

    That is, where it has at least twice the training points that its indexes were trained on, and
    remembers all of them. Clusters, their number, edges and classifiers are those of a training on
    the vectors of the records; the encoder stays.

    Args:
        model: Not compiled.
    """
    records, samples = model.records_, model.config.keep_sample is not None
    if records is None or samples or model.has_own_encoders:
        return model
    if not 0 < 2 * model.n_indexed <= model.n_points:
        return model
    terms_NV, unit_ND, labels_NL = records.points()
    clusters_by_words = model.config.clustering_features != "none"
    members = []
    for member in model.trained_members():
        index = LearnedGraphIndex(member.config, training=member.training_config)
        index.fit(
            as_long_as_points(unit_ND, member),
            labels_NL,
            clustering_features=terms_NV if clusters_by_words else None,
        )
        members.append(index.remove_labels(sorted(model.removed_labels)))
    twin = copy.copy(model)
    twin.members, twin.n_indexed = members, model.n_points
    logger.info("the index is trained anew on %d remembered points", len(records))
    return twin


def with_final_order(
    model: AnyModel, vectors: list[Any], sparse_NV: sp.csr_matrix, labels_NL: sp.csr_matrix
) -> AnyModel:
    """The model with a final ranker and a calibrator of these points, where that orders better.

    It is tried once the training points have doubled since the present one was learned, for it
    takes as long as an update, and where the index was trained anew since. Better: P@1 + P@5 of
    these points, out of fold, is higher by more than a standard error than what the present one,
    which has not seen them either, reaches. A hundred points are needed; of more than
    ``validation_limit`` so many are drawn evenly.

    Args:
        model: It has not seen the points.
        vectors: N x D of each encoder.
        sparse_NV: Their sparse features.
        labels_NL: Canonical CSR, their labels; some may be new to the model.
    """
    present, n_points = model.final_ranker_, labels_NL.shape[0]
    if present is None or n_points < ENOUGH_TO_LEARN:
        return model
    # Models of earlier versions do not say what was known, and are as good as never asked.
    n_known = present.report_.get("n_known", 0)
    if model.n_points + n_points < 2 * n_known and model.n_indexed <= n_known:
        return model
    asked = min(n_points, model.config.validation_limit)
    rows = np.arange(asked) * n_points // asked
    found = judged(model, [x[rows] for x in vectors], sparse_NV[rows], labels_NL[rows], present)
    anew = FinalRanker(
        present.method, names=present.names, n_named=present.n_named, alike=present.alike
    )
    try:
        scores_BK = anew.fit(found.evidence_BKF, found.ids_BK, found.relevant_BK)
    except InputError as error:  # none of the labels that they have was found, say
        logger.info("the final ranker stays as it is: %s", error)
        return model
    each = {"present": present.score(found.evidence_BKF, found.ids_BK), "anew": scores_BK}
    better = simplest_of_the_best(each, found.ids_BK >= 0, found.relevant_BK)
    if better == "present" or anew.method_ == "fixed":
        return model
    anew.report_["n_known"] = model.n_points
    twin = copy.copy(model)
    twin.final_ranker_ = anew
    n_true_L = true_points(model, labels_NL[rows])
    out_of_fold = OutOfFold(found.ids_BK, scores_BK, found.relevant_BK, n_true_L)
    twin.calibrator_ = calibrated_scores(model, out_of_fold) or model.calibrator_
    twin.report_ = {**model.report_, "final_ranker": anew.report_}
    if twin.calibrator_ is not None:
        twin.report_["calibration"] = twin.calibrator_.report_
    return twin
