"""li train: one command for the full model; refusals; stopped by a signal and resumed."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from children import forked_li, forked_ranks
from cli_cases import LI, files, ok, refused
from conftest import tiny_dataset

from learned_index import IndexConfig, TrainingConfig
from learned_index.cli.main import COMMANDS, main
from learned_index.cli.shared import signals
from learned_index.cli.shared.signals import SignalStop
from learned_index.data import write_dataset
from learned_index.elias.config import EliasConfig
from learned_index.elias.model import ELIAS
from learned_index.elias.presets import PRESETS, model_configs, preset_names
from learned_index.errors import InputError
from learned_index.ranking.config import RankerConfig

QUICK = ["--encoder", "lsa:16", "--batch-size", "32", "--stage1-epochs", "2"]
QUICK += ["--stage2-epochs", "2", "--n-clusters", "6", "--validation-fraction", "0.1"]
QUICK += ["--cache", "off", "--threads", "1"]


@pytest.fixture(scope="module")
def model(text_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("train") / "model"
    ok("train", "--data", text_folder, "--out", out, *QUICK, "--evaluate-test")
    return out


def plain_numbers(metrics: dict, before: str = "") -> dict[str, float]:
    """Metrics with those of the calibration beside the others."""
    flat: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, list):
            value = {str(place): each for place, each in enumerate(value)}
        if isinstance(value, dict):
            flat |= plain_numbers(value, f"{before}{name}.")
        else:
            flat[before + name] = value
    return flat


def test_the_options_are_the_fields_of_all_configurations() -> None:
    from learned_index.cli.plan import plan
    from learned_index.cli.train import train

    for command in (train, plan):
        options = {parameter.name: parameter for parameter in command.params}
        assert len(options) == len(command.params)
        for config, prefix in (
            (EliasConfig, ""),
            (IndexConfig, ""),
            (TrainingConfig, ""),
            (RankerConfig, "ranker_"),
        ):
            for field in dataclasses.fields(config):
                assert field.metadata["help"] in options[prefix + field.name].help
    assert set(COMMANDS) >= {"train", "plan"}


def test_model_and_report(model: Path, text_folder: Path) -> None:
    report = json.loads(model.with_name("model.report.json").read_text())
    assert report["n_held_out"] == 30 and report["n_points"] == 270
    assert set(report["metrics"]) == {
        "validation, index",
        "validation, ranker",
        "test, index",
        "test, ranker",
    }
    assert report["metrics"]["test, ranker"]["P@1"] > 80
    assert report["calibration"]["method"] in ("tree", "isotonic", "logistic")
    assert {"training", "shortlists", "ranker", "calibration"} <= set(report["step_seconds"])
    assert not model.with_name("model.checkpoint").exists()
    assert isinstance(ELIAS.from_pretrained(model), ELIAS)


def test_the_table_is_for_people(text_folder: Path, tmp_path: Path) -> None:
    text = ok("train", "--data", text_folder, "--out", tmp_path / "m", *QUICK)
    for word in ("P@1", "validation, ranker", "calibration", "seconds", "report"):
        assert word in text
    assert "test, " not in text, "the test split is touched only when asked"


def test_same_options_same_bytes_also_with_a_cache(
    model: Path, text_folder: Path, tmp_path: Path
) -> None:
    options = [option for option in QUICK if option not in ("--cache", "off")]
    ok("train", "--data", text_folder, "--out", tmp_path / "m", "--cache", tmp_path / "c", *options)
    assert files(tmp_path / "m") == files(model)


def test_several_models_without_ranker(text_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "m"
    arguments = ["--n-models", 2, "--ranker", "none", "--calibration", "none", "--json"]
    report = json.loads(ok("train", "--data", text_folder, "--out", out, *QUICK, *arguments))
    assert report["n_models"] == 2 and report["ranker"] is None and report["calibration"] is None
    assert set(report["metrics"]) == {"validation, index"}
    loaded = ELIAS.from_pretrained(out)
    assert len(loaded.members) == 2 and loaded.ranker_ is None


def test_the_other_commands_take_the_model(model: Path, text_folder: Path, tmp_path: Path) -> None:
    found = json.loads(ok("search", model, "filter noise frequency", "-k", 3, "--json"))
    assert found[0]["results"][0]["label"].startswith("Signal")
    scores = [item["score"] for item in found[0]["results"]]
    assert scores == sorted(scores, reverse=True)
    probable = json.loads(
        ok("search", model, "filter noise frequency", "-k", 3, "--json", "--score", "probability")
    )
    assert [r["key"] for r in probable[0]["results"]] == [r["key"] for r in found[0]["results"]]
    ranked = json.loads(ok("evaluate", model, "--data", text_folder, "--json"))
    plain = json.loads(ok("evaluate", model, "--data", text_folder, "--json", "--score", "index"))
    report = json.loads(model.with_name("model.report.json").read_text())["metrics"]
    assert plain_numbers(ranked) == pytest.approx(plain_numbers(report["test, ranker"]))
    assert plain_numbers(plain) == pytest.approx(plain_numbers(report["test, index"]))
    info = json.loads(ok("info", model, "--json"))
    assert info["kind"] == "elias" and info["n_models"] == 1
    assert info["ranker"]["n_weights"] > 0 and info["calibration"]["method"]
    assert "n_weights" in ok("info", model)


@pytest.mark.usefixtures("methods_in_forks")
def test_the_index_of_the_model_is_compared(model: Path, text_folder: Path, tmp_path: Path) -> None:
    arguments = ["--data", text_folder, "--model", model, "--out", tmp_path / "c"]
    arguments += ["--baselines", "exact", "--cache", "off", "--threads", 1, "--json"]
    result = json.loads(ok("compare", *arguments))
    assert {row["method"] for row in result["rows"]} == {"learned", "exact"}
    assert all(row["error"] is None for row in result["rows"])


def test_without_a_ranker_ranking_and_index_are_one_score(
    text_folder: Path, tmp_path: Path
) -> None:
    options = ["--encoder", "lsa:8", "--stage1-epochs", 1, "--stage2-epochs", 0, "--cache", "off"]
    ok("train-index", "--data", text_folder, "--out", tmp_path / "i", *options)
    search = ["search", tmp_path / "i", "sort list", "--json"]
    assert ok(*search) == ok(*search, "--score", "ranking") == ok(*search, "--score", "index")
    assert "without calibration" in refused(*search, "--score", "probability")
    assert json.loads(ok("info", tmp_path / "i", "--json"))["kind"] == "elias"


def test_a_dev_split_can_validate_and_a_test_split_cannot(
    text_folder: Path, tmp_path: Path
) -> None:
    arguments = ["train", "--data", text_folder, *QUICK]
    report = json.loads(ok(*arguments, "--out", tmp_path / "a", "--validation", "dev", "--json"))
    assert report["n_points"] == 300 and report["n_held_out"] == 40
    assert "could no longer be measured" in refused(
        *arguments, "--out", tmp_path / "b", "--validation", "test"
    )
    # The test split under another name is refused all the same.
    folder = tmp_path / "data"
    shutil.copytree(text_folder, folder)
    for name in ("texts", "labels"):
        shutil.copy(folder / f"test_{name}.txt", folder / f"dev_{name}.txt")
    arguments = ["train", "--data", folder, *QUICK, "--out", tmp_path / "c"]
    assert "points of its test split" in refused(*arguments, "--validation", "dev")
    assert not (tmp_path / "c").exists() and not (tmp_path / "c.checkpoint").exists()


def test_feature_rows_can_be_trained_on(tmp_path: Path) -> None:
    from learned_index.encoders.lexical.tfidf import TfidfEncoder

    train = tiny_dataset("train", 300, seed=0)
    test = tiny_dataset("test", 40, seed=2)
    encoder = TfidfEncoder().fit(train.texts)
    splits = [
        dataclasses.replace(part, texts=None, features=encoder.encode(part.texts))
        for part in (train, test)
    ]
    write_dataset(tmp_path / "data", splits, format_name="npz")
    options = ["--encoder", "lsa", *QUICK[2:]]
    arguments = ["--data", tmp_path / "data", "--out", tmp_path / "m", *options, "--evaluate-test"]
    report = json.loads(ok("train", *arguments, "--json"))
    assert report["metrics"]["test, ranker"]["P@1"] > 70
    again = json.loads(ok("evaluate", tmp_path / "m", "--data", tmp_path / "data", "--json"))
    assert plain_numbers(again) == pytest.approx(plain_numbers(report["metrics"]["test, ranker"]))


def test_a_bag_of_words_is_trained_end_to_end(text_folder: Path, tmp_path: Path) -> None:
    options = [*QUICK[2:], "--preset", "bow", "--encoder", "bow:16", "--warm-epochs", 1]
    arguments = ["--data", text_folder, "--out", tmp_path / "m", *options, "--json"]
    report = json.loads(ok("train", *arguments, "--evaluate-test"))
    assert report["elias"]["train_encoder"] == "yes"
    assert report["metrics"]["test, ranker"]["P@1"] > 70
    assert "cannot be trained" in refused(
        "train", "--data", text_folder, "--out", tmp_path / "n", "--preset", "bow", *QUICK
    )


# -- presets ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(PRESETS))
@pytest.mark.parametrize("n_labels", [500, 300_000, 3_000_000])
def test_presets_are_usable_configurations(name: str, n_labels: int) -> None:
    configs = model_configs(name, n_labels=n_labels, training={"seed": 7})
    assert configs.training.seed == 7
    assert name in preset_names("train") + preset_names("train-index")
    if PRESETS[name]["command"] == "train-index":
        # The command says what its models consist of; presets choose index and training.
        assert (configs.model, configs.ranker) == (EliasConfig(), RankerConfig())


def test_few_labels_are_ranked_with_all_that_many_labels_save() -> None:
    accurate = model_configs("accurate", n_labels=1000)
    for name in ("fast", "cpu"):
        few, many = (model_configs(name, n_labels=n) for n in (1000, 2001))
        assert few.ranker == accurate.ranker != many.ranker
        assert few.model.ranker_shortlist == accurate.model.ranker_shortlist
        assert few.index == accurate.index
        assert many.index.shortlist_size < few.index.shortlist_size
    given = model_configs("fast", n_labels=1000, ranker={"weight_threshold": 0.2})
    assert given.ranker.weight_threshold == 0.2


def test_the_bert_preset_depends_on_the_size_of_the_data() -> None:
    rates = [
        model_configs("bert", n_labels=n).training.encoder_learning_rate
        for n in (1000, 500_000, 2_000_000)
    ]
    assert rates == sorted(rates, reverse=True) and len(set(rates)) == 3
    given = model_configs("bert", n_labels=1000, training={"encoder_learning_rate": 1e-3})
    assert given.training.encoder_learning_rate == 1e-3
    with pytest.raises(InputError, match="no preset is called"):
        model_configs("gpt", n_labels=3)


# -- refusals and interruptions -----------------------------------------------------------------


def test_refusals_before_any_work(model: Path, text_folder: Path, tmp_path: Path) -> None:
    arguments = ["train", "--data", text_folder, *QUICK]
    assert "not empty" in refused(*arguments, "--out", model)
    assert "unknown encoder" in refused(
        "train", "--data", text_folder, "--out", tmp_path / "a", "--encoder", "lsaa"
    )
    assert "n_models" in refused(*arguments, "--out", tmp_path / "a", "--n-models", 0)
    assert "No such option" in refused(*arguments, "--out", tmp_path / "a", "--ranker-colour", 1)
    assert not list(tmp_path.iterdir())


def test_what_cannot_fit_is_refused_and_forced(
    text_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("learned_index.planning.summary.free_memory", lambda: 1000)
    arguments = ["train", "--data", text_folder, "--out", tmp_path / "m", *QUICK]
    line = refused(*arguments)
    assert "1000" in line or "0.0 MiB are free" in line
    assert "--ranker none" in line and "--force" in line
    assert not (tmp_path / "m").exists()
    ok(*arguments, "--force")


def arguments_of(text_folder: Path, out: Path) -> list[str]:
    return ["train", "--data", str(text_folder), "--out", str(out), *QUICK, "--n-models", "2"]


@pytest.fixture(scope="module")
def unbroken(text_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of a training that nothing stopped."""
    whole = tmp_path_factory.mktemp("unbroken") / "whole"
    ok(*arguments_of(text_folder, whole), "--stage2-epochs", "6", "--resume")
    return whole


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_and_resume_goes_on_to_the_same_bytes(
    text_folder: Path, tmp_path: Path, unbroken: Path, number: int, code: int
) -> None:
    out, state = tmp_path / "model", tmp_path / "model.checkpoint"
    command = [*arguments_of(text_folder, out), "--stage2-epochs", "6"]
    with forked_li(*command) as process:
        deadline = time.monotonic() + 120
        while not list(state.glob("member_*/state-*")) and time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert "--resume" in errors and "Traceback" not in errors
    assert not out.exists() and state.is_dir()
    assert "--resume" in refused(*command), "a state is not thrown away unasked"
    assert "another configuration" in refused(*command, "--resume", "--seed", "9")
    report = json.loads(ok(*command, "--resume", "--json"))
    assert report["resumed"] is True and not state.exists()
    assert files(out) == files(unbroken)


