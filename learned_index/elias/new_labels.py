"""Labels that join a trained model: from their names, or from a few examples, without a training.

Legend: N remembered records, M new labels, n examples in all, D dimension, V sparse features.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import scipy.sparse as sp

from learned_index.data.identifiers import readable
from learned_index.data.vocabulary import LabelVocabulary
from learned_index.elias.final_ranking import with_further_names
from learned_index.elias.parts import EliasParts
from learned_index.elias.points import reads_rows
from learned_index.engine.search_engine import SearchEngine
from learned_index.errors import InputError
from learned_index.inputs.labels import labels_from_lists
from learned_index.inputs.numbers import shown
from learned_index.inputs.points import blank_rows, unanswerable_rows
from learned_index.types import PAD_ID, Float32Array, Int64Array

if TYPE_CHECKING:
    from learned_index.index.learned_graph_index import LearnedGraphIndex

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
    vocabulary = model.vocabulary.extended(
        LabelVocabulary(keys, [(texts or {}).get(key, "") for key in keys])
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
    twin.members = longer_members(
        model, remembered, vectors[0], np.bincount(owner_n, minlength=len(keys))
    )
    known = sp.csr_matrix((len(examples), model.n_labels), dtype=np.float32)
    twin.records_ = model.records_.with_records(
        sparse, vectors[0], sp.hstack([known, owned_nM], format="csr")
    )
    twin.ranker_ = longer_ranker(model, remembered, sparse, vectors[0], owned_nM)
    assert model.label_counts is not None
    twin.label_counts = np.concatenate([model.label_counts, counts_M])
    twin.n_points = model.n_points + int(counts_M.sum())
    if model.texts_ is not None:
        given = np.flatnonzero(~is_name[kept])
        owned = sp.hstack([known, owned_nM], format="csr")[given]
        twin.texts_ = model.texts_.with_texts([examples[row] for row in given], owned)
    if model.final_ranker_ is not None:
        twin.final_ranker_ = with_further_names(twin, model.final_ranker_)
    return twin


def _check_model(model: EliasParts) -> None:
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
        chosen = [*own, readable(texts.get(key) or key)]
        found += chosen
        owners += [number] * len(chosen)
        counts.append(len(own))
    return keys, found, np.array(owners, np.int64), np.array(counts, np.int64)


def as_long_as_points(unit_ND: Float32Array, index: LearnedGraphIndex) -> Float32Array:
    """Vectors of records, remembered at length 1, as long as those that an index was trained on."""
    return unit_ND / np.float32(float(index.input_scale))


def longer_members(
    model: EliasParts, remembered: Any, x_nD: Float32Array, counts_M: Int64Array
) -> list[Any]:
    """Members that have the new labels; indexes and engines alike.

    Records are remembered at length 1, a member expects vectors as long as its own. An index knows
    how long these are; of an engine's the examples tell.
    """
    _, unit_ND, labels_NL = remembered
    examples = np.split(x_nD, np.cumsum(counts_M)[:-1])
    usual = float(np.linalg.norm(x_nD, axis=1).mean())
    grown = []
    for member in model.members:
        length = usual
        if not isinstance(member, SearchEngine):
            length = 1.0 / float(member.input_scale)
        known_ND = unit_ND if length == 1.0 else unit_ND * np.float32(length)
        known = (known_ND, labels_NL)
        grown.append(member.add_labels(examples, known=known, counts=model.label_counts))
    return grown


def longer_ranker(
    model: EliasParts,
    remembered: Any,
    sparse_nV: sp.csr_matrix,
    x_nD: Float32Array,
    owned_nM: sp.csr_matrix,
) -> Any:
    """The ranker with classifiers of the new labels, told from the records near their examples."""
    assert model.ranker_ is not None and model.records_ is not None
    terms_NV, unit_ND, _ = remembered
    near_MT, _ = model.records_.by_vectors(_means(owned_nM, x_nD), count=N_NEGATIVES)
    n_new = len(near_MT)
    label, place = np.nonzero(near_MT != PAD_ID)
    asked, row = np.unique(near_MT[label, place], return_inverse=True)
    hard = sp.csr_matrix(
        (np.ones(len(row), np.float32), (row, label)), shape=(len(asked) + len(x_nD), n_new)
    )
    none = sp.csr_matrix((len(asked), n_new), dtype=np.float32)
    return model.ranker_.with_labels(
        sp.vstack([terms_NV[asked], sparse_nV], format="csr"),
        np.concatenate([unit_ND[asked], x_nD]),
        sp.vstack([none, owned_nM], format="csr"),
        hard,
    )


def _means(owned_nM: sp.csr_matrix, x_nD: Float32Array) -> Float32Array:
    """Means of the examples of each label, float32 M x D."""
    counts_M = np.diff(owned_nM.tocsc().indptr)
    means: Float32Array = ((owned_nM.T @ x_nD) / counts_M[:, None]).astype(np.float32)
    return means
