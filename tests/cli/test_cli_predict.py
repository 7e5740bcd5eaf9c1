"""li predict: the answers of a search in files of any format, resumed with the same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_cases import li, ok, refused
from conftest import tiny_dataset

from learned_index import ELIAS
from learned_index.data.predictions import points as points_module
from learned_index.data.predictions.points import LineSource
from learned_index.elias.thresholds import scored_answers
from learned_index.evaluation import predicting
from learned_index.evaluation.predicting import Asked, predict_file

TEXTS = [*(tiny_dataset("test", 40, seed=2).texts or []), "", "zzz unknown", "wind\u2028rain"]


@pytest.fixture(scope="module")
def model(calibrated_model: Path) -> ELIAS:
    return ELIAS.from_pretrained(calibrated_model)


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """43 texts, which are five blocks."""
    for module in (points_module, predicting):
        monkeypatch.setattr(module, "BLOCK", 10)
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"{text}\r\n" for text in TEXTS), encoding="utf-8", newline="")
    return path


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def test_a_file_of_texts(calibrated_model: Path, model: ELIAS, texts: Path) -> None:
    out = texts.parent / "p.jsonl"
    told = ok("predict", calibrated_model, texts, "--out", out, "-k", 4)
    assert told == f"{out}: 43 texts, 2 without an answer\n"
    found, p = scored_answers(model, TEXTS, 4)
    assert p is not None
    rows = rows_of(out)
    assert len(rows) == 43
    for row, ids, scores, probable in zip(rows, *found, p, strict=True):
        inside = ids >= 0
        assert row["labels"] == model.vocabulary.names(ids[inside])
        assert row["keys"] == [model.vocabulary.keys[i] for i in ids[inside]]
        assert np.array_equal(np.float32(row["scores"]), scores[inside])
        assert np.array_equal(np.float32(row["probabilities"]), probable[inside])
    assert sorted(each.name for each in texts.parent.iterdir()) == ["p.jsonl", "texts.txt"]


def test_a_threshold_leaves_answers_out(calibrated_model: Path, model: ELIAS, texts: Path) -> None:
    out = texts.parent / "p.jsonl"
    ok("predict", calibrated_model, texts, "--out", out, "--threshold", "best")
    expected = model.predict_proba(TEXTS, threshold="best")
    assert [row["labels"] for row in rows_of(out)] == [[n for n, _ in row] for row in expected]


def test_tables_and_data_folders(
    calibrated_model: Path, model: ELIAS, text_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pyarrow")
    table = tmp_path / "t.csv"
    table.write_text('name,head,body,tags\na,rain,"wind, cloud",x|y\nb,,bread oven,\nc,,,z\n')
    columns = ["--text", "head,body", "--id", "name"]
    ok("predict", calibrated_model, table, "--out", tmp_path / "p.jsonl", *columns)
    rows = rows_of(tmp_path / "p.jsonl")
    assert [row["id"] for row in rows] == ["a", "b", "c"]
    expected = model.predict(["rain wind, cloud", "bread oven", ""])
    assert [row["labels"] for row in rows] == [[n for n, _ in row] for row in expected]
    told = refused("predict", calibrated_model, table, "--out", tmp_path / "q.jsonl", "--text", "x")
    assert "no column 'x'" in told
    table.write_text("head,body\na,b\nc\nd,e\n")
    told = refused(
        "predict", calibrated_model, table, "--out", tmp_path / "q.jsonl", "--text", "head"
    )
    assert "row 2 has another number of columns" in told and not (tmp_path / "q.jsonl").exists()
    ok("predict", calibrated_model, text_folder, "--out", tmp_path / "p.parquet", "--split", "dev")
    measured = json.loads(
        ok(
            "evaluate", "--predictions", tmp_path / "p.parquet", "--data", text_folder,
            "--split", "dev", "--json",
        )
    )  # fmt: skip
    whole = json.loads(
        ok("evaluate", calibrated_model, "--data", text_folder, "--split", "dev", "--json")
    )
    for name in ("P@1", "P@5", "R@10", "F1@3", "macro-F1@5", "nDCG@3"):
        assert measured[name] == pytest.approx(whole[name])


@pytest.mark.parametrize("ending", ["jsonl", "parquet", "txt", "npz"])
def test_an_interrupted_run_goes_on_with_the_same_bytes(
    ending: str, calibrated_model: Path, model: ELIAS, texts: Path
) -> None:
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    source, whole, out = (
        LineSource(texts),
        texts.parent / f"w.{ending}",
        texts.parent / f"p.{ending}",
    )
    assert predict_file(model, calibrated_model, source, whole, Asked()).n_resumed == 0

    def stop(done: int, _total: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_file(model, calibrated_model, source, out, Asked(), progress=stop)
    assert not out.exists()
    asked: list[int] = []
    original = predicting.scored_answers

    def counted(*arguments: Any, **options: Any) -> Any:
        asked.append(len(arguments[1]))
        return original(*arguments, **options)

    predicting.scored_answers = counted
    try:
        found = predict_file(model, calibrated_model, source, out, Asked())
    finally:
        predicting.scored_answers = original
    assert (found.n_points, found.n_unanswered, found.n_resumed) == (43, 2, 20)
    assert asked == [10, 10, 3]
    assert out.read_bytes() == whole.read_bytes()
    assert not [each for each in texts.parent.iterdir() if each.name.startswith(".")]


def test_unfinished_work_of_other_wishes_is_not_gone_on_with(
    calibrated_model: Path, model: ELIAS, texts: Path
) -> None:
    out = texts.parent / "p.jsonl"

    def stop(done: int, _total: int) -> None:
        if done == 20:
            raise KeyboardInterrupt

    for asked in (Asked(k=3), Asked(threshold=0.5)):
        with pytest.raises(KeyboardInterrupt):
            predict_file(model, calibrated_model, LineSource(texts), out, asked, progress=stop)
    assert predict_file(model, calibrated_model, LineSource(texts), out, Asked()).n_resumed == 0
    assert len(rows_of(out)[0]["labels"]) == 10
    assert not [each for each in texts.parent.iterdir() if each.name.startswith(".")]


def test_ctrl_c_says_how_to_go_on(
    calibrated_model: Path, texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(predicting, "scored_answers", interrupted)
    result = li("predict", calibrated_model, texts, "--out", texts.parent / "p.jsonl")
    assert result.exit_code == 130
    assert "Go on with the same command" in result.stderr


def test_refusals(calibrated_model: Path, text_model: Path, texts: Path) -> None:
    out = texts.parent / "p.jsonl"
    assert "predictions are .jsonl" in refused("predict", text_model, texts, "--out", "p.csv")
    assert "no table" in refused("predict", text_model, texts, "--out", out, "--text", "a")
    told = refused("predict", text_model, texts, "--out", out, "--threshold", "best")
    assert "without calibration" in told
    assert "in 0 to 1, or best" in refused(
        "predict", text_model, texts, "--out", out, "--threshold", 2
    )
    missing = refused("predict", calibrated_model, texts.parent / "none", "--out", out)
    assert "none is missing" in missing
    (texts.parent / "empty").write_text("")
    told = refused("predict", text_model, texts.parent / "empty", "--out", out)
    assert "no texts" in told and not out.exists()
    ok("predict", text_model, texts, "--out", out, "-k", 2)
    assert set(rows_of(out)[0]) == {"labels", "keys", "scores"}
