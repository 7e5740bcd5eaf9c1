"""The ablations from end to end, on small data."""

from __future__ import annotations

import csv
import json

import pytest
from click.testing import CliRunner
from conftest import tiny_dataset

from benchmarks.ablation.command import ablate
from learned_index import LearnedGraphIndex
from learned_index.data import write_dataset
from learned_index.elias.presets import PRESETS

QUICK = ["--encoder", "lsa:8", "--n-clusters", "4", "--beam-width", "2", "--batch-size", "32"]
QUICK += ["--stage1-epochs", "2", "--stage2-epochs", "1", "--validation-fraction", "0.1"]
QUICK += ["--threads", "1", "--cache", "off"]


def li(*arguments):
    return CliRunner().invoke(ablate, [*map(str, arguments)])


@pytest.fixture(scope="module")
def run(text_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("ablate") / "out"
    arguments = [
        "--data", text_folder, "--out", out, "--steps", "stage1,stage2,ranker,one-vs-all",
        "--lambda", "0.05,3", "--edges", "2,0.1", "--prune-threshold", "0.2,0.6",
        "--prune-top-k", "3", *QUICK,
    ]  # fmt: skip
    return out, arguments, li(*arguments)


def test_tables_files_and_exit_code(run):
    out, _, result = run
    assert result.exit_code == 1, "one row fails"
    assert "M = 0.1 L/C = 1 failed" in result.stderr and "Traceback" not in result.stderr
    report = json.loads((out / "ablate.json").read_text())
    tables = {}
    for row in report["rows"]:
        tables.setdefault(row["table"], []).append(row["row"])
    assert tables == {
        "build-up": ["stage 1", "+ stage 2", "+ ranker", "one-vs-all"],
        "lambda": ["lambda 0.05", "lambda 3"],
        "edges": ["M = 2 L/C = 15", "M = 0.1 L/C = 1"],
        "prune-threshold": ["all edges", "weight from 0.2", "weight from 0.6"],
        "prune-top-k": ["all edges", "3 a cluster"],
    }
    assert report["split"] == "dev", "never the test split unless asked"
    assert report["configuration"]["training"]["stage2_epochs"] == 1
    for table in tables:
        assert (out / f"{table}.png").read_bytes().startswith(b"\x89PNG")
    with (out / "ablate.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(report["rows"])
    assert float(lines[0]["P@1"]) == report["rows"][0]["metrics"]["P@1"]
    for text in ("+ ranker", "one-vs-all", "lost labels", "failed", "dev: 40 points"):
        assert text in result.stdout


def test_a_second_run_reads_what_is_there(run, monkeypatch):
    out, arguments, first = run
    fit, trained = LearnedGraphIndex.fit, []

    def recorded(index, *values, **options):
        trained.append(index.config.edges_per_cluster)
        return fit(index, *values, **options)

    monkeypatch.setattr(LearnedGraphIndex, "fit", recorded)
    monkeypatch.setattr("learned_index.baselines.ova.OneVsAll.build", None)
    again = li(*arguments, "--json")
    rows = json.loads(again.stdout)["rows"]
    assert rows == json.loads((out / "ablate.json").read_text())["rows"]
    assert [row["error"] is None for row in rows].count(False) == 1
    assert trained == [1], "only what failed is tried again"
    assert first.exit_code == again.exit_code


def test_held_out_points_and_the_test_split(tmp_path):
    splits = [tiny_dataset("train", 200, seed=0), tiny_dataset("test", 30, seed=2)]
    write_dataset(tmp_path / "data", splits, format_name="text")
    arguments = ["--data", tmp_path / "data", "--steps", "stage1", "--json", *QUICK]
    held = li(*arguments, "--out", tmp_path / "a")
    report = json.loads(held.stdout)
    assert (report["split"], report["n_queries"], report["n_points"]) == ("held-out", 20, 180)
    final = li(*arguments, "--out", tmp_path / "b", "--split", "test")
    report = json.loads(final.stdout)
    assert (report["split"], report["n_queries"], report["n_points"]) == ("test", 30, 200)


def test_a_trained_encoder(text_folder, tmp_path):
    """Index and one-vs-all train the bag of words; the plain options of the training count."""
    result = li(
        "--data", text_folder, "--out", tmp_path, "--preset", "bow", "--json",
        "--steps", "stage1,one-vs-all", *QUICK, "--encoder", "bow:8", "--warm-epochs", "1",
        "--ova-epochs", "2",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert [row["row"] for row in report["rows"]] == ["stage 1", "one-vs-all"]
    assert report["rows"][1]["details"] == {"epochs": 2}
    assert any((tmp_path / "models").glob("*/encoder"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "stage3"], "stage3 unknown"),
        (["--steps", "none"], "nothing is asked for"),
        (["--lambda", "a,b"], "'a' is no number"),
        (["--prune-top-k", "1.5"], "'1.5' is no number"),
        (["--models", "1"], "1"),
        (["--data", "nowhere"], "nowhere"),
        (["--split", "train"], "train"),
    ],
)
def test_unusable_input_is_exit_code_2(text_folder, tmp_path, arguments, message):
    result = li("--data", text_folder, "--out", tmp_path / "out", *QUICK, *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output and "Traceback" not in result.output
    assert not (tmp_path / "out" / "ablate.json").exists()


def test_help_names_every_preset():
    text = li("--help").stdout
    assert all(name in text for name in PRESETS) and "benchmarks.ablation" in text
