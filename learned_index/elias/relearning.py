"""What an update makes anew once a model knows twice the points that it was made from.

The index is trained on the remembered points, whose vectors and labels are all that it needs.

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

from learned_index.elias.final_ranking import judged
from learned_index.elias.new_labels import as_long_as_points
from learned_index.elias.parts import EliasParts
from learned_index.elias.validation import (
    ENOUGH_TO_LEARN,
    OutOfFold,
    calibrated_scores,
    true_points,
)
from learned_index.errors import InputError
from learned_index.index.learned_graph_index import LearnedGraphIndex
from learned_index.ranking.final_ranker import FinalRanker, simplest_of_the_best

logger = logging.getLogger(__name__)

AnyModel = TypeVar("AnyModel", bound=EliasParts)


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
    anew = FinalRanker(present.method, names=present.names, n_named=present.n_named)
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
