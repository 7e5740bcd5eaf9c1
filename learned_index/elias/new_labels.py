"""Labels that join a trained model: from their names, or from a few examples, without a training.

Legend: N remembered records, M new labels, n examples in all, D dimension, V sparse features.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import scipy.sparse as sp

from learned_index.data.vocabulary import LabelVocabulary
from learned_index.elias.final_ranking import names_of
from learned_index.elias.parts import EliasParts
from learned_index.elias.points import reads_rows
from learned_index.errors import InputError
from learned_index.index.new_labels import KnownPoints, with_new_labels
from learned_index.inputs.labels import labels_from_lists
from learned_index.inputs.numbers import shown
from learned_index.inputs.points import blank_rows, unanswerable_rows
from learned_index.types import Float32Array, Int64Array

AnyModel = TypeVar("AnyModel", bound=EliasParts)

N_NEGATIVES = 100
"""Records near a new label's examples that its ranker learns to tell from them."""


def add_labels(
    model: AnyModel, labels: Mapping[str, Sequence[str]], texts: Mapping[str, str] | None
) -> AnyModel:
    """See :meth:`ELIAS.add_labels`."""
    model.require_fitted()
    _check_model(model)
    keys, examples, owner_n, counts_M = _examples(
        labels, texts or {}, frozenset(model.vocabulary.keys)
    )
    vocabulary = LabelVocabulary(
        (*model.vocabulary.keys, *keys),
        (*model.vocabulary.texts, *((texts or {}).get(key, "") for key in keys)),
    )
    vectors = model.encode(examples)
    unknown = unanswerable_rows(examples, vectors)
    # The name is the last of a label's examples. One that says nothing, such as a number, is left
    # out where there are others.
    is_name = np.append(owner_n[1:] != owner_n[:-1], True)
    kept = np.flatnonzero(~(unknown & is_name & (counts_M[owner_n] > 0)))
    examples, owner_n, unknown = [examples[row] for row in kept], owner_n[kept], unknown[kept]
    vectors = [x[kept] for x in vectors]
    if unknown.any():
        text = examples[int(np.flatnonzero(unknown)[0])]
        raise InputError(
            f"the model knows no word of {text[:60]!r}, an example of the new label "
            f"{keys[int(owner_n[unknown][0])]!r:.80}; give other examples"
        )
    assert model.features is not None and model.records_ is not None
    sparse = model.features.encode(examples)
    owned_nM = labels_from_lists(owner_n[:, None].tolist(), len(keys))
    remembered = model.records_.points()
    twin = copy.copy(model)
    twin.vocabulary = vocabulary
    twin.members = longer_members(model, remembered, vectors[0], owned_nM)
    known = sp.csr_matrix((len(examples), model.n_labels), dtype=np.float32)
    twin.records_ = model.records_.with_records(
        sparse, vectors[0], sp.hstack([known, owned_nM], format="csr")
    )
    twin.ranker_ = longer_ranker(model, remembered, sparse, vectors[0], owned_nM)
    assert model.label_counts is not None
    twin.label_counts = np.concatenate([model.label_counts, counts_M])
    twin.n_points = model.n_points + int(counts_M.sum())
    if model.final_ranker_ is not None:
        twin.final_ranker_ = model.final_ranker_.with_names(names_of(twin, are_texts=True))
    return twin


def _check_model(model: EliasParts) -> None:
    model.trained_members()  # an engine cannot grow: its error says so
    if reads_rows(model.features):
        raise InputError(
            "this model reads rows of features, which names and texts are not; train it anew with "
            "the new labels"
        )
    if model.records_ is None or model.ranker_ is None or model.has_own_encoders:
        raise InputError(
            "new labels are learned beside the remembered training records, of which this model "
            "has none; train it with --records yes and a ranker, and with one encoder"
        )


def _examples(
    labels: Mapping[str, Sequence[str]], texts: Mapping[str, str], known: frozenset[str]
) -> tuple[list[str], list[str], Int64Array, Int64Array]:
    """Keys, examples in one list, the number of each one's label, and how many each label got.

    The name of a label is an example too, which is not counted.
    """
    if not isinstance(labels, Mapping) or not labels:
        raise InputError(f"got {shown(labels)} for new labels, expected {{key: [example texts]}}")
    taken = [key for key in labels if key in known]
    if taken:
        raise InputError(
            f"the model has, or had, a label with the key {taken[0]!r:.80}; a new label needs a "
            "new key"
        )
    strange = [key for key in texts if key not in labels]
    if strange:
        raise InputError(f"texts name {strange[0]!r:.80}, which is no new label")
    keys, found, owners, counts = list(labels), [], [], []
    for number, key in enumerate(keys):
        own = labels[key]
        if isinstance(own, str) or not all(isinstance(text, str) for text in own):
            raise InputError(
                f"the examples of {key!r:.80} are {shown(own)}, expected a list of texts"
            )
        if blank_rows(own).any():
            raise InputError(f"an example of {key!r:.80} is blank; leave it out")
        chosen = [*own, texts.get(key) or key]
        found += chosen
        owners += [number] * len(chosen)
        counts.append(len(own))
    return keys, found, np.array(owners, np.int64), np.array(counts, np.int64)


def longer_members(
    model: EliasParts, remembered: Any, x_nD: Float32Array, owned_nM: sp.csr_matrix
) -> list[Any]:
    _, unit_ND, labels_NL = remembered
    # An example has one label.
    examples = [x_nD[owned_nM.indices == number] for number in range(owned_nM.shape[1])]
    return [
        # Records are remembered at length 1, the index expects vectors as long as its own.
        with_new_labels(
            member, examples, KnownPoints(unit_ND / float(member.input_scale), labels_NL)
        )
        for member in model.trained_members()
    ]


def longer_ranker(
    model: EliasParts,
    remembered: Any,
    sparse_nV: sp.csr_matrix,
    x_nD: Float32Array,
    owned_nM: sp.csr_matrix,
) -> Any:
    """The ranker with classifiers of the new labels, told from the records near their examples."""
    assert model.ranker_ is not None
    terms_NV, unit_ND, _ = remembered
    n_new = owned_nM.shape[1]
    hard = np.full((len(unit_ND), n_new), -1, np.int64)
    for number in range(n_new):
        mean_D = x_nD[owned_nM.indices == number].mean(axis=0)
        nearest = np.argsort(-(unit_ND @ mean_D), kind="stable")[:N_NEGATIVES]
        hard[nearest, number] = number
    asked = np.flatnonzero((hard >= 0).any(axis=1))
    others = np.full((len(x_nD), n_new), -1, np.int64)
    return model.ranker_.with_labels(
        sp.vstack([terms_NV[asked], sparse_nV], format="csr"),
        np.concatenate([unit_ND[asked], x_nD]),
        sp.vstack([sp.csr_matrix((len(asked), n_new), dtype=np.float32), owned_nM], format="csr"),
        np.concatenate([hard[asked], others]),
    )
