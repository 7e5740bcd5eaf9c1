"""A trained model that learns from new points and corrections, without a new training.

Legend: N new points, M labels that are new with them, L labels before, D dimension.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import scipy.sparse as sp

from learned_index.data.naming import as_vocabulary, joint_ids, named_label_matrix, read_labels
from learned_index.data.vocabulary import LabelVocabulary
from learned_index.elias.final_ranking import with_further_names
from learned_index.elias.label_changes import require_present
from learned_index.elias.new_labels import as_long_as_points, longer_members, longer_ranker
from learned_index.elias.parts import EliasParts
from learned_index.elias.points import Points, reads_rows, take
from learned_index.elias.prediction import predict_points
from learned_index.elias.relearning import (
    all_anew,
    with_final_order,
    with_index_anew,
    with_words_grown,
)
from learned_index.errors import InputError
from learned_index.index.learned_graph_index import LearnedGraphIndex
from learned_index.index.taken_labels import with_labels_taken
from learned_index.index.updating import Labelled, with_new_points
from learned_index.inputs.labels import labels_from_lists, points_per_label, relabelled
from learned_index.inputs.points import as_points, unanswerable_rows
from learned_index.types import Int64Array

AnyModel = TypeVar("AnyModel", bound=EliasParts)

KEPT_PER_NEW = 3
"""Remembered points that an update goes over again for each new one: fewer cost the index P@1."""
LEAST_KEPT = 256
"""Remembered points that it goes over again at least."""
N_WRONG = 10
"""Best answers of which the wrong ones learn from a correction."""


class _New(NamedTuple):
    """Points to learn from.

    Attributes:
        texts: N, each with a label, none of them silent.
        labels_NL: CSR, N x (L + M).
        vocabulary: Of L + M labels.
        vectors: N x D of each encoder.
        sparse_NV: Sparse features; None where the model has none.
    """

    texts: Points
    labels_NL: sp.csr_matrix
    vocabulary: LabelVocabulary
    vectors: list[Any]
    sparse_NV: sp.csr_matrix | None


def update_model(
    model: AnyModel, texts: Points, labels: Any, *, vocabulary: Any = None, correction: bool = False
) -> AnyModel:
    """See :meth:`ELIAS.update`; of a ``correction`` :meth:`ELIAS.learn`."""
    model.trained_members()  # an engine cannot learn: its error says so
    texts = as_points(texts)
    if sp.issparse(texts) != reads_rows(model.features) and model.features is not None:
        raise InputError("the model was trained on points of another kind: texts, or feature rows")
    labels_NL, names = _named(model, texts, read_labels(labels), vocabulary)
    rows = np.flatnonzero(np.diff(labels_NL.indptr))
    texts, labels_NL = take(texts, rows), labels_NL[rows]
    if correction:  # for which somebody waits
        return _updated(model, _readable(model, texts, labels_NL, names), correction=True)
    anew = all_anew(model, texts, labels_NL, names)
    if anew is not None:
        return anew
    new = _readable(model, texts, labels_NL, names)
    model = with_index_anew(model)
    if new.sparse_NV is not None:
        model = with_final_order(model, new.vectors, new.sparse_NV, new.labels_NL)
        grown = with_words_grown(model, new.texts)
        if grown is not model:
            assert grown.features is not None
            model, new = grown, new._replace(sparse_NV=grown.features.encode(new.texts))
    return _updated(model, new, correction=False)


def _named(
    model: EliasParts, texts: Points, labels: Any, vocabulary: Any
) -> tuple[sp.csr_matrix, LabelVocabulary]:
    """Labels under the model's numbers, new ones behind; and the names of all."""
    known, given = model.vocabulary, as_vocabulary(vocabulary)
    if given is None:
        names = known.extended(LabelVocabulary(_strangers(labels, known)))
        labels_NL, _ = named_label_matrix(texts, labels, names)
    else:
        labels_NL, _ = named_label_matrix(texts, labels, given)
        labels_NL, names = _renumbered(labels_NL, given, known)
    labels_NL = model.merged(labels_NL)
    present = np.unique(labels_NL.indices)
    if not len(present):
        raise InputError("no point has a label, so there is nothing to learn")
    require_present(model, present)
    return labels_NL, names


