"""li evaluate: predictions and two models; what is shown fits 80 columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_cases import ok, refused
from conftest import tiny_dataset
from sklearn.metrics import f1_score

from learned_index import ELIAS

TEST = tiny_dataset("test", 40, seed=2)


@pytest.fixture(scope="module")
def values(calibrated_model: Path, text_folder: Path) -> dict[str, Any]:
    arguments = ["--data", text_folder, "--json", "--intervals", "--resamples", 100]
    found: dict[str, Any] = json.loads(ok("evaluate", calibrated_model, *arguments))
    return found


def test_f1_is_that_of_scikit_learn(values: dict[str, Any], calibrated_model: Path) -> None:
    model = ELIAS.from_pretrained(calibrated_model)
    truth = TEST.labels.toarray() > 0  # the model numbers labels as the data do
    assert model.vocabulary == TEST.vocabulary
    result = model.search(TEST.texts, 100, score="probability")
    least = model.calibrator_.thresholds_.of_labels(model.label_counts)
    kept: dict[str, Any] = {f"@{k}": (result.ids >= 0) & (np.arange(100) < k) for k in (1, 3, 5)}
    kept["best"] = (result.ids >= 0) & (result.scores >= least[result.ids])
    kept["0.5"] = result.scores >= np.float32(0.5)
    by_threshold = {str(row["threshold"]): row for row in values["by_threshold"]}
    for name, mask in kept.items():
        answered = np.zeros_like(truth)
        rows, places = np.nonzero(mask)
        answered[rows, result.ids[rows, places]] = True
        used = (answered | truth).any(axis=0)
        for average, at, field in (("micro", "F1", "f1"), ("macro", "macro-F1", "macro_f1")):
            expected = 100 * f1_score(
                truth[:, used], answered[:, used], average=average, zero_division=0
            )
            told = values[at + name] if name[0] == "@" else by_threshold[name][field]
            assert told == pytest.approx(expected)


def test_intervals_hold_the_metrics(values: dict[str, Any]) -> None:
    for name, (low, high) in values["intervals"].items():
        assert low - 1e-9 <= values[name] <= high + 1e-9
    for band, metrics in values["intervals_by_frequency"].items():
        for name, (low, high) in metrics.items():
            assert low - 1e-9 <= values["by_frequency"][band][name] <= high + 1e-9
    low, high = values["intervals"]["macro-F1@5"]
    assert low < values["macro-F1@5"] < high


def test_all_tables_fit_80_columns(
    calibrated_model: Path, text_model: Path, text_folder: Path
) -> None:
    for arguments in (
        ["evaluate", calibrated_model, "--data", text_folder],
        ["evaluate", calibrated_model, "--data", text_folder, "--intervals", "--resamples", 100],
        ["evaluate", text_model, calibrated_model, "--data", text_folder, "--resamples", 100],
        ["search", calibrated_model, *TEST.texts[:3], "", "--scores", "all", "--explain"],
    ):
        lines = ok(*arguments).splitlines()
        assert max(len(line) for line in lines if not line.startswith(("A  /", "B  /"))) <= 80


def test_two_models_are_compared(
    calibrated_model: Path, text_model: Path, text_folder: Path, tmp_path: Path
) -> None:
    arguments = ["--data", text_folder, "--json", "--resamples", 200]
    found = json.loads(ok("evaluate", text_model, calibrated_model, *arguments))
    each = [
        json.loads(ok("evaluate", path, "--data", text_folder, "--json"))
        for path in (text_model, calibrated_model)
    ]
    for name in ("P@1", "nDCG@5", "PSP@3", "R@10", "F1@1", "macro-F1@3"):
        metric = found["metrics"][name]
        assert metric["a"] == pytest.approx(each[0][name])
        if not name.startswith("PSP"):  # whose propensities are those of the first model
            assert metric["b"] == pytest.approx(each[1][name])
        assert metric["difference"] == pytest.approx(metric["b"] - metric["a"])
        assert metric["low"] <= metric["difference"] <= metric["high"]
        assert 0 < metric["p"] <= 1
    # Predictions of the second are as good as the second.
    path = tmp_path / "p.jsonl"
    ok("predict", calibrated_model, text_folder, "--out", path, "-k", 100)
    same = json.loads(ok("evaluate", calibrated_model, "--predictions", path, *arguments))
    assert all(m["difference"] == 0 and m["p"] == 1 for m in same["metrics"].values())
    assert list(same["by_frequency"]) == list(found["by_frequency"])


def test_saved_answers_of_a_search_are_predictions(
    calibrated_model: Path, text_folder: Path, tmp_path: Path, values: dict[str, Any]
) -> None:
    path = tmp_path / "answers.jsonl"
    stdin = "".join(f"{text}\n" for text in TEST.texts or [])
    path.write_text(ok("search", calibrated_model, "--json", "-k", 100, stdin=stdin))
    found = json.loads(ok("evaluate", "--predictions", path, "--data", text_folder, "--json"))
    for name in ("P@3", "R@20", "F1@5"):
        assert found[name] == pytest.approx(values[name])
    rows = {row["threshold"]: row["f1"] for row in values["by_threshold"]}
    assert [row["f1"] for row in found["by_threshold"]] == pytest.approx(
        [f1 for threshold, f1 in rows.items() if threshold != "best"]
    )
    assert "calibration" not in found


def test_refusals(text_model: Path, text_folder: Path, tmp_path: Path) -> None:
    data = ["--data", text_folder]
    assert "expected one to measure or two" in refused("evaluate", *data)
    assert "got 3 models" in refused("evaluate", *[text_model] * 3, *data)
    vectors = ["--vectors", tmp_path / "v.npy"]
    assert "belongs to one model" in refused("evaluate", text_model, text_model, *data, *vectors)
    path = tmp_path / "p.jsonl"
    path.write_text('{"labels": ["quite", "other"]}\n' * 40)
    told = refused("evaluate", "--predictions", path, *data)
    assert "no predicted label is one of the data's" in told


@pytest.mark.parametrize(
    ("arguments", "guess"),
    [
        (["serch", "m"], "'search'"),
        (["search", "m", "x", "--score", "rankin"], "'ranking'"),
        (["train", "--data", "d", "--out", "o", "--preset", "accurat"], "'accurate'"),
        (["search", "m", "x", "--threshld", "1"], "--threshold"),
        (["evaluate", "m", "--data", "d", "--split", "tst"], "'test'"),
        (["evaluate", "m", "--data", "d", "--propensity", "Amazon-67K"], "'Amazon-670K'"),
    ],
)
def test_what_was_probably_meant(arguments: list[str], guess: str) -> None:
    told = refused(*arguments)
    assert "did you mean" in told.lower() and guess in told


def test_labels_that_do_not_exist_get_a_suggestion(text_model: Path, tmp_path: Path) -> None:
    told = refused("labels", "remove", text_model, "Cookin", "--out", tmp_path / "m")
    assert "did you mean 'Cooking'" in told
    (tmp_path / "names").write_text("Wether\n")
    told = refused("search", text_model, "rain", "--deny", tmp_path / "names")
    assert "did you mean 'Weather'" in told
