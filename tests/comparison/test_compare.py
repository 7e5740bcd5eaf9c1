"""The comparison harness, with a small model made of random classifiers."""

from __future__ import annotations

import csv
import json
import os
import signal
from typing import ClassVar

import numpy as np
import pytest
import torch
from compare_cases import DIM, N_LABELS, FakeLoader, FakeModel, make_data, quick, row_of, spec_of

from learned_index.baselines import parse_baselines
from learned_index.baselines.exact import ExactSearch
from learned_index.baselines.searchers import LearnedSearch
from learned_index.comparison import (
    ComparisonData,
    ComparisonSettings,
    best_point,
    compare,
    evaluate,
    metric_names,
    write_comparison_csv,
    write_comparison_json,
)
from learned_index.comparison.data import MEASUREMENTS
from learned_index.comparison.plot import plot_comparison
from learned_index.errors import InputError
from learned_index.system.environment import cpu_model, describe_environment
from learned_index.system.memory import peak_rss_mb
from learned_index.system.threads import limit_threads


class FailingSearch(ExactSearch):
    method: ClassVar[str] = "failing"

    def build(self, *data):
        raise RuntimeError("the\nlights went out")


class DoublingSearch(ExactSearch):
    """Names the best label twice."""

    method: ClassVar[str] = "doubling"

    def search(self, queries, k, **query_arguments):
        found = super().search(queries, k)
        found.ids[:, 1] = found.ids[:, 0]
        return found


class StubbornSearch(ExactSearch):
    """Has a knob that changes the answers only up to its third value."""

    method: ClassVar[str] = "stubborn"

    def search(self, queries, k, *, effort):
        turned = np.roll(np.asarray(queries), min(effort, 3), axis=1)
        return super().search(turned, k)

    def query_grid(self):
        return [{"effort": effort} for effort in range(1, 20)]


class KilledSearch(ExactSearch):
    method: ClassVar[str] = "killed"

    def build(self, *data):
        os.kill(os.getpid(), signal.SIGKILL)


