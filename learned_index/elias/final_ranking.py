"""Candidates and evidence of the final ranker: the same at training and at prediction.

Legend: B points, K labels that the index shortlists, S labels that nearest records add.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.elias.ensemble import Shortlist
from learned_index.elias.parts import EliasParts
from learned_index.errors import InputError
from learned_index.index.build.clustering import balanced_partition, unit_rows
from learned_index.inputs.matrices import SparseFeatures
from learned_index.ranking.evidence import Listed, NameTerms, evidence, name_terms, no_names
from learned_index.ranking.records import Records
from learned_index.types import Float32Array

N_ADDED = 50
"""Labels of nearest records that join a shortlist at most."""
MOST_RECORDS = 300_000
"""Up to so many points are remembered by default: the search by words takes time in proportion."""
_SPLIT_ITERATIONS = 6
"""Of the balanced 2-means that cuts the records into cells, whose shape matters little."""


def listed(
    model: EliasParts,
    head: Shortlist,
    sparse_BV: SparseFeatures,
    x_BD: Any,
    *,
    allowed_L: npt.NDArray[np.bool_] | None = None,
) -> Listed:
    """The labels that a final ranker orders, and what is known of them.

    Args:
        model: Its ranker is trained; its records may be None.
        head: B x K, the shortlist of the index.
        sparse_BV: Sparse features of the points.
        x_BD: Their vectors, from the first encoder.
        allowed_L: Which labels records may add; None: all.

    Returns:
        B x (K + S): the shortlist, and behind it labels of nearest records, with p = 0.
    """
    assert model.ranker_ is not None
    ids, p = head.ids, head.p
    if model.records_ is None:
        zero = np.zeros(ids.shape, np.float32)
        return Listed(ids, p, model.ranker_.score(sparse_BV, x_BD, ids), zero, zero, zero)
    votes = model.records_.votes(sparse_BV, x_BD, ids, n_added=N_ADDED, allowed_L=allowed_L)
    p = np.zeros(votes.ids.shape, np.float32)
    p[:, : ids.shape[1]] = head.p
    q = model.ranker_.score(sparse_BV, x_BD, votes.ids)
    return Listed(votes.ids, p, q, votes.words, votes.vectors, votes.likeness)


def evidence_of(
    model: EliasParts, found: Listed, sparse_BV: SparseFeatures, names: NameTerms
) -> Float32Array:
    """Evidence of listed labels, float32 B x (K + S) x F."""
    assert model.label_counts is not None
    return evidence(found, sparse_BV, model.label_counts, names)


def names_of(model: EliasParts, *, are_texts: bool) -> NameTerms:
    """Terms of the labels' names as the sparse features have them; none where points have none."""
    n_labels = len(model.vocabulary)
    if not are_texts or model.features is None:
        return no_names(n_labels)
    return name_terms(model.features.encode(model.vocabulary.names(range(n_labels))))


def remembered(
    model: EliasParts, sparse_NV: sp.csr_matrix, x_ND: Any, labels_NL: sp.csr_matrix
) -> Records | None:
    """Remember points that have labels, where the configuration says so.

    Raises:
        InputError: No point has a label.
    """
    rows = np.flatnonzero(np.diff(labels_NL.indptr))
    wanted = model.config.records
    sample = model.config.keep_sample
    remembers = len(rows) if sample is None else min(len(rows), sample)
    if wanted == "no" or (wanted == "auto" and remembers > MOST_RECORDS):
        return None
    if not len(rows):
        raise InputError("no point has a label, so there are no records to remember")
    if remembers < len(rows):
        draw = np.random.default_rng(model.training_config.seed)
        rows = np.sort(draw.choice(rows, remembers, replace=False))
    x = np.ascontiguousarray(np.asarray(x_ND)[rows], np.float32)
    n_cells = max(1, math.isqrt(len(rows)))
    cells = balanced_partition([unit_rows(x)], n_cells, max_iterations=_SPLIT_ITERATIONS)
    return Records.of(sparse_NV[rows], x, labels_NL[rows], cells)
