"""Candidates and evidence of the final ranker: the same at training and at prediction.

Legend: B points, K labels that the index shortlists, S labels that nearest records add.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from learned_index.data.identifiers import readable
from learned_index.elias.ensemble import Shortlist
from learned_index.elias.parts import EliasParts
from learned_index.elias.points import reads_rows
from learned_index.errors import InputError
from learned_index.index.build.clustering import balanced_partition, unit_rows
from learned_index.inputs.matrices import SparseFeatures
from learned_index.metrics import hit_matrix
from learned_index.ranking.evidence import (
    Listed,
    NameTerms,
    evidence,
    name_terms,
    no_names,
    with_other_names,
)
from learned_index.ranking.final_models import EvidencePoints
from learned_index.ranking.final_ranker import FinalRanker
from learned_index.ranking.name_search import search_names, with_likeness
from learned_index.ranking.records import Records
from learned_index.ranking.spelling import Spelling
from learned_index.types import Float32Array

N_ADDED = 50
"""Labels of nearest records that join a shortlist at most."""
N_NAMED = 20
"""Labels whose names a text has that join it at most."""
N_ALIKE = 50
"""The same where spelling is compared."""
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
    names: FinalRanker,
    allowed_L: npt.NDArray[np.bool_] | None = None,
) -> Listed:
    """The labels that a final ranker orders, and what is known of them.

    Args:
        model: Its ranker is trained; its records may be None.
        head: B x K, the shortlist of the index.
        sparse_BV: Sparse features of the points.
        x_BD: Their vectors, from the first encoder.
        names: The final ranker, fitted or not: it holds the names.
        allowed_L: Which labels records and names may add; None: all.

    Returns:
        B x (K + S): the shortlist, and behind it labels of nearest records and those whose names
        the points have, with p = 0.
    """
    assert model.ranker_ is not None
    ids = head.ids
    alike = names.alike_lists(sparse_BV.shape[1])
    lists = names.name_lists(sparse_BV.shape[1]) if alike is None else alike
    if lists is not None:
        named, known = search_names(
            lists, sparse_BV, ids, n_labels=model.n_labels, n_added=names.n_named,
            allowed_L=allowed_L,
        )  # fmt: skip
        ids = np.concatenate([ids, named], axis=1)
    votes: Any = np.zeros((3, *ids.shape), np.float32)
    if model.records_ is not None:
        found = model.records_.votes(sparse_BV, x_BD, ids, n_added=N_ADDED, allowed_L=allowed_L)
        ids, votes = found.ids, (found.words, found.vectors, found.likeness)
    p = np.zeros(ids.shape, np.float32)
    p[:, : head.p.shape[1]] = head.p
    spelled = np.zeros(ids.shape, np.float32)
    if alike is not None:
        assert names.alike is not None
        spelled = with_likeness(names.alike, sparse_BV, ids, known)
    q = model.ranker_.score(sparse_BV, x_BD, ids)
    return Listed(ids, p, q, votes[0], votes[1], votes[2], spelled)


def evidence_of(
    model: EliasParts, found: Listed, sparse_BV: SparseFeatures, names: FinalRanker
) -> Float32Array:
    """Evidence of listed labels, float32 B x (K + S) x F; ``names`` as in :func:`listed`."""
    assert model.label_counts is not None
    lists = names.name_lists(sparse_BV.shape[1])
    scores = None if lists is None else lists.scores
    return evidence(found, sparse_BV, model.label_counts, names.names, scores)


def judged(
    model: EliasParts,
    vectors: Sequence[Any],
    sparse_BV: SparseFeatures,
    labels_BL: sp.csr_matrix,
    names: FinalRanker,
    *,
    allowed_L: npt.NDArray[np.bool_] | None = None,
) -> EvidencePoints:
    """List the labels of points that the model has not seen, and gather evidence of them.

    Args:
        model: See :func:`listed`.
        vectors: B x D of each encoder.
        sparse_BV: Sparse features of the points.
        labels_BL: Canonical CSR, their labels; some may be new to the model.
        names: See :func:`listed`.
        allowed_L: See :func:`listed`.
    """
    head, _ = model.shortlist(vectors, model.config.rerank_size)
    found = listed(model, head, sparse_BV, vectors[0], names=names, allowed_L=allowed_L)
    evidence_BKF = evidence_of(model, found, sparse_BV, names)
    return EvidencePoints(found.ids, evidence_BKF, hit_matrix(found.ids, labels_BL))


def names_of(model: EliasParts, *, are_texts: bool) -> NameTerms:
    """Terms of the labels' names as the sparse features have them; none where points have none.

    Labels that were removed have no names: nothing finds them. Names of code are read as words.
    """
    n_labels = len(model.vocabulary)
    if not are_texts or model.features is None:
        return no_names(n_labels)
    return name_terms(model.features.encode(_present_names(model)))


def _present_names(model: EliasParts) -> list[str]:
    names = _read_names(model, range(len(model.vocabulary)))
    for gone in model.removed_labels:
        names[gone] = ""
    return names


def _read_names(model: EliasParts, labels: range) -> list[str]:
    return [readable(name) for name in model.vocabulary.names(labels)]


def alike_of(model: EliasParts) -> NameTerms | None:
    """Terms of the sparse features that are spelled like the labels' names.

    None where the features are no words.
    """
    terms = getattr(model.features, "terms_", None)
    if terms is None:
        return None
    return Spelling(terms).names(_present_names(model))


def with_present_names(
    model: EliasParts, ranker: FinalRanker, labels: Sequence[int]
) -> FinalRanker:
    """A final ranker that knows the names that the labels of the model have now.

    Args:
        model: Its vocabulary is the present one.
        ranker: It knows earlier names of these labels.
        labels: Those that have another name. How common a word is among names is counted anew for
            these alone: others stay.
    """
    names = names_of(model, are_texts=not reads_rows(model.features))
    return ranker.with_names(names, _alike_now(model, ranker, labels))


def with_further_names(model: EliasParts, ranker: FinalRanker) -> FinalRanker:
    """A final ranker that knows the names of labels which have joined behind those it knows.

    Args:
        model: Its vocabulary has them.
        ranker: It stays as it is.
    """
    known, n_labels = ranker.names, len(model.vocabulary)
    first = len(known.indptr) - 1
    new = no_names(n_labels - first)
    if model.features is not None and not reads_rows(model.features):
        names = _read_names(model, range(first, n_labels))
        new = name_terms(model.features.encode(names))
    indptr = np.concatenate([known.indptr, known.indptr[-1] + new.indptr[1:]])
    terms = np.concatenate([known.terms, new.terms])
    weights = np.concatenate([known.weights, new.weights])
    return ranker.with_names(NameTerms(indptr, terms, weights), _alike_now(model, ranker, []))


def _alike_now(model: EliasParts, ranker: FinalRanker, labels: Sequence[int]) -> NameTerms | None:
    """What is spelled like the present names, of labels that have another name or joined anew."""
    if ranker.alike is None:
        return None
    features: Any = model.features  # with terms: else there were none
    spelling = ranker.spelling(features.dim, lambda: features.terms_)
    joined = range(len(ranker.alike.indptr) - 1, len(model.vocabulary))
    new = np.unique(np.array([*labels, *joined], np.int64))
    return with_other_names(ranker.alike, spelling.names(_present_names(model), new), labels)


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
