"""Search of a part of the labels on the index itself: allow- and deny-lists against an oracle."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from index_cases import QUICK, SMALL, L, planted

from learned_index import EngineConfig, IndexConfig, LearnedGraphIndex
from learned_index.errors import InputError
from learned_index.index.search import Knobs, search_in_torch
from learned_index.types import PAD_ID, PAD_SCORE

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
QUERIES = planted(60, seed=1)[0]


@pytest.fixture(scope="module", params=["flat", "deep"])
def index(request: pytest.FixtureRequest) -> LearnedGraphIndex:
    config = SMALL if request.param == "flat" else DEEP
    return LearnedGraphIndex(config, training=QUICK).fit(X, Y)


def some_labels(share: float, *, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).permutation(L)[: int(share * L)]


def only(result, wanted: np.ndarray, k: int):
    """Of answers that name every label they reached, the best k wanted ones of each row."""
    ids = np.full((len(result.ids), k), PAD_ID, np.int64)
    scores = np.full((len(result.ids), k), PAD_SCORE, np.float32)
    for row, (found, values) in enumerate(zip(result.ids, result.scores, strict=True)):
        kept = np.flatnonzero(np.isin(found, wanted))[:k]
        ids[row, : len(kept)], scores[row, : len(kept)] = found[kept], values[kept]
    return ids, scores


def everything(index: LearnedGraphIndex, width: int):
    """All labels that a beam reaches."""
    return index.search(QUERIES, L, beam_width=width, shortlist_size=L)


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1, 0.02])
def test_of_all_clusters_the_answers_are_the_wanted_ones_of_all_answers(index, share):
    wanted, knobs = some_labels(share), {"beam_width": 12, "shortlist_size": L}
    ids, scores = only(everything(index, 12), wanted, 7)
    found = index.search(QUERIES, 7, allow=wanted, **knobs)
    np.testing.assert_array_equal(found.ids, ids)
    np.testing.assert_array_equal(found.scores, scores)
    denied = index.search(QUERIES, 7, deny=np.setdiff1d(np.arange(L), wanted), **knobs)
    np.testing.assert_array_equal(denied.ids, ids)
    np.testing.assert_array_equal(denied.scores, scores)


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1, 0.02])
def test_the_beam_grows_until_k_are_found(index, share):
    wanted, k = some_labels(share), 3
    least = min(k, len(wanted))
    ids, scores = only(everything(index, 1), wanted, k)
    grown = 0
    for width in (2, 4, 8, 12):
        short = (ids[:, :least] == PAD_ID).any(axis=1)
        grown += int(short.sum())
        wider = only(everything(index, width), wanted, k)
        ids[short], scores[short] = wider[0][short], wider[1][short]
    assert share > 0.1 or grown, "one cluster must be too few, or this tests nothing"
    found = index.search(QUERIES, k, allow=wanted, beam_width=1, shortlist_size=L)
    np.testing.assert_array_equal(found.ids, ids)
    np.testing.assert_array_equal(found.scores, scores)
    reachable = np.intersect1d(wanted, index.graph.edge_labels_CM.numpy())
    assert ((found.ids >= 0).sum(axis=1) == min(k, len(reachable))).all()


def test_a_beam_grows_for_no_more_labels_than_the_shortlist_holds(index):
    """A shortlist below k used to widen the beam of every query to all clusters."""
    found = index.search(QUERIES, 9, shortlist_size=4, deny=[0])
    ids, scores = found.ids[:, :4], found.scores[:, :4]
    expected = index.search(QUERIES, 4, shortlist_size=4, deny=[0])
    np.testing.assert_array_equal(ids, expected.ids)
    np.testing.assert_array_equal(scores, expected.scores)
    assert (found.ids[:, 4:] == PAD_ID).all()


@pytest.mark.parametrize("knobs", [{}, {"beam_width": 1}, {"shortlist_size": 10}])
def test_a_denied_label_is_never_found(index, knobs):
    before = index.search(QUERIES, 5, **knobs)
    denied = np.unique(before.ids[:, 0])
    found = index.search(QUERIES, 5, deny=denied, **knobs)
    assert not np.isin(found.ids, denied).any()
    assert (found.ids[:, 0] >= 0).all()
    both = index.search(QUERIES, 5, allow=[*denied[:4], 7, 9], deny=denied, **knobs)
    assert not np.isin(both.ids, denied).any(), "deny wins over allow"
    after = index.search(QUERIES, 5, **knobs)
    np.testing.assert_array_equal(after.ids, before.ids)  # nothing is left of the lists
    np.testing.assert_array_equal(after.scores, before.scores)


def test_ids_in_any_form_and_masks_say_the_same(index):
    wanted = some_labels(0.2)
    mask = np.zeros(L, bool)
    mask[wanted] = True
    expected = index.search(QUERIES, 5, allow=wanted)
    forms = (mask, mask.tolist(), wanted.tolist(), set(wanted.tolist()), np.repeat(wanted, 2))
    for form in (*forms, wanted.astype(np.int32), iter(wanted.tolist())):
        found = index.search(QUERIES, 5, allow=form)
        np.testing.assert_array_equal(found.ids, expected.ids)
        np.testing.assert_array_equal(found.scores, expected.scores)
    denied = index.search(QUERIES, 5, deny=~mask)
    np.testing.assert_array_equal(denied.ids, expected.ids)


def test_one_query_at_a_time_is_answered_alike(index):
    wanted = some_labels(0.05)
    together = index.search(QUERIES, 4, allow=wanted)
    for row, query in enumerate(QUERIES[:20]):
        alone = index.search(query, 4, allow=wanted)
        np.testing.assert_array_equal(alone.ids[0], together.ids[row])
        np.testing.assert_array_equal(alone.scores[0], together.scores[row])


def test_the_engine_filters_alike(index):
    wanted = some_labels(0.1)
    engine = index.to_engine(EngineConfig(precision="float32", beam_width=12, shortlist_size=L))
    ours = index.search(QUERIES, 4, allow=wanted, beam_width=12, shortlist_size=L)
    theirs = engine.search(QUERIES, 4, allow=wanted)
    assert np.isin(theirs.ids, wanted).all()
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=2e-2)  # its clusters are rounded
    assert (ours.ids == theirs.ids).mean() > 0.95


def test_the_search_of_other_devices_filters_alike(index):
    wanted, edges_CM = some_labels(0.3), index.graph.edge_labels_CM
    kept = torch.isin(edges_CM, torch.from_numpy(wanted).int())
    found = search_in_torch(
        index,
        QUERIES,
        Knobs(k=4, beam_width=12, shortlist_size=L),
        edge_labels_CM=edges_CM.masked_fill(~kept, -1),
        implementation="torch",
    )
    ours = index.search(QUERIES, 4, allow=wanted, beam_width=12, shortlist_size=L)
    np.testing.assert_array_equal(found.ids, ours.ids)
    np.testing.assert_allclose(found.scores, ours.scores, rtol=1e-4)


def test_of_no_label_nothing_is_found(index):
    for lists in ({"allow": []}, {"deny": range(L)}, {"allow": [3], "deny": [3]}):
        found = index.search(QUERIES, 3, **lists)
        assert (found.ids == PAD_ID).all() and np.isneginf(found.scores).all()
    assert index.search(QUERIES[:0], 3, allow=[1, 5]).ids.shape == (0, 3)


@pytest.mark.parametrize("name", ["allow", "deny"])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([-1], "holds ids from -1 to -1, expected 0 to 119"),
        ([L], "expected 0 to 119"),
        ([0.5], "expected a list of label ids"),
        ([[1, 2]], "given for 1 queries, expected 60"),
        (np.ones(4, bool), "a mask of shape"),
        ([True, 3], "mixes booleans and ids"),
        ([1] * L, "all of them 0 or 1"),
        (["bread"], "expected a list of label ids"),
        ("bread", "expected a list of label ids"),
    ],
)
def test_lists_that_name_no_labels_are_refused(index, name, labels, message):
    with pytest.raises(InputError, match=message):
        index.search(QUERIES, 3, **{name: labels})
