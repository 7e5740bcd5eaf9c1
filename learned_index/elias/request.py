"""What a fit is asked for: the points, those that are held out, what does not fit together."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from learned_index.data.dataset import Dataset
from learned_index.data.holdout import holdout_rows
from learned_index.data.naming import named_label_matrix
from learned_index.data.vocabulary import LabelVocabulary
from learned_index.elias.parts import EliasParts
from learned_index.elias.points import take
from learned_index.errors import InputError
from learned_index.index.build.partition import n_clusters_for
from learned_index.index.fit import validation_pair
from learned_index.inputs.points import as_points, n_rows
from learned_index.persistence.digest import data_digest, digest
from learned_index.types import Int64Array

logger = logging.getLogger(__name__)

_LEAST_HELD_OUT = 100


class Request(NamedTuple):
    """What is to be learned from: the arguments of :meth:`ELIAS.fit`."""

    texts: Any
    labels: Any
    vocabulary: Any | None
    validation: Any | None
    embeddings: Any | None
    validation_embeddings: Any | None


@dataclass
class HeldOut:
    """Points to validate and calibrate on.

    ``texts`` and ``labels`` are theirs. ``rows``: where they stand in the training points, None
    for points of their own. ``vectors`` and ``sparse`` are filled in when they are known.
    """

    texts: Any
    labels: sp.csr_matrix
    rows: Int64Array | None = None
    vectors: list[Any] | None = None
    sparse: sp.csr_matrix | None = None


def held_out(
    model: EliasParts, request: Request, labels_NL: sp.csr_matrix, names: LabelVocabulary
) -> HeldOut | None:
    """The points to validate on: those given, or some of the training points.

    Args:
        model: Says how many to hold out.
        request: The points, and those to validate on.
        labels_NL: Labels of the training points.
        names: Names of the labels.

    Returns:
        None where no point is, or can be, held out.

    Raises:
        InputError: The test split, or numbers that do not fit together.
    """
    texts, validation = request.texts, request.validation
    vectors = request.validation_embeddings
    if validation is None:
        if vectors is not None:
            raise InputError("got validation_embeddings without validation; give both or neither")
        rows = rows_to_hold_out(model, labels_NL)
        if not len(rows):
            return None
        return HeldOut(take(texts, rows), labels_NL[rows], rows=rows)
    if isinstance(validation, Dataset):
        if validation.split == "test":
            raise InputError(
                "got the test split as validation: a model that was chosen on the test data "
                "cannot be measured on them; leave validation out or use a dev split"
            )
        own = validation.features if sp.issparse(texts) else validation.texts
        validation = (own, validation.labels)
    points, truth = validation_pair(validation)
    points = as_points(points)
    if sp.issparse(points) != sp.issparse(texts):
        raise InputError("texts and validation points must be of one kind: texts, or feature rows")
    truth_BL, _ = named_label_matrix(points, truth, names)
    if vectors is not None and len(vectors) != n_rows(points):
        raise InputError(
            f"got {len(vectors)} validation_embeddings for {n_rows(points)} validation texts"
        )
    return HeldOut(points, truth_BL, vectors=None if vectors is None else [vectors])


def rows_to_hold_out(model: EliasParts, labels_NL: sp.csr_matrix) -> Int64Array:
    """See :meth:`ELIAS.held_out_rows`."""
    config = model.config
    labelled = int(np.count_nonzero(np.diff(labels_NL.indptr)))
    if config.validation_fraction == 0:
        return np.empty(0, dtype=np.int64)
    least = min(_LEAST_HELD_OUT, labelled / 10)
    size = int(min(config.validation_limit, max(least, config.validation_fraction * labelled)))
    return holdout_rows(labels_NL, size, seed=model.training_config.seed)


def check_request(
    model: EliasParts,
    request: Request,
    labels_NL: sp.csr_matrix,
    names: LabelVocabulary,
    held: HeldOut | None,
    *,
    trains_encoder: bool,
) -> None:
    """Refuse what cannot be fitted, before anything is computed.

    Args:
        model: Its configuration is what is asked for, too.
        request: What the fit was called with.
        labels_NL: Labels of the training points.
        names: Names of the labels.
        held: Points to validate on.
        trains_encoder: Whether the encoder is trained along.

    Raises:
        InputError: Says which two wishes exclude each other.
    """
    texts, embeddings, n_labels = request.texts, request.embeddings, labels_NL.shape[1]
    if embeddings is not None and trains_encoder:
        raise InputError(
            "got embeddings, but the encoder is trained and its vectors change; leave them out, "
            "or set train_encoder to 'no'"
        )
    if embeddings is not None and n_rows(embeddings, name="embeddings") != labels_NL.shape[0]:
        raise InputError(f"got {len(embeddings)} embeddings for {labels_NL.shape[0]} texts")
    if model.given_index is None:
        n_clusters_for(model.index_config, n_labels)  # raises where there are too few labels
    elif model.given_index.n_labels != n_labels:
        raise InputError(f"the index has {model.given_index.n_labels} labels, got {n_labels}")
    elif trains_encoder:
        raise InputError(
            "got a fitted index and an encoder to train: its vectors would no longer fit the "
            "index; set train_encoder to 'no', or give an IndexConfig"
        )
    if model.config.label_text == "on" and (sp.issparse(texts) or not any(names.learning_texts)):
        what = "the points are rows of features" if sp.issparse(texts) else "no label has one"
        raise InputError(f"label_text is 'on', but {what}; give a vocabulary with texts, or 'auto'")
    config = model.config
    if config.index_label_text == "yes":
        if config.label_text == "off":
            raise InputError("index_label_text is 'yes', but label_text is 'off'; choose one")
        if config.ranker == config.clustering_features == "none":
            raise InputError(
                "index_label_text is 'yes', but without ranker and clustering_features the model "
                "reads no words, by which it knows the language of the texts; set "
                "clustering_features to 'tfidf'"
            )
    if held is None:
        _check_without_held_out(model)


def _check_without_held_out(model: EliasParts) -> None:
    config = model.config
    why = "no training point can be held out without taking a label its last one"
    if config.validation_fraction == 0:
        why = "validation_fraction is 0"
    if config.calibration not in ("auto", "none"):
        raise InputError(
            f"calibration {config.calibration!r} needs held-out points, but {why}; give "
            "validation points, or set calibration to 'none'"
        )
    if config.final_ranker not in ("auto", "fixed") and config.ranker != "none":
        raise InputError(
            f"the final ranker is to be learned on held-out points, but {why}; give validation "
            "points, or set final_ranker to 'fixed'"
        )
    logger.info("nothing is held out (%s): no validation and no calibration", why)


def described(model: EliasParts) -> dict[str, Any]:
    """What a model is to be: the kind of its encoder, and its configurations by name."""
    return {
        "encoder": model.encoder.kind,
        "model": model.config.to_dict(),
        "index": model.index_config.to_dict(),
        "training": model.training_config.to_dict(),
        "ranker": model.ranker_config.to_dict(),
    }


def request_key(
    model: EliasParts, request: Request, labels_NL: sp.csr_matrix, names: LabelVocabulary
) -> str:
    """Digest of data and configuration: a checkpoint is gone on with only where it is the same."""
    settings = {
        **described(model),
        "validation": request.validation is not None,
        "label_texts": names.learning_texts if model.config.label_text != "off" else [],
    }
    return digest([settings, data_digest(labels_NL, request.texts)])
