"""Names that a text contains: inverted lists against the formula, pair by pair."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.sparse as sp

from learned_index.ranking.evidence import name_terms
from learned_index.ranking.name_search import NameLists, name_lists, search_names

B, V, L, K, S = 30, 80, 200, 12, 7


def sparse_rows(n: int, share: float, seed: int) -> sp.csr_matrix:
    rng = np.random.default_rng(seed)
    return sp.csr_matrix(np.where(rng.random((n, V)) < share, rng.random((n, V)), 0), dtype="f4")


NAMES = sparse_rows(L, 0.02, 0)
"""Some labels have no name, and some terms no label."""
TEXTS = sparse_rows(B, 0.15, 1)


@pytest.fixture(scope="module")
def lists() -> NameLists:
    names = name_terms(NAMES)
    return name_lists(names.indptr, names.terms, V)


def plain_scores() -> np.ndarray:
    """BM25 of each pair, from the definition."""
    names = [set(NAMES[label].indices.tolist()) for label in range(L)]
    named = [name for name in names if name]
    average = sum(map(len, named)) / len(named)
    assert 0 < len(named) < L
    scores = np.zeros((B, L))
    for row in range(B):
        text = set(TEXTS[row].indices.tolist())
        for label, name in enumerate(names):
            for term in text & name:
                n = sum(term in other for other in named)
                idf = math.log(1 + (len(named) - n + 0.5) / (n + 0.5))
                length = 1 - 0.75 + 0.75 * len(name) / average
                scores[row, label] += idf * (1.2 + 1) / (1 + 1.2 * length)
    return scores


def test_added_labels_are_the_best_by_the_formula(lists: NameLists) -> None:
    rng = np.random.default_rng(2)
    ids = np.stack([rng.permutation(L)[:K] for _ in range(B)])
    ids[::3, -4:] = -1
    exact = plain_scores()
    allowed = rng.random(L) < 0.7
    for mask in (None, allowed):
        added, _ = search_names(lists, TEXTS, ids, n_labels=L, n_added=S, allowed_L=mask)
        for row in range(B):
            others = np.setdiff1d(np.arange(L), ids[row])
            if mask is not None:
                others = others[mask[others]]
            wanted = np.sort(exact[row, others])[::-1][:S]
            wanted = wanted[wanted > 0]
            n = len(wanted)
            assert n > 0 and (added[row, n:] == -1).all()
            np.testing.assert_allclose(exact[row, added[row, :n]], wanted, rtol=1e-5)
            assert len(set(added[row, :n]) & set(others.tolist())) == n


def test_scores_of_terms_add_up_to_the_formula(lists: NameLists) -> None:
    names = name_terms(NAMES)
    score_LV = sp.csr_matrix((lists.scores, names.terms, names.indptr), (L, V))
    found = (TEXTS > 0).astype(np.float32) @ score_LV.T
    np.testing.assert_allclose(found.toarray(), plain_scores(), rtol=1e-5, atol=1e-6)


def test_of_equal_names_the_smaller_id_is_first() -> None:
    names = name_terms(sp.csr_matrix(np.ones((9, 1), np.float32)))
    lists = name_lists(names.indptr, names.terms, 1)
    text, ids = sp.csr_matrix(np.ones((1, 1), np.float32)), np.array([[1]])
    added, _ = search_names(lists, text, ids, n_labels=9, n_added=4)
    assert added.tolist() == [[0, 2, 3, 4]]


def test_no_name_adds_nothing() -> None:
    lists = name_lists(np.zeros(L + 1, np.int64), np.empty(0, np.int32), V)
    ids = np.full((B, K), -1)
    added, scores = search_names(lists, TEXTS, ids, n_labels=L, n_added=S)
    assert (added == -1).all() and not scores.any()
