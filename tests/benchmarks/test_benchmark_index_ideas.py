"""The benchmark of the index ideas: one budget for all, rows, ties, and runs that are kept."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from compare_cases import labelled_points

from benchmarks import index_ideas
from learned_index.baselines import parse_baselines
from learned_index.evaluation.compared import with_budget
from learned_index.evaluation.significance import paired_bootstrap
from learned_index.index.config import IndexConfig, TrainingConfig
from learned_index.metrics import label_propensities, point_values


@pytest.fixture
def folder(tmp_path):
    """Texts of one word for each label, with its vectors beside them."""
    points, labels = labelled_points(120, n_labels=110)
    for split, part in (("train", slice(0, 120)), ("test", slice(20, 60))):
        np.save(tmp_path / f"{split}.npy", points[part])
        rows = labels[part]
        (tmp_path / f"{split}_texts.txt").write_text(
            "".join(f"text {i}\n" for i in range(rows.shape[0]))
        )
        lines = (" ".join(map(str, row.indices)) for row in rows)
        (tmp_path / f"{split}_labels.txt").write_text("".join(f"{line}\n" for line in lines))
    (tmp_path / "labels.txt").write_text("".join(f"label {i}\n" for i in range(110)))
    return tmp_path


def run(folder, *more):
    arguments = [
        "--data", str(folder), "--vectors", str(folder), "--out", str(folder / "out.json"),
        "--seeds", "2", "--stage1-epochs", "1", "--stage2-epochs", "1", "--n-clusters", "4",
        "--quiet", "--ideas", "trained-graph,overlap,slice,glas,ova", *more,
    ]  # fmt: skip
    result = CliRunner().invoke(index_ideas.main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads((folder / "out.json").read_text()), result.output


def test_rows_are_measured_once_and_compared_with_the_first(folder, monkeypatch):
    report, shown = run(folder)
    names = [row["method"] for row in report["rows"]]
    assert names == ["trained-graph", "overlap", "slice", "glas", "ova"]
    for row in report["rows"]:
        assert row["metrics"]["P@1"] > 0 and row["latency_ms"] > 0 and row["seconds"] > 0
        assert f"| {row['method']} | {row['metrics']['P@1']:.2f} |" in shown
        found = row["differences"]["P@1"]
        assert found["low"] <= found["difference"] <= found["high"]
        gap = row["metrics"]["P@1"] - report["rows"][0]["metrics"]["P@1"]
        assert found["difference"] == pytest.approx(gap)
    assert all(each["tie"] for each in report["rows"][0]["differences"].values())

    def again(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr(index_ideas, "train_and_measure", again)
    assert run(folder)[0]["rows"] == report["rows"]
    with pytest.raises(AssertionError, match="trained again"):
        run(folder, "--batch-size", "60")


def test_differences_are_those_of_the_bootstrap():
    points, labels = labelled_points(60)
    data = index_ideas.IdeasData(points, labels, points, labels)
    rng = np.random.default_rng(0)
    ids = np.stack([rng.permutation(30) for _ in range(60)])
    ids = np.pad(ids, ((0, 0), (0, 70)), constant_values=-1)
    one, other = index_ideas.Run(ids, 1.0, 2.0), index_ideas.Run(ids[::-1], 3.0, 4.0)
    rows = index_ideas.compared({"a": [one], "b": [other]}, data)
    values = [
        point_values(run.ids_MK, labels, propensities=label_propensities(labels))["PSP@3"]
        for run in (other, one)
    ]
    expected = paired_bootstrap(
        100 * values[0].values_N, 100 * values[1].values_N, weights=values[0].weights_N
    )
    found = rows[1]["differences"]["PSP@3"]
    assert (found["difference"], found["low"], found["high"]) == pytest.approx(tuple(expected))
    assert rows[1]["latency_ms"] == 4.0 and rows[1]["spread"]["P@1"] is None


def test_all_get_the_budget_of_the_index():
    config = IndexConfig(n_clusters=9, beam_width=4, shortlist_size=77, projection="none")
    training = TrainingConfig(
        stage1_epochs=2, stage2_epochs=6, batch_size=33, learning_rate=0.5, dropout=0.1,
        averaging_fraction=0.5, label_init_scale=7.0, warmup_fraction=0.2, seed=5,
    )  # fmt: skip
    made = {
        spec.method: with_budget(spec, config, training).create()
        for spec in parse_baselines(index_ideas.IDEAS)
    }
    for name, method in made.items():
        assert (method.batch_size, method.learning_rate, method.dropout) == (33, 0.5, 0.1), name
        assert (method.projection, method.seed) == ("none", 5)
    for name in ("slice", "glas", "ova"):
        assert (made[name].epochs, made[name].warmup, made[name].centroid_scale) == (8, 0.2, 7.0)
        assert made[name].averaging_fraction == pytest.approx(3 / 8)
        assert made[name].initial_bias is None
    assert made["slice"].shortlist_size == made["glas"].shortlist_size == 77
    for name, edges in (("trained-graph", None), ("trained-tree", 0), ("overlap", 2)):
        index, plan = made[name].configs()
        assert index == config and plan.fixed_edges == edges
        assert (plan.stage1_epochs, plan.stage2_epochs, plan.averaging_fraction) == (2, 6, 0.5)
    (own,) = parse_baselines("slice:epochs=3")
    assert with_budget(own, config, training).create().epochs == 3
    for spec in parse_baselines("hnsw,knn,tree"):
        assert with_budget(spec, config, training) is spec
