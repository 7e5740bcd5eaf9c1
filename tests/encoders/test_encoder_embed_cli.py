"""The command ``li embed``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from encoder_models import make_bert, sample_texts

from learned_index.cli.main import main
from learned_index.encoders import LSAEncoder, TransformerEncoder, load_encoder

TRAIN, TEST = sample_texts(40), [*sample_texts(9, seed=2), "one\u2028line"]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LEARNED_INDEX_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "labels.txt").write_text("A\tfirst\nB\tsecond\n")
    for split, texts in (("train", TRAIN), ("test", TEST)):
        (folder / f"{split}_texts.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
        (folder / f"{split}_labels.txt").write_text("0 1\n" * len(texts))
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["embed", *map(str, arguments)])


def test_folder_of_splits(data: Path, tmp_path: Path) -> None:
    result = run("--data", data, "--encoder", "lsa:8", "--out", tmp_path / "v", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["dim"] == 8
    assert {split: entry["rows"] for split, entry in report["splits"].items()} == {
        "train": 40,
        "test": 10,
    }
    encoder = LSAEncoder(8).fit(TRAIN)
    np.testing.assert_array_equal(np.load(tmp_path / "v" / "train.npy"), encoder.encode(TRAIN))
    np.testing.assert_array_equal(np.load(tmp_path / "v" / "test.npy"), encoder.encode(TEST))
    assert load_encoder(tmp_path / "v" / "encoder").fingerprint() == encoder.fingerprint()
    before = (tmp_path / "v" / "test.npy").stat().st_mtime_ns
    again = run("--data", data, "--encoder", "lsa:8", "--out", tmp_path / "v")
    assert again.output.count("unchanged") == 2
    assert (tmp_path / "v" / "test.npy").stat().st_mtime_ns == before
    other = run("--data", data, "--encoder", "lsa:7", "--out", tmp_path / "v")
    assert other.output.count("written") == 2


def test_only_the_train_split_is_fitted_on(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "v"
    assert run("--data", data, "--encoder", "lsa:8", "--out", out, "--split", "test").exit_code == 0
    assert not (out / "train.npy").exists()
    np.testing.assert_array_equal(np.load(out / "test.npy"), LSAEncoder(8).fit(TRAIN).encode(TEST))


def test_saved_encoder_encodes_other_texts(data: Path, tmp_path: Path) -> None:
    run("--data", data, "--encoder", "lsa:8", "--out", tmp_path / "v")
    (tmp_path / "queries.txt").write_text("red fox\nblue sky", encoding="utf-8")
    result = run(
        "--data", tmp_path / "queries.txt", "--encoder", tmp_path / "v" / "encoder",
        "--out", tmp_path / "q.npy",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    expected = LSAEncoder(8).fit(TRAIN).encode(["red fox", "blue sky"])
    np.testing.assert_array_equal(np.load(tmp_path / "q.npy"), expected)


@pytest.mark.parametrize("cache", [[], ["--no-cache"]])
def test_interrupted_run_goes_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: list[str]
) -> None:
    bert = make_bert(tmp_path / "bert")
    monkeypatch.setattr("learned_index.encoders.chunked_file.DEFAULT_CHUNK_SIZE", 4)
    for function in ("base.EncoderBase.encode_to_file", "cache.cached_encode"):
        module, *path = function.split(".")
        target = __import__(f"learned_index.encoders.{module}", fromlist=["x"])
        for name in path:
            target = getattr(target, name)
        monkeypatch.setitem(target.__kwdefaults__, "chunk_size", 4)
    rows: list[int] = []
    encode = TransformerEncoder.encode

    def stopping(self: TransformerEncoder, texts: list[str]) -> np.ndarray:
        if sum(rows) >= 44:
            raise KeyboardInterrupt
        rows.append(len(texts))
        return encode(self, texts)

    monkeypatch.setattr(TransformerEncoder, "encode", stopping)
    arguments = ["--data", data, "--encoder", bert, "--out", tmp_path / "v", *cache]
    arguments += ["--precision", "float32"]  # to compare with it
    stopped = run(*arguments)
    assert stopped.exit_code == 130
    assert not (tmp_path / "v" / "test.npy").exists()
    assert np.load(tmp_path / "v" / "train.npy").shape == (40, 32)
    rows.clear()
    resumed = run(*arguments)
    assert resumed.exit_code == 0, resumed.output
    assert sum(rows) == 6
    monkeypatch.undo()
    monkeypatch.setenv("LEARNED_INDEX_CACHE", "off")
    expected = TransformerEncoder(bert).encode(TEST)
    np.testing.assert_allclose(np.load(tmp_path / "v" / "test.npy"), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--encoder", "tfidf", "--out", "v"], "sparse"),
        (["--encoder", "lsaa", "--out", "v"], "Did you mean 'lsa'"),
        (["--encoder", "lsa", "--out", "v.npy"], "choose one with --split"),
        (["--encoder", "lsa", "--out", "v", "--split", "dev"], "dev"),
        (["--encoder", "lsa", "--out", "v", "--batch-size", "3"], "no option batch_size"),
    ],
)
def test_bad_usage_is_one_line(
    data: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    arguments = [str(tmp_path / a) if a.startswith("v") else a for a in arguments]
    result = run("--data", data, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "v").exists()


def test_missing_data(tmp_path: Path) -> None:
    result = run("--data", tmp_path / "nowhere", "--out", tmp_path / "v")
    assert result.exit_code == 2
    assert "nowhere does not exist" in result.stderr
