"""Settings are chosen on one half of the queries, and their recall is told on the other."""

from __future__ import annotations

import time
from typing import ClassVar

import numpy as np
import pytest
from compare_cases import FakeLoader, FakeModel, make_data, quick, spec_of

from learned_index.baselines.exact import ExactSearch
from learned_index.comparison import compare, evaluate
from learned_index.comparison.halves import HALVES, half_key, split_queries
from learned_index.errors import InputError


def test_halves_are_all_queries_once_and_follow_the_seed():
    for n_queries in (2, 3, 10, 101):
        halves = split_queries(n_queries, seed=4)
        assert list(halves) == ["choosing", "reporting"]
        choosing, reporting = halves.values()
        assert (len(choosing), len(reporting)) == (n_queries // 2, n_queries - n_queries // 2)
        assert sorted([*choosing, *reporting]) == list(range(n_queries))
        assert (np.diff(choosing) > 0).all() and (np.diff(reporting) > 0).all()
    again, other = split_queries(101, seed=4), split_queries(101, seed=5)
    np.testing.assert_array_equal(again["choosing"], choosing)
    assert not np.array_equal(other["choosing"], choosing)


@pytest.mark.parametrize("n_queries", [0, 1])
def test_fewer_than_two_queries_are_refused(n_queries):
    with pytest.raises(InputError, match=f"got {n_queries} test vectors; expected two or more"):
        split_queries(n_queries, seed=0)


class Lucky(ExactSearch):
    """Quick and blind on one half of the queries, or slow and right on all of them."""

    method: ClassVar[str] = "lucky"
    blind: ClassVar[set[bytes]] = set()

    def query_grid(self):
        return [{"care": 1}, {"care": 2}]

    def search(self, queries, k, *, care):
        queries = np.array(queries)
        for row, query in enumerate(queries):
            if care == 1 and query.tobytes() in self.blind:
                queries[row] = -query
        time.sleep(0.002 * (care - 1))
        return super().search(queries, k)


def lucky(monkeypatch, blind_half, seed=0):
    """Measure it, blind on a half; return its row for true labels and what both halves find."""
    from learned_index.comparison.workspace import lifted

    data = make_data()
    halves = split_queries(60, seed=seed)
    queries = lifted(data.queries_ND)
    monkeypatch.setattr(Lucky, "blind", {queries[row].tobytes() for row in halves[blind_half]})
    result = compare([spec_of(Lucky)], FakeLoader(), data, settings=quick(seed=seed))
    assert result.failed == []
    row = next(row for row in result.operating if row["metric"] == "R@100")
    return row, result, halves


def recall(result, half, care):
    (point,) = (p for p in result.curves if p["query_arguments"] == {"care": care})
    return point[half_key("R@100", half)]


def test_a_setting_that_fails_on_the_reporting_half_is_chosen_and_told_as_it_is(monkeypatch):
    row, result, _ = lucky(monkeypatch, "reporting")
    assert row["single_arguments"] == row["batch_arguments"] == {"care": 1}
    assert row["single_recall"] == recall(result, "reporting", 1) < row["least"] - 10
    assert recall(result, "choosing", 1) == recall(result, "choosing", 2) > row["least"]


def test_a_setting_that_fails_on_the_choosing_half_is_not_chosen(monkeypatch):
    row, result, _ = lucky(monkeypatch, "choosing", seed=3)
    assert row["single_arguments"] == row["batch_arguments"] == {"care": 2}
    assert row["single_recall"] == recall(result, "reporting", 2) == row["best"]
    assert recall(result, "reporting", 1) == recall(result, "reporting", 2)


@pytest.mark.parametrize("seed", [0, 3])
def test_recalls_of_the_halves_are_those_of_their_queries(monkeypatch, seed):
    _, result, halves = lucky(monkeypatch, "reporting", seed=seed)
    data = make_data()
    ids = FakeModel().search(data.queries_ND, 100).ids
    care = next(p for p in result.curves if p["query_arguments"] == {"care": 2})
    for half in HALVES:
        rows = halves[half]
        expected = evaluate(ids[rows], data.truth_NL[rows], propensities=data.propensities)
        assert care[half_key("R@100", half)] == pytest.approx(expected["R@100"])
        assert care[half_key("neighbour_recall@100", half)] == 100.0
        exact = result.environment["exact"]["index"]
        assert exact[half_key("R@100", half)] == pytest.approx(expected["R@100"])
    quick_one = next(p for p in result.curves if p["query_arguments"] == {"care": 1})
    assert quick_one["neighbour_recall@100/choosing"] == 100.0
    assert quick_one["neighbour_recall@100/reporting"] < 50
    assert result.operating[0]["least"] == pytest.approx(
        care["R@100/choosing"] - result.environment["label_slack"]
    )
