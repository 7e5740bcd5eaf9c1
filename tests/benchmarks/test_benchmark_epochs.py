"""Trainings of different lengths on few points."""

from __future__ import annotations

import json

from click.testing import CliRunner
from conftest import tiny_dataset

from benchmarks.epochs import main
from learned_index.data import write_dataset


def test_each_length_is_trained_and_measured(tmp_path):
    write_dataset(tmp_path / "data", [tiny_dataset("train", 200, seed=0)], format_name="text")
    options = ["--data", str(tmp_path / "data"), "--encoder", "lsa:8", "--seeds", "1"]
    options += ["--points", "120", "--asked", "40", "--out", str(tmp_path / "few.json")]
    done = CliRunner().invoke(main, [*options, "--epochs", "auto", "--epochs", "2,3"])
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "few.json").read_text())["rows"]
    assert [row["epochs"] for row in rows] == ["10, 10 (auto)", "2, 3"]
    assert all(0 < row["P@1"] <= 100 and row["s"] > 0 for row in rows)
    none_left = CliRunner().invoke(main, [*options, "--points", "200"])
    assert none_left.exit_code and "needs texts, and more than 200" in none_left.output