@pytest.fixture
def ctrl_c_as_at_a_terminal() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c_as_at_a_terminal")
def test_the_second_ctrl_c_does_not_wait() -> None:
    stop = SignalStop()
    with stop.listening(quiet=True):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        assert stop() and stop.exit_code == 130
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("ctrl_c_as_at_a_terminal")
def test_ctrl_c_that_is_turned_off_stays_off() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop = SignalStop()
    with stop.listening(quiet=True):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        assert not stop()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.parametrize("asks", [True, False])
def test_termination_waits_for_a_training_that_is_about_to_save(monkeypatch, asks: bool) -> None:
    monkeypatch.setattr(signals, "GRACE_SECONDS", 0.2)
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM)]
    stop = SignalStop()

    def work() -> None:
        with stop.listening(quiet=True):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.05)
            if asks:
                assert stop() and stop.exit_code == 143
            time.sleep(0.4)

    if asks:
        work()
    else:
        with pytest.raises(SystemExit) as ended:
            work()
        assert ended.value.code == 143
    assert before == [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM)]


def test_presets_choose_an_encoder_that_can_read_the_data() -> None:
    from learned_index.elias.presets import preset_encoder

    assert preset_encoder("accurate", n_features=None) == "minilm:64"
    assert preset_encoder("cpu", n_features=500) == "features"
    assert preset_encoder("cpu", n_features=50_000) == "lsa"
    with pytest.raises(InputError, match="use --preset accurate"):
        preset_encoder("bow", n_features=500)