def _strangers(labels: Any, known: LabelVocabulary) -> list[str]:
    """Names that no label has, in the order in which they come."""
    rows = labels if isinstance(labels, list | tuple) else ()
    found: dict[str, None] = {}
    for row in rows:
        for name in [row] if isinstance(row, str) else row if hasattr(row, "__iter__") else ():
            if isinstance(name, str) and name not in known:
                found[name] = None
    return list(found)


def _renumbered(
    labels_NL: sp.csr_matrix, given: LabelVocabulary, known: LabelVocabulary
) -> tuple[sp.csr_matrix, LabelVocabulary]:
    """Labels of another vocabulary by key; those that no point has do not join."""
    used = np.unique(labels_NL.indices)
    joint, _ = joint_ids(given.subset(used), known)
    names = known.extended(given.subset(used[joint >= len(known)]))
    number_L = np.zeros(len(given), np.int64)
    number_L[used] = joint
    return relabelled(labels_NL, number_L, len(names)), names


def _readable(
    model: EliasParts, texts: Points, labels_NL: sp.csr_matrix, names: LabelVocabulary
) -> _New:
    """The points that say something to the model; each has a label."""
    vectors = model.encode(texts)
    kept = np.flatnonzero(~unanswerable_rows(texts, vectors))
    lost = np.setdiff1d(labels_NL.indices, labels_NL[kept].indices)
    lost = lost[lost >= model.n_labels]
    if not len(kept) or len(lost):
        what = f"the new label {names.name(int(lost[0]))!r:.80}" if len(lost) else "these points"
        raise InputError(
            f"the model knows no word of the texts of {what}; give other texts, or train it anew "
            "with them"
        )
    texts = take(texts, kept)
    sparse_NV = None
    if model.features is not None and model.ranker_ is not None:
        sparse_NV = model.features.encode(texts)
    return _New(texts, labels_NL[kept], names, [x[kept] for x in vectors], sparse_NV)


def _updated(model: AnyModel, new: _New, *, correction: bool) -> AnyModel:
    twin = copy.copy(model)
    n_old, n_labels = model.n_labels, len(new.vocabulary)
    members: Sequence[LearnedGraphIndex] = model.trained_members()
    joining, remembered = _joining(model, new), None
    if joining is not None:
        assert model.records_ is not None
        remembered = model.records_.points()
        members = longer_members(
            model, remembered, new.vectors[0][joining.rows_n], joining.counts_M
        )
        if joining.n_new < len(joining.counts_M):  # some were there, without a point
            members = [with_labels_taken(member, joining.source_L) for member in members]
    twin.vocabulary = new.vocabulary
    counts_L = np.zeros(n_labels, np.int64)
    if model.label_counts is not None:
        counts_L[:n_old] = model.label_counts
    twin.members = [
        with_new_points(
            member,
            Labelled(new.vectors[min(number, len(new.vectors) - 1)], new.labels_NL),
            _kept(model, len(new.vectors[0]), n_labels, member),
            counts_L=counts_L,
        )
        for number, member in enumerate(members)
    ]
    if model.ranker_ is not None:
        _learn_ranking(model, twin, new, remembered, joining, correction=correction)
    if model.label_counts is not None:
        twin.label_counts = counts_L + points_per_label(new.labels_NL)
    twin.n_points = model.n_points + new.labels_NL.shape[0]
    if model.texts_ is not None:
        twin.texts_ = model.texts_.with_texts(new.texts, new.labels_NL)
    return twin


class _Joining(NamedTuple):
    """Labels that the model has to learn from nothing: new ones, and those it never had a point of.

    Attributes:
        rows_n: int64, the points that have them, label by label.
        counts_M: int64, how many each has; the new ones first.
        owned_nM: CSR, the one label of each row.
        source_L: int64, for each label to be the one of a model that has these M more at its end.
        n_new: How many of them are new; the others were there, without a point.
    """

    rows_n: Int64Array
    counts_M: Int64Array
    owned_nM: sp.csr_matrix
    source_L: Int64Array
    n_new: int