class HungrySearch(ExactSearch):
    """Holds 300 MB while it builds."""

    method: ClassVar[str] = "hungry"

    def build(self, *data):
        self.ballast = np.ones(300 * 2**20 // 8)
        super().build(*data)


ALL = "learned,exact,exact-int8,hnsw,ivf:IVF8,Flat,tree,knn,ova"


@pytest.fixture(scope="module")
def everything():
    events = []
    specs = [
        spec.with_options(epochs=2) if spec.method == "ova" else spec
        for spec in parse_baselines(ALL)
    ]
    with limit_threads(1):
        result = compare(
            specs, FakeLoader(), make_data(), settings=quick(),
            known_build_s={"learned": 12.5, "tree": None},
            progress=lambda *event: events.append(event),
        )  # fmt: skip
    return result, events


def test_every_method_has_a_row_with_every_number(everything):
    result, _ = everything
    assert [row["method"] for row in result.rows] == [spec.name for spec in parse_baselines(ALL)]
    assert result.failed == []
    neighbours = {key for key in MEASUREMENTS if key.startswith("neighbour_recall@100")}
    may_be_null = {
        "learned": {"disk_bytes"}, "tree": {"build_s", "disk_bytes"},
        "knn": neighbours, "ova": neighbours,
    }  # fmt: skip
    for row in result.rows:
        assert set(MEASUREMENTS) <= set(row) and set(metric_names()) <= set(MEASUREMENTS)
        null = {key for key in MEASUREMENTS if row[key] is None}
        assert null == may_be_null.get(row["method"], set())
        assert row["latency_ms_p50"] <= row["latency_ms_p95"] <= row["latency_ms_p99"]
        assert row["qps"] > 0
    assert row_of(result, "learned")["build_s"] == 12.5


def test_metrics_of_exact_search_equal_a_plain_computation(everything):
    result, _ = everything
    data, model = make_data(), FakeModel()
    ids = model.search(data.queries_ND, 100).ids
    expected = evaluate(ids, data.truth_NL, propensities=data.propensities)
    row = row_of(result, "exact")
    assert {key: row[key] for key in expected} == pytest.approx(expected)
    assert row["neighbour_recall@100"] == 100.0
    exact = result.environment["exact"]
    assert list(exact) == ["index"]
    assert {key: exact["index"][key] for key in expected} == pytest.approx(expected)


def test_curves_keep_every_setting_and_rise(everything):
    result, _ = everything
    points = [point for point in result.curves if point["method"] == "learned"]
    widths = [point["query_arguments"]["beam_width"] for point in points]
    assert widths == [1, 2, 3, 5, 8, 10]
    recalls = [point["neighbour_recall@100"] for point in points]
    assert recalls == sorted(recalls) and recalls[0] < recalls[-1] == 100.0
    tree = [point for point in result.curves if point["method"] == "tree"]
    assert max(point["neighbour_recall@100"] for point in tree) < 80


def test_each_row_is_a_point_of_its_curve(everything):
    result, _ = everything
    for row in result.rows:
        curve = [point for point in result.curves if point["method"] == row["method"]]
        assert {key: row[key] for key in curve[0]} in curve


def test_the_environment_names_what_was_measured_and_how(everything):
    result, _ = everything
    environment = result.environment
    assert environment["n_labels"] == N_LABELS and environment["dim"] == DIM
    assert environment["batch_size"] == 16 and environment["threads"] == 1
    assert environment["latency_threads"] == 1 and environment["latency_batch_size"] == 1
    assert environment["projection_timed"] is False and environment["repeats"] == 2
    assert {"torch", "faiss-cpu", "numpy", "python"} <= set(environment["versions"])
    assert environment["cpu"] == cpu_model() and environment["date"].endswith("+00:00")


def test_progress_never_goes_back(everything):
    _, events = everything
    done = [event[0] for event in events]
    assert done == sorted(done) and {total for _, total, _ in events} == {8}
    assert any("epoch" in text for _, _, text in events if text.startswith("ova: "))
    assert any("beam_width=3" in text for _, _, text in events)


def test_a_failed_method_has_a_row_with_the_reason_and_the_rest_goes_on():
    specs = [spec_of(FailingSearch), spec_of(DoublingSearch), *parse_baselines("exact")]
    result = compare(specs, FakeLoader(), make_data(), settings=quick())
    failing, doubling, exact = result.rows
    assert failing["error"] == "RuntimeError: the lights went out"
    assert "names a label twice" in doubling["error"]
    assert failing["P@1"] is None and failing["reached_target"] is False
    assert exact["error"] is None
    assert result.failed == ["failing", "doubling"]
    assert {point["method"] for point in result.curves} == {"exact"}


def test_a_sweep_ends_when_the_answers_no_longer_change():
    result = compare([spec_of(StubbornSearch)], FakeLoader(), make_data(), settings=quick())
    assert result.failed == []
    efforts = [point["query_arguments"]["effort"] for point in result.curves]
    assert efforts == [1, 2, 3, 4, 5]


def test_methods_run_in_their_own_processes(capfd):
    """Memory is each method's own; a killed process is a failed method."""
    ballast = np.ones(250 * 2**20 // 8)  # the children must not report the parent's memory
    events = []
    specs = [spec_of(KilledSearch), spec_of(HungrySearch), spec_of(LearnedSearch)]
    result = compare(
        specs, FakeLoader(), make_data(), progress=lambda *event: events.append(event),
        settings=quick(isolation="process"),
    )  # fmt: skip
    killed, hungry, learned = result.rows
    assert "out of memory?" in killed["error"]
    assert learned["error"] is None and learned["P@1"] > 0
    assert hungry["peak_rss_mb"] - learned["peak_rss_mb"] == pytest.approx(300, abs=60)
    assert learned["peak_rss_mb"] < peak_rss_mb() - ballast.nbytes / 2**20 / 2
    assert {text.split(":")[0] for _, _, text in events} == {"killed", "hungry", "learned"}
    assert "Traceback" not in capfd.readouterr().err


def test_thread_counts_are_restored():
    import faiss

    before = torch.get_num_threads(), faiss.omp_get_max_threads()
    torch.set_num_threads(2)
    faiss.omp_set_num_threads(2)
    try:
        with pytest.raises(ZeroDivisionError), limit_threads(1):
            assert (torch.get_num_threads(), faiss.omp_get_max_threads()) == (1, 1)
            raise ZeroDivisionError
        assert (torch.get_num_threads(), faiss.omp_get_max_threads()) == (2, 2)
        compare(parse_baselines("exact"), FakeLoader(), make_data(), settings=quick())
        assert (torch.get_num_threads(), faiss.omp_get_max_threads()) == (2, 2)
    finally:
        torch.set_num_threads(before[0])
        faiss.omp_set_num_threads(before[1])
    with pytest.raises(InputError, match="threads"), limit_threads(0):
        pass


def test_no_temporary_files_are_left(tmp_path):
    compare(
        parse_baselines("exact"), FakeLoader(), make_data(), settings=quick(),
        workspace_parent=tmp_path,
    )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def point(method="m", recall=50.0, latency=1.0, error=None):
    return {"method": method, "R@100": recall, "latency_ms_p50": latency, "error": error}


def test_the_best_point_is_the_fastest_that_reaches_the_target():
    curve = [point(recall=70, latency=1), point(recall=80, latency=3), point(recall=81, latency=2)]
    assert best_point(curve, target=79.5) == {**curve[2], "reached_target": True}
    assert best_point(curve, target=60) == {**curve[0], "reached_target": True}
    assert best_point(curve, target=90) == {**curve[2], "reached_target": False}
    tied = [point(recall=70, latency=4), point(recall=70, latency=3)]
    assert best_point(tied, target=90)["latency_ms_p50"] == 3
    assert best_point([point(recall=None, error="broken")], target=1)["error"] == "broken"


def test_fewer_labels_than_places():
    data = make_data(n_labels=N_LABELS)
    small = ComparisonData(
        queries_ND=data.queries_ND,
        truth_NL=data.truth_NL,  # 250 labels, of which the model knows 20
        propensities=data.propensities,
    )
    result = compare(
        parse_baselines("learned,exact,exact-int8,hnsw"),
        FakeLoader({"n_labels": 20}), small, settings=quick(),
    )  # fmt: skip
    assert result.failed == []
    assert row_of(result, "exact")["neighbour_recall@100"] == 100.0
    assert row_of(result, "exact")["R@100"] < 50


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"queries_ND": np.full((60, DIM), np.nan, np.float32)}, "NaN"),
        ({"queries_ND": np.empty((0, DIM), np.float32)}, "got 0 test vectors and 60 rows"),
        ({"queries_ND": np.zeros((5, DIM), np.float32)}, "60 rows"),
        ({"embeddings_ND": None}, "knn learn"),
        ({"embeddings_ND": np.zeros((3, DIM), np.float32)}, "80 rows"),
    ],
)
def test_data_that_do_not_fit_are_refused(change, message):
    data = ComparisonData(**{**make_data().__dict__, **change})
    with pytest.raises(InputError, match=message):
        compare(parse_baselines("knn"), FakeLoader(), data, settings=quick())


