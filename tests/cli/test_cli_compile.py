"""li compile: a smaller, faster model with the same answers; allow- and deny-lists; refusals."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cli_cases import ok, refused
from conftest import tiny_dataset

from learned_index import ELIAS, SearchEngine
from learned_index.data import write_dataset
from learned_index.errors import InputError

QUICK = ["--encoder", "lsa:16", "--batch-size", "32", "--stage1-epochs", "3"]
QUICK += ["--stage2-epochs", "3", "--n-clusters", "6", "--cache", "off", "--threads", "1"]


@pytest.fixture(scope="module", params=["train-index", "train"])
def models(request, text_folder: Path, tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    more = ["--validation-fraction", "0.1"] if request.param == "train" else []
    ok(request.param, "--data", text_folder, "--out", folder / "model", *QUICK, *more)
    ok("compile", folder / "model", "--out", folder / "fast", "--beam-width", 6)
    return folder / "model", folder / "fast"


def test_a_compiled_model_answers_like_the_model(models):
    trained, fast = (ELIAS.from_pretrained(path) for path in models)
    assert isinstance(fast, ELIAS) and isinstance(fast.index, SearchEngine)
    texts = tiny_dataset("test", 40, seed=2).texts
    expected, found = trained.search(texts, 3), fast.search(texts, 3)
    assert (expected.ids[:, 0] == found.ids[:, 0]).mean() > 0.9
    assert abs(expected.scores - found.scores).max() < 0.1
    assert fast.index.config.beam_width == 6
    with pytest.raises(InputError, match="compiled"):
        fast.to_engine()


WARM = """
import sys
from numba.core.dispatcher import Dispatcher
from learned_index import ELIAS
from learned_index.cli import main
from learned_index.elias.warm_up import warm_up
def used():
    modules = [module for name, module in sys.modules.items() if name.startswith("learned_index")]
    kernels = [each for m in modules for each in vars(m).values() if isinstance(each, Dispatcher)]
    return {(each.py_func, types) for each in kernels for types in each.signatures}
warm_up(ELIAS.from_pretrained(sys.argv[1]))
warm = used()
assert len(warm) > 5
for options in (
    [], ["sort a list"], ["--explain"], ["-k", "40"], ["--beam-width", "1"], ["--score", "index"],
    ["--allow", sys.argv[2]], ["--deny", sys.argv[2]], ["--shortlist-size", "5", "--json"],
):
    main(["search", sys.argv[1], "bread oven salt", *options], standalone_mode=False)
assert not used() - warm, used() - warm
"""


def test_a_warm_up_uses_all_that_searches_use(models, tmp_path):
    (tmp_path / "labels.txt").write_text("cooking\nmusic\n")
    command = [sys.executable, "-c", WARM, models[1], tmp_path / "labels.txt"]
    done = subprocess.run(command, check=False, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_metrics_and_info_of_a_compiled_model(models, text_folder):
    values = [
        json.loads(ok("evaluate", path, "--data", text_folder, "--json", "--threads", 1))
        for path in models
    ]
    assert values[1]["P@1"] > values[0]["P@1"] - 6
    info = json.loads(ok("info", models[1], "--json"))
    assert info["engine"]["precision"] == "int8" and info["engine_bytes"] > 0
    assert info["n_edges"] > 0 and "training" not in info


def test_lists_of_labels(models, tmp_path):
    fast = ELIAS.from_pretrained(models[1])
    query = tiny_dataset("test", 1, seed=2).texts[0]
    best = json.loads(ok("search", models[1], query, "-k", 3, "--json"))[0]["results"]
    names = tmp_path / "names"
    names.write_text(f"{best[1]['label']}\n\n{best[2]['key']}\n", encoding="utf-8")
    for model in models:  # not compiled, and compiled
        allowed = json.loads(ok("search", model, query, "--allow", names, "--json"))[0]["results"]
        assert {r["key"] for r in allowed} == {best[1]["key"], best[2]["key"]}
        denied = json.loads(ok("search", model, query, "--deny", names, "-k", 3, "--json"))[0]
        keys = [r["key"] for r in denied["results"]]
        assert keys[0] == best[0]["key"] and not {best[1]["key"], best[2]["key"]} & set(keys)
        assert len(keys) == 3 < len(fast.vocabulary)
    names.write_text("no such label\n", encoding="utf-8")
    for model in models:
        assert "no label 'no such label'" in refused("search", model, query, "--deny", names)
        assert "none is missing" in refused("search", model, query, "--deny", tmp_path / "none")


def test_tuning(models, text_folder, tmp_path):
    arguments = ["compile", models[0], "--out", tmp_path / "tuned", "--tune", text_folder]
    arguments += ["--split", "train", "-k", 3, "--recall", 0.9, "--json", "--threads", 1]
    report = json.loads(ok(*arguments))
    assert report["tuning"]["recall"] >= 0.9
    assert report["engine"]["beam_width"] == report["tuning"]["beam_width"]
    assert ELIAS.from_pretrained(tmp_path / "tuned").index.config.to_dict() == report["engine"]
    files = [path for path in (tmp_path / "tuned").rglob("*") if path.is_file()]
    assert report["model_bytes"] == sum(path.stat().st_size for path in files)


def test_refusals(models, text_folder, tmp_path):
    trained, fast = models
    assert "compiled" in refused("compile", fast, "--out", tmp_path / "again")
    assert "not empty" in refused("compile", trained, "--out", fast)
    folder = tmp_path / "data"
    write_dataset(folder, [tiny_dataset("train", 50, seed=0)], format_name="text")
    x = tmp_path / "x"
    assert "no dev split" in refused("compile", trained, "--out", x, "--tune", folder)
    assert "compiled" in refused("analyse", "--model", fast, "--data", text_folder)
    arguments = ["--data", text_folder, "--baselines", "exact", "--out", tmp_path / "y"]
    assert "compiled" in refused("compare", "--model", fast, *arguments)
    assert not x.exists()