def _joining(model: EliasParts, new: _New) -> _Joining | None:
    """The labels that join; None where there are none.

    Raises:
        InputError: Labels are new, and the model has nothing to learn them beside.
    """
    n_old, n_labels = model.n_labels, len(new.vocabulary)
    can_learn = model.records_ is not None and not model.has_own_encoders
    if n_labels > n_old and not can_learn:
        raise InputError(
            f"{n_labels - n_old} labels are new, and new labels are learned beside the "
            "remembered training records, of which this model has none; train it with "
            "--records yes, a ranker and one encoder"
        )
    never = np.empty(0, np.int64)
    if can_learn and model.records_ is not None:
        known_L = model.records_.counts() > 0
        if model.label_counts is not None:
            known_L |= model.label_counts > 0
        asked = np.unique(new.labels_NL.indices)
        asked = asked[asked < n_old]
        never = asked[~known_L[asked]].astype(np.int64)
    columns = np.concatenate([np.arange(n_old, n_labels), never])
    if not len(columns):
        return None
    rows, numbers = new.labels_NL[:, columns].nonzero()
    order = np.argsort(numbers, kind="stable")
    rows, numbers = rows[order], numbers[order]
    source_L = np.arange(n_labels)
    source_L[never] = n_labels + np.arange(len(never))
    return _Joining(
        rows,
        np.bincount(numbers, minlength=len(columns)),
        labels_from_lists(numbers[:, None].tolist(), len(columns)),
        source_L,
        n_labels - n_old,
    )


def _kept(model: EliasParts, n_new: int, n_labels: int, member: Any) -> Labelled | None:
    """A sample of the remembered points, drawn evenly."""
    records = model.records_
    if records is None or model.has_own_encoders:
        return None  # records hold the vectors of one encoder
    size = min(len(records), max(KEPT_PER_NEW * n_new, LEAST_KEPT))
    rows = np.sort(np.random.default_rng(0).choice(len(records), size, replace=False))
    labels = records.labels()[rows]
    kept = np.flatnonzero(np.diff(labels.indptr))  # the labels of others may have been removed
    labels = labels[kept]
    labels.resize(len(kept), n_labels)
    return Labelled(as_long_as_points(records.vectors(rows[kept]), member), labels)


def _learn_ranking(
    model: EliasParts,
    twin: EliasParts,
    new: _New,
    remembered: Any,
    joining: _Joining | None,
    *,
    correction: bool,
) -> None:
    """Ranker, records and names of the model to be."""
    assert model.ranker_ is not None and new.sparse_NV is not None
    x_ND, n_old = new.vectors[0], model.n_labels
    ranker = model.ranker_
    if joining is not None:
        rows, _, owned_nM, source_L, _ = joining
        ranker = longer_ranker(model, remembered, new.sparse_NV[rows], x_ND[rows], owned_nM)
        if ranker.n_labels > len(source_L):  # labels that never had a point: a copy of all weights
            ranker = ranker.with_labels_taken(source_L)
    width = model.config.ranker_shortlist
    twin.ranker_ = None  # searched as one index would be, as in the training
    _, wide = twin.shortlist(new.vectors, width)
    wrong: Int64Array | None = None
    if correction:
        before = predict_points(
            model, new.texts, min(N_WRONG, n_old), vectors=new.vectors, sparse=new.sparse_NV,
            score="ranking",
        )  # fmt: skip
        wrong = np.setdiff1d(before.ids[before.ids >= 0], new.labels_NL.indices)
    twin.ranker_ = ranker.with_points(
        new.sparse_NV, x_ND, new.labels_NL, wide.ids[:, :width], also=wrong
    )
    if model.records_ is not None:
        twin.records_ = model.records_.with_records(new.sparse_NV, x_ND, new.labels_NL)
    if model.final_ranker_ is not None and len(new.vocabulary) > n_old:
        twin.final_ranker_ = with_further_names(twin, model.final_ranker_)
