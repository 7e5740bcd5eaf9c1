"""The members of the full model: its indexes, one after the other (paper, section 3.5)."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from learned_index.elias.fitting_data import FitData
from learned_index.elias.parts import EliasParts
from learned_index.elias.steps import Steps
from learned_index.errors import InputError
from learned_index.index.fit import fit_end_to_end
from learned_index.index.learned_graph_index import LearnedGraphIndex
from learned_index.types import Encoder


def train_members(model: EliasParts, data: FitData, steps: Steps) -> None:
    """Train the indexes, each with an encoder of its own where that learns along."""
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


def _given_index(model: EliasParts, data: FitData) -> LearnedGraphIndex:
    assert model.given_index is not None and data.vectors is not None
    dim = data.vectors[0].shape[1]
    if model.given_index.dim != dim:
        raise InputError(
            f"the index takes {model.given_index.dim}-dimensional vectors, got {dim} dimensions"
        )
    return model.given_index


def _trained_member(
    model: EliasParts, data: FitData, steps: Steps, number: int, encoder: Encoder | None
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
    model: EliasParts, data: FitData, *, trained: bool
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