def test_wrong_settings_are_refused():
    with pytest.raises(InputError, match="target_recall"):
        ComparisonSettings(target_recall=99)
    for wrong in ({"batch_size": 0}, {"repeats": 0}, {"latency_queries": 0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            ComparisonSettings(**wrong)
    with pytest.raises(InputError, match="label_slack"):
        ComparisonSettings(label_slack=-1)
    with pytest.raises(InputError, match="threads"):
        ComparisonSettings(threads=0)
    with pytest.raises(InputError, match="isolation"):
        ComparisonSettings(isolation="thread")
    with pytest.raises(InputError, match="no method"):
        compare([], FakeLoader(), make_data(), settings=quick())


def test_files(everything, tmp_path):
    result, _ = everything
    write_comparison_json(result, tmp_path / "deep" / "compare.json")
    write_comparison_csv(result, tmp_path / "compare.csv")
    plot_comparison(result, tmp_path / "compare.png")
    read = json.loads((tmp_path / "deep" / "compare.json").read_text())
    assert set(read) == {"rows", "curves", "pareto", "operating", "environment"}
    assert read["rows"] == json.loads(json.dumps(result.rows))
    with (tmp_path / "compare.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["method"] for line in lines] == [row["method"] for row in result.rows]
    assert float(lines[0]["P@1"]) == result.rows[0]["P@1"]
    assert lines[0]["setting"].startswith("beam_width=")
    assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 3


def test_a_full_disk_leaves_the_old_report(everything, tmp_path, monkeypatch):
    from learned_index.comparison import report

    result, _ = everything
    path = tmp_path / "compare.json"
    path.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report, "write_json", full)
    with pytest.raises(OSError, match="No space"):
        write_comparison_json(result, path)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_numbers_that_json_has_not_become_null(everything, tmp_path):
    result, _ = everything
    broken = type(result)(rows=[{**result.rows[0], "qps": float("inf")}], environment={})
    write_comparison_json(broken, tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text())["rows"][0]["qps"] is None


def test_a_plot_without_any_measurement(tmp_path, everything):
    result, _ = everything
    row = {**result.rows[0], "error": "broken"}
    plot_comparison(type(result)(rows=[row], environment=result.environment), tmp_path / "a.png")
    assert (tmp_path / "a.png").exists()


def test_the_environment_is_json():
    assert json.loads(json.dumps(describe_environment()))["cpus"] >= 1


def test_the_recall_asked_for_is_a_share_of_the_best_of_the_run(everything):
    result, _ = everything
    searched = [p["R@100"] for p in result.curves if p["method"] not in ("knn", "ova")]
    best = max([*searched, result.environment["exact"]["index"]["R@100"]])
    assert result.environment["best_recall"] == pytest.approx(best)
    for row in result.rows:
        if row["error"] is None:
            assert row["reached_target"] == (row["R@100"] >= 0.99 * best - 1e-9)
