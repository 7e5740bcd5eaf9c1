"""What speaks for each shortlisted label of a point: one row of numbers a pair.

The same function makes the rows that a final ranker learns from and those that it is asked about.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from learned_index.inputs.matrices import SparseFeatures, sparse_rows
from learned_index.kernels.machine.parallel import run_queries
from learned_index.kernels.machine.scratch import zeros
from learned_index.persistence.contents import require_layout, require_offsets, require_range
from learned_index.ranking.final_scoring import evidence_rows
from learned_index.types import Float32Array, Int64Array

EVIDENCE = (
    "log_p",
    "log_sigmoid_q",
    "word_votes",
    "vector_votes",
    "name_match",
    "likeness",
    "log_frequency",
    "found",
    "place",
    "p_sigmoid_q",
    "p_gap",
    "q_gap",
    "likeness_gap",
    "name_score",
    "name_gap",
    "name_likeness",
    "name_likeness_gap",
)
"""The columns: log p of the index; log sigmoid(2 q) of the sparse ranker; log(1 + 5 votes) of the
nearest records by words and by vectors; share of the words of the label's name that the text has,
weighted by idf; likeness of the label's records by words; log(1 + training points of the label); 1
where the index found the label; its place in the order of p; p sigmoid(2 q); log p, q and the
likeness less the largest of the point; BM25 of the label's name, and that less the largest; how
alike the label's name and words of the text are spelled, and that less the largest."""
N_BEFORE_NAMES = 13
"""Models saved before names were searched know the columns in front of these."""
N_BEFORE_SPELLING = 15
"""Models saved before spelling was compared, likewise."""
N_LINEAR = 8
"""The first columns are those of the log-linear model; the others are functions of these."""
N_RISING = 6
"""In the first columns more is never worse."""


class NameTerms(NamedTuple):
    """The terms of the labels' names, as the sparse features have them.

    Attributes:
        indptr: int64, L + 1.
        terms: int32, ascending within a label.
        weights: float32, idf of each term over the sum of its label's.
    """

    indptr: Any
    terms: Any
    weights: Any


class Listed(NamedTuple):
    """Shortlisted labels of B points, and what is known of them, B x K each.

    Attributes:
        ids: int64, -1 at pads.
        p: float32, probabilities from the index; 0 where the index did not find the label.
        q: float32, margins of the sparse ranker.
        word_votes: float32, see :class:`~learned_index.ranking.records.Votes`.
        vector_votes: float32.
        likeness: float32.
        name_likeness: float32, see :func:`~learned_index.ranking.name_search.search_names`; 0 where
            spelling is not compared.
    """

    ids: Int64Array
    p: Float32Array
    q: Float32Array
    word_votes: Float32Array
    vector_votes: Float32Array
    likeness: Float32Array
    name_likeness: Float32Array


def name_terms(names_LV: sp.csr_matrix) -> NameTerms:
    """Weigh the terms of names, tf-idf rows L x V, to a sum of 1."""
    names_LV = sp.csr_matrix(names_LV, dtype=np.float32)
    weights = np.maximum(names_LV.data, 0.0)
    rows = np.repeat(np.arange(names_LV.shape[0]), np.diff(names_LV.indptr))
    sums = np.bincount(rows, weights=weights, minlength=names_LV.shape[0])
    weights = (weights / np.maximum(sums, 1e-12)[rows]).astype(np.float32)
    return NameTerms(names_LV.indptr.astype(np.int64), names_LV.indices.astype(np.int32), weights)


def no_names(n_labels: int) -> NameTerms:
    """Labels without names."""
    return NameTerms(
        np.zeros(n_labels + 1, np.int64), np.empty(0, np.int32), np.empty(0, np.float32)
    )


def without_names(names: NameTerms, gone_L: Any) -> NameTerms:
    """The same names, but none of some labels.

    Args:
        names: Left as they are.
        gone_L: bool, the labels that lose theirs.
    """
    lengths = np.where(gone_L, 0, np.diff(names.indptr))
    kept = ~np.repeat(np.asarray(gone_L), np.diff(names.indptr))
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return NameTerms(indptr, names.terms[kept], names.weights[kept])


def with_other_names(names: NameTerms, others: NameTerms, labels: Any) -> NameTerms:
    """Names of which some are others, and behind which more may follow.

    Args:
        names: Of the first labels.
        others: Of all labels.
        labels: int64, those whose names the others are; all labels behind the first are.
    """
    n_labels, n_known = len(others.indptr) - 1, len(names.indptr) - 1
    is_other = np.arange(n_labels) >= n_known
    is_other[np.asarray(labels, np.int64)] = True
    kept, new = without_names(names, is_other[:n_known]), without_names(others, ~is_other)
    lengths = np.diff(new.indptr)
    lengths[:n_known] += np.diff(kept.indptr)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    label_of = np.repeat(np.arange(n_labels), lengths)
    is_new = is_other[label_of]
    terms, weights = np.empty(indptr[-1], np.int32), np.empty(indptr[-1], np.float32)
    for where, part in ((~is_new, kept), (is_new, new)):
        terms[where], weights[where] = part.terms, part.weights
    return NameTerms(indptr, terms, weights)


def evidence(
    listed: Listed,
    sparse_BV: SparseFeatures,
    label_counts_L: Int64Array,
    names: NameTerms,
    name_scores: Float32Array | None = None,
) -> Float32Array:
    """The rows of all pairs.

    Args:
        listed: The shortlisted labels.
        sparse_BV: Sparse features of the points.
        label_counts_L: int64, training points of each label.
        names: Terms of the labels' names.
        name_scores: float32, BM25 of each of these terms, see
            :class:`~learned_index.ranking.name_search.NameLists`; None: 0, names are not searched.

    Returns:
        float32 B x K x F in the order of :data:`EVIDENCE`; 0 at pads.
    """
    out = np.zeros((*listed.ids.shape, len(EVIDENCE)), np.float32)
    counts_L = np.asarray(label_counts_L, np.int64)
    indptr, indices, _, n_terms = sparse_rows(sparse_BV)
    if name_scores is None:
        name_scores = np.zeros(len(names.terms), np.float32)
    run_queries(
        len(out),
        lambda start, stop: evidence_rows(
            start, stop, *listed, indptr, indices, zeros("terms of a text", n_terms, np.bool_),
            counts_L, *names, name_scores, out,
        ),
    )  # fmt: skip
    return out


def check_names(names: NameTerms, n_labels: int, n_terms: int) -> None:
    """The compiled code does not check bounds: names from a file are checked here.

    Raises:
        InputError: They are not those of so many labels and terms.
    """
    n = len(names.terms)
    require_layout(
        {f"name_{field}": array for field, array in names._asdict().items()},
        {
            "name_indptr": (np.int64, (n_labels + 1,)),
            "name_terms": (np.int32, (n,)),
            "name_weights": (np.float32, (n,)),
        },
    )
    require_offsets("name_indptr", names.indptr, n)
    require_range("name_terms", names.terms, 0, n_terms - 1)
    require_range("name_weights", names.weights, 0.0, 1.0)
