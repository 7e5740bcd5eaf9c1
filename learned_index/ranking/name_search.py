"""Labels whose names stand in a text: BM25 over names, or spelling, in inverted lists.

A text asks for its terms, each once; a label is a document that is its name. The score is
Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (Foundations and
Trends in Information Retrieval 2009, equation 3.15), with the idf that stays above 0.

Legend: B texts, V terms, L labels, K shortlisted labels, S labels that names add.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from learned_index.inputs.matrices import SparseFeatures, by_column, sparse_rows
from learned_index.kernels.machine.parallel import run_queries
from learned_index.kernels.machine.scratch import zeros
from learned_index.ranking.evidence import NameTerms
from learned_index.ranking.name_matching import best_names, score_names
from learned_index.types import PAD_ID, Float32Array, Int64Array

K1 = 1.2
"""How much a second term of a name counts beside the first: the customary value."""
LENGTH_WEIGHT = 0.75
"""b: how much longer names count for less, likewise."""


class NameLists(NamedTuple):
    """Names by term.

    Attributes:
        term_indptr: int64, V + 1. Where the list of each term begins.
        term_labels: int32, the labels whose name has it, ascending.
        term_weights: float32, what it adds to the score of each.
        scores: float32, the same weights in the order of the labels' terms.
    """

    term_indptr: Any
    term_labels: Any
    term_weights: Any
    scores: Any


def name_lists(indptr: Int64Array, terms: Any, n_terms: int) -> NameLists:
    """Turn names round: from terms to the labels that have them.

    With n of the N names having term t, and a name of length d (terms; a on average), t adds
    ln(1 + (N - n + 1/2) / (n + 1/2)) (k + 1) / (1 + k (1 - b + b d / a)).

    Args:
        indptr: int64, L + 1. Where the terms of each label's name begin.
        terms: int32, ascending within a label.
        n_terms: V.
    """
    n_labels, length_L = len(indptr) - 1, np.diff(indptr)
    n_named = int((length_L > 0).sum())
    labels = np.repeat(np.arange(n_labels), length_L)
    count_V = np.bincount(terms, minlength=n_terms)
    idf_V = np.log1p((n_named - count_V + 0.5) / (count_V + 0.5))
    relative_L = length_L / max(1.0, len(terms) / max(1, n_named))
    share_L = (K1 + 1) / (1 + K1 * (1 - LENGTH_WEIGHT + LENGTH_WEIGHT * relative_L))
    scores = (idf_V[terms] * share_L[labels]).astype(np.float32)
    begin_V1, order = by_column(terms, n_terms)
    return NameLists(
        begin_V1,
        labels[order].astype(np.int32),
        scores[order],
        scores,
    )


class AlikeLists(NamedTuple):
    """Terms that are spelled like names, turned round.

    Attributes:
        term_indptr: int64, V + 1. Where the list of each term begins.
        term_labels: int32, the labels with a name that it is like, ascending.
        term_weights: float32, what it counts for each, above 0.
    """

    term_indptr: Any
    term_labels: Any
    term_weights: Any


def alike_lists(alike: NameTerms, n_terms: int) -> AlikeLists:
    """Turn what :meth:`~learned_index.ranking.spelling.Spelling.names` gives round."""
    labels = np.repeat(np.arange(len(alike.indptr) - 1), np.diff(alike.indptr))
    begin_V1, order = by_column(alike.terms, n_terms)
    return AlikeLists(begin_V1, labels[order].astype(np.int32), alike.weights[order])


def search_names(
    lists: NameLists | AlikeLists,
    sparse_BV: SparseFeatures,
    ids_BK: Int64Array,
    *,
    n_labels: int,
    n_added: int,
    allowed_L: npt.NDArray[np.bool_] | None = None,
) -> tuple[Int64Array, Float32Array]:
    """Find the labels with the best names that are not shortlisted.

    Each term of a text counts once where ``lists`` are those of BM25, and by its weight in the text
    where they are of terms that are spelled alike.

    Args:
        lists: The names.
        sparse_BV: Sparse features of the texts.
        ids_BK: int64 label ids, -1 at pads.
        n_labels: L.
        n_added: S, labels added at most.
        allowed_L: Which labels may be added; None: all.

    Returns:
        int64, B x S, best first, of equal ones the smaller id first; padded with -1. And float32,
        B x (K + S): the scores of the shortlisted, and of these.
    """
    indptr, indices, values, _ = sparse_rows(sparse_BV)
    if isinstance(lists, NameLists):
        values = values[:0]
    added = np.full((len(ids_BK), n_added), PAD_ID, np.int64)
    scores = np.zeros((len(ids_BK), ids_BK.shape[1] + n_added), np.float32)
    allowed = np.empty(0, np.bool_) if allowed_L is None else allowed_L
    run_queries(
        len(ids_BK),
        lambda start, stop: best_names(
            start, stop, ids_BK, indptr, indices, values, *lists[:3], allowed,
            zeros("sums of names", n_labels, np.float32),
            zeros("labels with names", n_labels, np.int32), added, scores,
        ),
    )  # fmt: skip
    return added, scores


def with_likeness(
    alike: NameTerms, sparse_BV: SparseFeatures, ids_BR: Int64Array, known_BK: Float32Array
) -> Float32Array:
    """How alike names are spelled to texts, where that is known of the first labels already.

    Args:
        alike: What :meth:`~learned_index.ranking.spelling.Spelling.names` gives.
        sparse_BV: Sparse features of the texts.
        ids_BR: int64 label ids, -1 at pads.
        known_BK: Scores of the first K of them, see :func:`search_names`.

    Returns:
        float32, B x R, as :func:`search_names` scores shortlisted labels.
    """
    indptr, indices, values, n_terms = sparse_rows(sparse_BV)
    first = known_BK.shape[1]
    scores = np.empty(ids_BR.shape, np.float32)
    scores[:, :first] = known_BK
    run_queries(
        len(ids_BR),
        lambda start, stop: score_names(
            start, stop, first, ids_BR, indptr, indices, values, *alike,
            zeros("values of a text's terms", n_terms, np.float32), scores,
        ),
    )  # fmt: skip
    return scores