def test_sparse_features_are_read_by_an_svd_only() -> None:
    from learned_index.cli.shared.sources import make_encoder

    assert make_encoder("lsa:7", has_texts=False, seed=0).kind == "feature-svd"
    assert make_encoder("features", has_texts=False, seed=0).kind == "dense-feature-rows"
    for spec in ("lsa+minilm", "minilm", "lsa:x"):
        with pytest.raises(InputError, match="lsa:DIM"):
            make_encoder(spec, has_texts=False, seed=0)


def two_forked(words: list[str]) -> str:
    written = ""
    with forked_ranks(lambda: main(words)) as children:
        for child in children:
            out, errors = child.communicate()
            assert child.returncode == 0, errors
            written += out
    return written


def two_of_torchrun(words: list[str]) -> str:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, "--standalone", *LI[1:], *words],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "two_processes", [two_forked, pytest.param(two_of_torchrun, marks=pytest.mark.slow)]
)
def test_two_processes_train_one_model(
    text_folder: Path, tmp_path: Path, two_processes: Callable[[list[str]], str]
) -> None:
    words = ["train", "--data", str(text_folder), "--encoder", "lsa:8"]
    words += ["--stage1-epochs", "1", "--stage2-epochs", "1", "--threads", "1", "--quiet"]
    words += ["--cache", str(tmp_path / "cache"), "--out"]
    for name, train in (("one", lambda words: ok(*words)), ("two", two_processes)):
        written = train([*words, str(tmp_path / name)])
        assert written.count("1 model") == 1, written
    one, two = (ELIAS.from_pretrained(tmp_path / name) for name in ("one", "two"))
    others = two.index.state_dict()
    for name, tensor in one.index.state_dict().items():
        assert float((tensor.double() - others[name].double()).abs().max()) < 1e-4, name
    assert two.ranker_ is not None
    assert two.report_["n_held_out"] == one.report_["n_held_out"]
    assert not (tmp_path / "two.checkpoint").exists()


@pytest.mark.parametrize(("n_labels", "clusters"), [(131_073, 2048), (670_091, 8192), (10, 1)])
def test_bert_preset_takes_clusters_from_labels(n_labels: int, clusters: int) -> None:
    from learned_index.elias.presets import model_configs

    assert model_configs("bert", n_labels=n_labels).index.n_clusters == clusters
    own = model_configs("bert", n_labels=n_labels, index={"n_clusters": 5})
    assert own.index.n_clusters == 5
    assert model_configs("cpu", n_labels=n_labels).index.n_clusters is None
