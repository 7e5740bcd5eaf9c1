"""Pareto fronts and operating points."""

from __future__ import annotations

import json

import numpy as np
import pytest
from compare_cases import FakeLoader, FakeModel, make_data, quick, spec_of

from learned_index.baselines import parse_baselines
from learned_index.baselines.exact import ExactSearch
from learned_index.baselines.searchers import LearnedSearch
from learned_index.comparison import (
    compare,
    operating_rows,
    pareto_front,
    pareto_rows,
    standard_targets,
    write_comparison,
)
from learned_index.comparison.operating import COSTS, Target
from learned_index.persistence.digest import data_digest


def point(method="m", recall=50.0, ms=1.0, qps=1000.0, neighbours=None, error=None, **arguments):
    """A point whose recall is the same on both halves."""
    return {
        "method": method, "R@100": recall, "neighbour_recall@100": neighbours,
        "R@100/choosing": recall, "R@100/reporting": recall,
        "latency_ms_p50": ms, "qps": qps, "latency_spread": 0.1, "qps_spread": 0.2,
        "query_arguments": arguments, "error": error,
    }  # fmt: skip


def dominated(candidate, points, metric, load):
    """The definition, pair by pair."""
    cost = COSTS[load]
    return any(
        other[metric] >= candidate[metric]
        and cost(other) <= cost(candidate)
        and (other[metric] > candidate[metric] or cost(other) < cost(candidate))
        for other in points
    )


@pytest.mark.parametrize("load", ["single", "batch"])
def test_the_front_is_what_no_other_point_dominates(load):
    generator = np.random.default_rng(0)
    points = [
        point(recall=float(r), ms=float(t), qps=float(q))
        for r, t, q in generator.integers(1, 12, (80, 3))
    ]
    front = pareto_front(points, metric="R@100", load=load)
    keys = {(p["R@100"], COSTS[load](p)) for p in front}
    expected = {
        (p["R@100"], COSTS[load](p)) for p in points if not dominated(p, points, "R@100", load)
    }
    assert keys == expected and len(front) == len(keys)
    assert [p["R@100"] for p in front] == sorted(p["R@100"] for p in front)


def test_points_without_the_metric_and_failed_ones_are_left_out():
    points = [point(neighbours=None), point(neighbours=80.0), point(error="broken", recall=None)]
    assert pareto_front(points, metric="neighbour_recall@100", load="single") == [points[1]]
    rows = pareto_rows([points[0], points[1]])
    assert {(row["load"], row["metric"]) for row in rows} == {
        ("single", "R@100"), ("batch", "R@100"),
        ("single", "neighbour_recall@100"), ("batch", "neighbour_recall@100"),
    }  # fmt: skip
    assert rows[0] == {
        "method": "m", "load": "single", "metric": "R@100", "recall": 50.0, "ms": 1.0,
        "query_arguments": {},
    }  # fmt: skip


def test_single_and_batch_are_chosen_apart():
    curve = [
        point("ours", recall=80, ms=0.2, qps=9000, beam=1),
        point("ours", recall=81, ms=0.3, qps=20000, beam=2),
        point("theirs", recall=80, ms=0.5, qps=1000, ef=9),
        point("poor", recall=70, ms=0.01, qps=10**6),
    ]
    targets = [Target(name="labels", metric="R@100", least=79.5)]
    ours, theirs, poor = operating_rows(curve, targets)
    assert ours["single_arguments"] == {"beam": 1} and ours["batch_arguments"] == {"beam": 2}
    assert (ours["single_times"], ours["batch_times"], ours["best"]) == (1.0, 1.0, 81)
    assert theirs["single_times"] == pytest.approx(2.5)
    assert theirs["batch_times"] == pytest.approx(20)
    assert (theirs["single_spread"], theirs["batch_spread"]) == (0.1, 0.2)
    assert poor["single_ms"] is None and poor["batch_times"] is None and poor["best"] == 70


def test_the_reference_may_stand_anywhere_or_miss_the_target():
    curve = [point("a", ms=3.0), point("b", ms=1.0)]
    targets = [Target(name="labels", metric="R@100", least=10)]
    first, second = operating_rows(curve, targets, reference="b")
    assert (first["single_times"], second["single_times"]) == (3.0, 1.0)
    curve[1]["R@100/choosing"] = 5.0
    assert operating_rows(curve, targets, reference="b")[0]["single_times"] is None
    assert operating_rows([], targets) == []


def test_targets_follow_exact_search():
    targets = standard_targets({"index": 84.2}, slack=0.5, neighbour_recalls=(90, 99))
    assert [(t.metric, round(t.least, 6)) for t in targets] == [
        ("R@100", 83.7), ("neighbour_recall@100", 90), ("neighbour_recall@100", 99),
    ]  # fmt: skip
    assert targets[0].name == "R@100 >= 83.70"
    two = standard_targets({"index": 84.2, "ova": 84.2}, slack=0.5, neighbour_recalls=(90,))
    assert [t.name for t in two] == [
        "R@100 >= 83.70 (exact of index)", "R@100 >= 83.70 (exact of ova)", "exact 100 >= 90",
    ]  # fmt: skip


