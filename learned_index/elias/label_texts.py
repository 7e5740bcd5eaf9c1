"""Texts of labels in a training: as records of their labels, and in the place of training points.

Legend: L labels, M of them of which something is asked, D dimension, V sparse features.
"""

from __future__ import annotations

import copy
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.elias.new_labels import longer_members, longer_ranker
from learned_index.elias.parts import EliasParts
from learned_index.elias.points import reads_rows
from learned_index.index.taken_labels import with_labels_taken
from learned_index.inputs.labels import points_per_label
from learned_index.inputs.points import unanswerable_rows
from learned_index.ranking.records import Records
from learned_index.types import Float32Array, Int64Array

LEAST_SHARED = 0.2
"""Part of the points' labels whose texts must share a term with the point: below it, as where texts
and names are in different languages, names cost the first places more than they bring."""
PRETENDED = 0.25
"""Part of the labels that pretend to have no training points, while the final order is learned."""
_PAIRS = 20_000


class LabelPoints(NamedTuple):
    """Labels whose texts say something to the model, M of them, as points.

    Attributes:
        labels_M: int64 ids, ascending.
        sparse_MV: CSR, sparse features of their texts.
        vectors: M x D of each encoder.
    """

    labels_M: Int64Array
    sparse_MV: sp.csr_matrix
    vectors: list[Float32Array]

    def texts(self, model: EliasParts, rows: Int64Array) -> list[str]:
        """The texts of some of these labels."""
        of_labels = model.vocabulary.learning_texts
        return [of_labels[n] for n in self.labels_M[rows].tolist()]

    def encoded(self, model: EliasParts) -> LabelPoints:
        """The same points with the vectors of the model's encoders as they are now."""
        return self._replace(vectors=model.encode(self.texts(model, np.arange(len(self.labels_M)))))

    def taught(self, labels_NL: sp.csr_matrix) -> Int64Array:
        """Rows of the labels that one of the points has."""
        return np.flatnonzero(points_per_label(labels_NL)[self.labels_M])

    def shared(self, sparse_NV: sp.csr_matrix, labels_NL: sp.csr_matrix) -> float:
        """Part of the (point, label) pairs with a label text in which both have a term, 0 to 1.

        Args:
            sparse_NV: Sparse features of the points.
            labels_NL: CSR, their labels.
        """
        points, labels = labels_NL.nonzero()
        row_L = np.full(labels_NL.shape[1], -1, np.int64)
        row_L[self.labels_M] = np.arange(len(self.labels_M))
        named = np.flatnonzero(row_L[labels] >= 0)
        if not len(named):
            return 0.0
        # Some thousand pairs, evenly drawn, tell it to a percent.
        named = named[:: max(1, len(named) // _PAIRS)]
        theirs = sparse_NV[points[named]].multiply(self.sparse_MV[row_L[labels[named]]])
        return float((theirs.getnnz(axis=1) > 0).mean())

    def owned_by(self, rows: Int64Array, n_labels: int) -> sp.csr_matrix:
        """The label of each of these rows; other rows have none."""
        labels = (np.ones(len(rows), np.float32), (rows, self.labels_M[rows]))
        return sp.csr_matrix(labels, shape=(len(self.labels_M), n_labels))

    def join(self, records: Records, labels_NL: sp.csr_matrix) -> Records:
        """The records, and the text of every label that one of the points has.

        Args:
            records: Of the points.
            labels_NL: CSR, the labels of the points.
        """
        return self.join_rows(records, self.taught(labels_NL))

    def join_rows(self, records: Records, rows: Int64Array) -> Records:
        """The records, and some of these texts."""
        if not len(rows):
            return records
        owned = self.owned_by(rows, records.n_labels)[rows]
        return records.with_records(self.sparse_MV[rows], self.vectors[0][rows], owned)


def reads_label_texts(model: EliasParts) -> bool:
    """Whether texts of the labels may take part in the training."""
    config = model.config
    used = config.ranker != "none" or config.index_label_text == "yes"
    on = used and config.label_text != "off" and any(model.vocabulary.learning_texts)
    return on and not reads_rows(model.features)


def label_points(model: EliasParts) -> LabelPoints:
    """Encode the texts, and descriptions, of all labels that have one."""
    assert model.features is not None
    of_labels = model.vocabulary.learning_texts
    labels = np.array([n for n, text in enumerate(of_labels) if text.strip()], int)
    texts = [of_labels[n] for n in labels.tolist()]
    vectors = model.encode(texts)
    known = np.flatnonzero(~unanswerable_rows(texts, vectors))
    sparse = model.features.encode(texts)[known]
    return LabelPoints(labels[known], sparse, [x[known] for x in vectors])


def learn_unseen_labels(model: EliasParts, points: LabelPoints) -> int:
    """Give labels without a training point what ``ELIAS.add_labels`` makes of their texts.

    In place, at the end of a fit. They keep their ids, and counts of 0: a text is no training
    point. Where the model remembers no records, which new labels are learned beside, they stay as
    the training left them.

    Args:
        model: Fitted.
        points: The texts of its labels.

    Returns:
        How many they are.
    """
    if model.records_ is None or model.ranker_ is None or model.has_own_encoders:
        return 0
    assert model.label_counts is not None
    rows = np.flatnonzero(model.label_counts[points.labels_M] == 0)
    labels_M = points.labels_M[rows]
    n_labels, n_new = len(model.vocabulary), len(labels_M)
    if not n_new:
        return 0
    x_MD, sparse_MV = points.vectors[0][rows], points.sparse_MV[rows]
    remembered, one_each = model.records_.points(), np.ones(n_new, np.int64)
    source_L = np.arange(n_labels)
    source_L[labels_M] = n_labels + np.arange(n_new)
    grown = longer_members(model, remembered, x_MD, one_each)
    model.members = [with_labels_taken(member, source_L) for member in grown]
    ranker = longer_ranker(
        model, remembered, sparse_MV, x_MD, sp.identity(n_new, np.float32, format="csr")
    )
    model.ranker_ = ranker.with_labels_taken(source_L)
    model.records_ = points.join_rows(model.records_, rows)
    return n_new


class Pretending(NamedTuple):
    """A model in which some labels pretend to have no training points.

    Attributes:
        model: See :func:`with_pretended_unseen`.
        allowed_L: bool, the labels that names and records may add there.
    """

    model: EliasParts
    allowed_L: npt.NDArray[np.bool_]


def with_pretended_unseen(model: EliasParts, points: LabelPoints) -> Pretending | None:
    """The model as it would be, had some of its labels no training points: its evidence of these.

    Their counts are 0, no record has them, and index and ranker know of them what
    :func:`learn_unseen_labels` makes of their texts. What index and ranker have learned of the
    others stays. They are drawn evenly, whatever their number of points: how common a label is
    that nobody has used yet is not known.

    Labels that have no points indeed are no label of a held-out point, so to learn from them is to
    learn that they are wrong. As many of them as pretend are left out; what they are more tells
    that most labels of the vocabulary are rare.

    Args:
        model: Left as it is.
        points: The texts of its labels.

    Returns:
        None where the model cannot learn labels from texts, or has too few of them.
    """
    assert model.label_counts is not None
    is_seen = model.label_counts[points.labels_M] > 0
    seen, unseen = points.labels_M[is_seen], points.labels_M[~is_seen]
    draw = np.random.default_rng(model.training_config.seed)
    drawn = draw.choice(seen, round(PRETENDED * len(seen)), replace=False)
    left_out = draw.choice(unseen, min(len(drawn), len(unseen)), replace=False)
    allowed_L = ~np.isin(np.arange(len(model.vocabulary)), left_out)
    some = np.flatnonzero(allowed_L[points.labels_M])
    points = LabelPoints(
        points.labels_M[some], points.sparse_MV[some], [x[some] for x in points.vectors]
    )
    twin = copy.copy(model)
    twin.label_counts = model.label_counts.copy()
    twin.label_counts[drawn] = 0
    if model.records_ is not None:
        gone_L = np.isin(np.arange(len(model.vocabulary)), drawn)
        twin.records_ = model.records_.without_labels(gone_L)
    if not len(drawn) or not learn_unseen_labels(twin, points):
        return None
    return Pretending(twin, allowed_L)
