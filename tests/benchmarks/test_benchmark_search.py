"""The benchmark of search: one small synthetic run, resumed."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import search


def arguments(out, *more):
    return [
        "--synthetic", "150,16", "--out", str(out), "--methods", "learned,exact,ivf-sq8",
        "--max-queries", "30", "--threads", "1", "--repeats", "1", "--timing-seconds", "0",
        "--epochs", "0", "--isolation", "none", *more,
    ]  # fmt: skip


def test_a_synthetic_run_and_its_resumption(tmp_path, capsys, monkeypatch):
    assert search.main(arguments(tmp_path)) == 0
    printed = capsys.readouterr().out
    assert "ivf-sq8" in printed and "The cheapest setting" in printed
    first = json.loads((tmp_path / "compare.json").read_text())
    assert first["environment"]["synthetic"]["n_points"] == 300
    assert {row["method"] for row in first["operating"]} == {"learned", "exact", "ivf-sq8"}

    def no_training(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr(search, "build", no_training)
    assert search.main(arguments(tmp_path)) == 0
    again = json.loads((tmp_path / "compare.json").read_text())
    assert again["curves"] == first["curves"]
    assert search.main(arguments(tmp_path, "--classifiers", "index,ova:epochs=1")) == 0
    more = json.loads((tmp_path / "compare.json").read_text())
    assert [row["method"] for row in more["rows"]] == [
        "learned", "exact", "ivf-sq8", "exact@ova:epochs=1", "ivf-sq8@ova:epochs=1",
    ]  # fmt: skip
    # What was measured over the index's classifiers still holds.
    assert [point for point in more["curves"] if point["classifiers"] == "index"] == first["curves"]
    with pytest.raises(AssertionError, match="trained again"):
        search.main(arguments(tmp_path, "--seed", "1"))


@pytest.mark.parametrize(
    "wrong",
    [[], ["--model", "m"], ["--synthetic", "9"], ["--synthetic", "9,2", "--data", "d"]],
)
def test_half_a_question_is_refused(tmp_path, wrong, capsys):
    with pytest.raises(SystemExit):
        search.main(["--out", str(tmp_path), *wrong])
    assert "--synthetic" in capsys.readouterr().err
