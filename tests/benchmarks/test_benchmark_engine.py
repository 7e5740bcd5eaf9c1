"""benchmarks/floors.py, threads.py, footprint.py run on a small model and say what they saw."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from learned_index.cli import main as li

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
QUICK = ["--encoder", "lsa:16", "--batch-size", "32", "--stage1-epochs", "2"]
QUICK += ["--stage2-epochs", "2", "--n-clusters", "6", "--cache", "off", "--threads", "1"]


@pytest.fixture(scope="module")
def model(text_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("benchmarks") / "model"
    words = ["train-index", "--data", str(text_folder), "--out", str(out), *QUICK]
    assert CliRunner().invoke(li, words).exit_code == 0
    return out


@pytest.mark.parametrize("name", ["floors", "threads"])
def test_command(name, model, text_folder, tmp_path, capsys, monkeypatch):
    module = importlib.import_module(name)
    monkeypatch.setattr(module, "ROUNDS", 1)
    out = tmp_path / "out" / "result.json"
    arguments = ["--model", model, "--data", text_folder, "--queries", 20, "-k", 3, "--out", out]
    assert module.main([str(a) for a in arguments]) == 0
    result = json.loads(out.read_text())
    table = capsys.readouterr().out
    if name == "threads":
        assert [row["threads"] for row in result["rows"]] == [1, 2, 4, 8]
        assert result["wrong_answers"] == 0 and "wrong answers: 0" in table
        assert all(row["single_qps"] > 0 and row["batch_qps"] > 0 for row in result["rows"])
    else:
        assert all(row["clusters"] == 6 and row["measured_us"] > 0 for row in result["rows"])
        for row in result["rows"]:
            floor = row["n_bytes"] / result["bandwidth_gb_s"] / 1e3
            assert row["floor_us"] == pytest.approx(floor)
            assert row["times_floor"] == pytest.approx(row["measured_us"] / floor)


@pytest.mark.parametrize("kind", ["model", "random"])
def test_footprint(kind, model, text_folder, tmp_path, capsys):
    module = importlib.import_module("footprint")
    out = tmp_path / "result.json"
    shape = ["--random", "2000,16"] if kind == "random" else ["--model", model]
    data = [] if kind == "random" else ["--data", text_folder]
    arguments = [*shape, *data, "--queries", 30, "--out", out]
    assert module.main([str(a) for a in arguments]) == 0
    result = json.loads(out.read_text())
    assert 0 < result["bytes_mb"] < result["disk_mb"] < result["bytes_mb"] + 0.1
    assert result["load_ms"] > 0 and result["n_queries"] == 30
    assert "resident" in capsys.readouterr().out
