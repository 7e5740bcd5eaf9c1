"""The times of label changes: what is timed, on a small model."""

from __future__ import annotations

import json

from click.testing import CliRunner
from conftest import tiny_dataset
from elias_cases import finally_ranked

from benchmarks.label_change_times import main
from learned_index.data import write_dataset


def test_every_change_is_timed(tmp_path):
    write_dataset(tmp_path / "data", [tiny_dataset("test", 40, seed=2)], format_name="text")
    finally_ranked("linear").save_pretrained(tmp_path / "model")
    out = tmp_path / "times.json"
    result = CliRunner().invoke(
        main,
        ["--model", str(tmp_path / "model"), "--data", str(tmp_path / "data"), "--labels", "9",
         "--removed", "4", "--runs", "1", "--out", str(out), "--quiet"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    rows = json.loads(out.read_text())["rows"]
    done = {(row["what"], row["work"]) for row in rows}
    for what in ("index", "engine", "model", "compiled model"):
        assert {(what, "add 9"), (what, "remove 4")} <= done
    assert {("model", "learn one text"), ("model", "learn a new label")} <= done
    assert ("with segment", "search one vector") in done
    assert all(row["seconds"] > 0 for row in rows)
    assert "| engine | compact |" in result.stdout