def test_a_setting_is_chosen_on_one_half_and_told_on_the_other():
    curve = [
        {**point(ms=1.0, qps=9000.0, knob=1), "R@100/choosing": 80.0, "R@100/reporting": 60.0},
        {**point(ms=2.0, qps=4000.0, knob=2), "R@100/choosing": 70.0, "R@100/reporting": 90.0},
    ]
    (row,) = operating_rows(curve, [Target(name="labels", metric="R@100", least=75)])
    assert row["single_arguments"] == row["batch_arguments"] == {"knob": 1}
    assert row["single_recall"] == row["batch_recall"] == row["best"] == 60.0


def test_a_comparison_has_fronts_and_operating_points(tmp_path):
    result = compare(
        parse_baselines("learned,exact,ivf:IVF8,Flat,knn"), FakeLoader(), make_data(),
        settings=quick(),
    )  # fmt: skip
    keys = {(p["method"], tuple(p["query_arguments"].items())) for p in result.curves}
    assert {(r["method"], tuple(r["query_arguments"].items())) for r in result.pareto} <= keys
    exact = [row for row in result.operating if row["method"] == "exact"]
    assert len(exact) == 4 and all(row["single_ms"] > 0 for row in exact)
    # Votes of neighbours search no classifiers: they have the labels' target alone.
    assert len([row for row in result.operating if row["method"] == "knn"]) == 1
    for row in result.operating:
        if row["single_ms"] is not None:
            point = next(
                p for p in result.curves
                if (p["method"], p["query_arguments"]) == (row["method"], row["single_arguments"])
            )  # fmt: skip
            assert point[f"{row['metric']}/choosing"] >= row["least"] - 1e-6
            assert row["single_recall"] == point[f"{row['metric']}/reporting"]
    assert result.environment["reference"] == "learned"
    paths = write_comparison(result, tmp_path)
    assert all(path.stat().st_size > 0 for path in paths)
    lines = (tmp_path / "operating.csv").read_text().splitlines()
    assert len(lines) == 1 + len(result.operating) and lines[0].startswith("target,metric,least")
    assert len((tmp_path / "pareto.csv").read_text().splitlines()) == 1 + len(result.pareto)


class CountedSearch(ExactSearch):
    """Counts how often it is built."""

    method = "counted"
    built = 0

    def build(self, *data):
        CountedSearch.built += 1
        super().build(*data)


class DigestLoader(FakeLoader):
    text = "one"

    def digest(self):
        return self.text


class CountedLearned(LearnedSearch):
    method = "counted-learned"
    built = 0

    def build(self, *data):
        CountedLearned.built += 1
        super().build(*data)


def test_finished_methods_are_not_measured_again(tmp_path):
    def run(**changes):
        CountedSearch.built = 0
        return compare(
            [spec_of(CountedSearch)], FakeLoader(), make_data(), settings=quick(**changes),
            results=tmp_path,
        )  # fmt: skip

    first = run()
    assert CountedSearch.built == 1
    again = run(target_recall=0.5, label_slack=3)  # only the report depends on these
    assert CountedSearch.built == 0 and again.curves == first.curves
    for changes in ({"repeats": 1}, {"batch_size": 8}, {"seed": 3}):
        run(**changes)
        assert CountedSearch.built == 1


def test_other_data_are_measured_again(tmp_path):
    for n_queries, expected in ((60, 1), (50, 1), (50, 0)):
        CountedSearch.built = 0
        compare(
            [spec_of(CountedSearch)], FakeLoader(), make_data(n_queries), settings=quick(),
            results=tmp_path,
        )  # fmt: skip
        assert CountedSearch.built == expected


def test_a_damaged_result_is_measured_again(tmp_path):
    for damage in (lambda path: path.write_text("{"), lambda path: path.write_text("[]"), None):
        CountedSearch.built = 0
        compare(
            [spec_of(CountedSearch)], FakeLoader(), make_data(), settings=quick(), results=tmp_path
        )
        assert CountedSearch.built == 1
        (path,) = tmp_path.iterdir()
        json.loads(path.read_text())
        if damage is not None:
            damage(path)


def test_methods_built_from_the_model_follow_its_digest(tmp_path, monkeypatch):
    def run(loader):
        CountedLearned.built = 0
        compare([spec_of(CountedLearned)], loader, make_data(), settings=quick(), results=tmp_path)
        return CountedLearned.built

    assert [run(FakeLoader()), run(FakeLoader())] == [1, 1]  # cannot tell whether it changed
    assert [run(DigestLoader()), run(DigestLoader())] == [1, 0]
    monkeypatch.setattr(DigestLoader, "text", "two")
    assert run(DigestLoader()) == 1


def test_digests_see_values_shapes_and_types():
    array = np.arange(6, dtype=np.float32)
    others = [array + 1, array.reshape(2, 3), array.astype(np.float64), array[:5]]
    digests = [data_digest(other) for other in (array, *others)]
    assert len(set(digests)) == 5
    assert data_digest(array, others[0]) != data_digest(others[0], array)
    assert data_digest(FakeModel().weights[:, ::2]) == data_digest(
        np.ascontiguousarray(FakeModel().weights[:, ::2])
    )
