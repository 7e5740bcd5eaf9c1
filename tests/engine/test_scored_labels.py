"""Scores of labels that somebody names: those of searches for each label alone."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from index_cases import QUICK, SMALL, D, L, planted

from learned_index import EngineConfig, IndexConfig, LearnedGraphIndex, SearchEngine
from learned_index.engine import label_scores
from learned_index.errors import InputError, NotFittedError
from learned_index.types import PAD_ID

DEEP = IndexConfig(
    n_clusters=12,
    beam_width=3,
    edges_per_cluster=40,
    hierarchy="deep",
    n_regions=4,
    region_beam_width=2,
    candidate_clusters=6,
)
X, Y = planted()
QUERIES = planted(14, seed=1)[0]
KINDS = ("flat", "deep", "engine", "deep engine", "float32", "pruned", "restricted")


@pytest.fixture(scope="module")
def searchers() -> dict[str, LearnedGraphIndex | SearchEngine]:
    flat, deep = (LearnedGraphIndex(c, training=QUICK).fit(X, Y) for c in (SMALL, DEEP))
    return {
        "flat": flat,
        "deep": deep,
        "engine": flat.to_engine(),
        "deep engine": deep.to_engine(),
        "float32": flat.to_engine(EngineConfig(precision="float32")),
        "pruned": flat.prune(top_k=4, keep="none"),
        "restricted": flat.to_engine().restrict(deny=range(20)),
    }


def alone(searcher, query: np.ndarray, label: int, width: int) -> float:
    """The oracle: a search for one result among this label only."""
    if isinstance(searcher, LearnedGraphIndex):
        return searcher.search(query, 1, allow=[label], beam_width=width).scores[0, 0]
    # Not ``allow``, which makes a beam grow until a whole shortlist is found.
    only = searcher.remove_labels(np.arange(L) != label)
    only._complete = False  # as those that were restricted already are
    return only.search(query, 1, beam_width=width).scores[0, 0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [1, 3, 12])
def test_each_score_is_that_of_a_search_for_the_label_alone(searchers, kind, width):
    searcher = searchers[kind]
    scores = searcher.score(QUERIES, range(L), beam_width=width)
    assert scores.shape == (len(QUERIES), L) and scores.dtype == np.float32
    expected = [[alone(searcher, q, label, width) for label in range(L)] for q in QUERIES]
    np.testing.assert_array_equal(scores, np.array(expected, np.float32))


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_search_answers_has_its_scores(searchers, kind):
    searcher = searchers[kind]
    found = searcher.search(QUERIES, 6, shortlist_size=L)  # an engine walks all edges for so many
    np.testing.assert_array_equal(searcher.score(QUERIES, found.ids), found.scores)


def test_an_engine_that_leaves_edges_out_scores_no_higher():
    """Walks end after a multiple of 16 edges, so the better of two paths may be cut off."""
    rng = np.random.default_rng(0)
    config = IndexConfig(n_clusters=8, beam_width=4, edges_per_cluster=300)
    labels = sp.random(900, 600, 0.01, format="csr", random_state=1)
    labels.data[:] = 1
    vectors = rng.normal(size=(900, D)).astype(np.float32)
    engine = LearnedGraphIndex(config, training=QUICK).fit(vectors, labels).to_engine()
    found = engine.search(vectors[:200], 5, shortlist_size=10)
    assert (engine.score(vectors[:200], found.ids) >= found.scores).all()


@pytest.mark.parametrize("kind", ["flat", "deep", "engine"])
def test_a_score_depends_on_no_other_label_and_no_other_query(searchers, kind, monkeypatch):
    """Labels that were hard to reach used to widen the beam of those that were asked with them."""
    searcher = searchers[kind]
    together = searcher.score(QUERIES, range(L), beam_width=1)
    for label in (0, 7, L - 1):
        np.testing.assert_array_equal(
            searcher.score(QUERIES[3], [label], beam_width=1)[0, 0], together[3, label]
        )
    monkeypatch.setattr(label_scores, "_MOST_CELLS", 100)
    np.testing.assert_array_equal(searcher.score(QUERIES, range(L), beam_width=1), together)


def test_the_narrow_beam_does_not_reach_all(searchers):
    """Or the tests above tell nothing of a beam that grows."""
    narrow, wide = (searchers["flat"].score(QUERIES, range(L), beam_width=w) for w in (1, 12))
    assert (narrow != wide).any() and (narrow <= wide).all()
    assert np.isneginf(searchers["pruned"].score(QUERIES, range(L))).any(), "no edge leads there"
    assert np.isneginf(searchers["restricted"].score(QUERIES, range(20))).all()


@pytest.mark.parametrize("kind", ["flat", "engine"])
def test_each_query_may_name_labels_of_its_own(searchers, kind):
    searcher, rng = searchers[kind], np.random.default_rng(0)
    every = searcher.score(QUERIES, range(L))
    lists = [rng.permutation(L)[:n].tolist() for n in range(len(QUERIES))]
    for given in (lists, [np.array(row, np.int32) for row in lists], [iter(row) for row in lists]):
        found = searcher.score(QUERIES, given)
        assert isinstance(found, list) and [len(row) for row in found] == list(map(len, lists))
        for row, (labels, scores) in enumerate(zip(lists, found, strict=True)):
            assert scores.dtype == np.float32
            np.testing.assert_array_equal(scores, every[row, labels])
    mask = rng.random((len(QUERIES), L)) < 0.2
    for given in (mask, sp.csr_matrix(mask), mask.tolist(), torch.from_numpy(mask)):
        for row, scores in enumerate(searcher.score(QUERIES, given)):
            np.testing.assert_array_equal(scores, every[row, mask[row]])
    table = np.array([rng.permutation(L)[:5] for _ in QUERIES])
    table[2, 3:] = PAD_ID
    found = searcher.score(QUERIES, table)
    expected = np.take_along_axis(every, np.maximum(table, 0), axis=1)
    np.testing.assert_array_equal(found, np.where(table == PAD_ID, -np.inf, expected))
    np.testing.assert_array_equal(searcher.score(QUERIES, torch.from_numpy(table)), found)
    assert searcher.score(QUERIES, []).shape == (len(QUERIES), 0)
    assert searcher.score(QUERIES[:0], [1, 2]).shape == (0, 2)
    assert searcher.score(QUERIES, [[]] * len(QUERIES))[3].shape == (0,)


@pytest.mark.parametrize("kind", ["flat", "engine"])
@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([L], "expected 0 to 119"),
        ([5, 5], "in labels a label comes twice"),
        ([[1]] * 3, "given for 3 queries, expected 14"),
        ([[1, 1]] * 14, r"in labels\[0\] a label comes twice"),
        ([[1]] * 13 + [None], r"labels\[13\] is None"),
        ([[1]] * 13 + [4], "mixes lists of labels and labels"),
        (np.ones((3, 2), int), "3 rows of ids, expected 14"),
        (np.full((14, 1), L), "holds ids from 120 to 120"),
        (np.full((14, 1), -2), "holds ids from -2 to -2"),
        (np.zeros((14, 2)), "a list of lists of ids"),
        (np.zeros((14, L), int), "all of them 0 or 1"),
        (np.zeros((14, 3), bool), "got 3 columns, expected 120"),
        (["bread"], "expected a list of label ids"),
    ],
)
def test_what_cannot_be_scored_is_refused(searchers, kind, labels, said):
    with pytest.raises(InputError, match=said):
        searchers[kind].score(QUERIES, labels)


def test_queries_and_knobs_are_checked_as_those_of_a_search(searchers):
    for kind in ("flat", "engine"):
        with pytest.raises(InputError, match="dimension 17"):
            searchers[kind].score(np.ones((2, D + 1), np.float32), [1])
        with pytest.raises(InputError, match="beam_width is 0"):
            searchers[kind].score(QUERIES, [1], beam_width=0)
    with pytest.raises(NotFittedError):
        LearnedGraphIndex().score(QUERIES, [1])
