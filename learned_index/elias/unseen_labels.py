"""Labels of the vocabulary that no training point has: answerable after a fit, from their texts.

Legend: L labels, M of them without a training point and with a text.
"""

from __future__ import annotations

import logging

import numpy as np
import scipy.sparse as sp

from learned_index.elias.new_labels import add_labels
from learned_index.elias.parts import EliasParts
from learned_index.elias.points import reads_rows
from learned_index.index.taken_labels import with_labels_taken
from learned_index.inputs.points import unanswerable_rows
from learned_index.types import Int64Array

logger = logging.getLogger(__name__)


def unseen_labels(model: EliasParts) -> Int64Array:
    """Ids of the labels without a training point whose text says something to the model."""
    assert model.label_counts is not None
    texts = model.vocabulary.texts
    unseen = [n for n in np.flatnonzero(model.label_counts == 0).tolist() if texts[n].strip()]
    if not unseen:
        return np.empty(0, np.int64)
    named = [texts[n] for n in unseen]
    known = ~unanswerable_rows(named, model.encode(named))
    return np.array(unseen, np.int64)[known]


def learn_unseen_labels(model: EliasParts) -> int:
    """Give labels without a training point what ``ELIAS.add_labels`` makes of their texts.

    In place, at the end of a fit. They keep their ids, and counts of 0: a text is no training
    point. Where the model remembers no records, which new labels are learned beside, or reads
    rows of features, they stay as the training left them.

    Returns:
        How many they are.
    """
    if model.records_ is None or model.ranker_ is None or model.has_own_encoders:
        return 0
    if reads_rows(model.features):
        return 0
    labels_M = unseen_labels(model)
    n_labels, n_new = len(model.vocabulary), len(labels_M)
    if not n_new:
        return 0
    texts = [model.vocabulary.texts[label] for label in labels_M]
    # Keys for the time being, longer than any that is taken.
    longest = max(len(key) for key in model.vocabulary.keys)
    keys = [f"{'0' * longest}-{number}" for number in range(n_new)]
    grown = add_labels(model, {key: [] for key in keys}, dict(zip(keys, texts, strict=True)))
    source_L, target = np.arange(n_labels), np.arange(n_labels + n_new)
    source_L[labels_M], target[n_labels:] = target[n_labels:], labels_M
    assert grown.records_ is not None and grown.ranker_ is not None
    model.members = [with_labels_taken(member, source_L) for member in grown.trained_members()]
    model.records_ = grown.records_.with_merged_labels(target, n_labels=n_labels)
    ones = np.ones(n_labels, np.float32)
    taken = sp.csr_matrix((ones, (np.arange(n_labels), source_L)), (n_labels, len(target)))
    model.ranker_ = grown.ranker_.with_merged_labels(taken)
    logger.info("%d labels without a training point are learned from their texts", n_new)
    return n_new
