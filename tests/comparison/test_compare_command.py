"""``li compare`` from end to end, on a small trained model."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import tiny_dataset, tiny_vocabulary

from learned_index import ELIAS, TrainingConfig
from learned_index.baselines import default_baselines, known_methods, parse_baselines
from learned_index.cli.main import main
from learned_index.comparison import evaluate, metric_names
from learned_index.data import Dataset, LabelVocabulary, labels_from_lists, write_dataset
from learned_index.data.naming import renumbered
from learned_index.encoders import LSAEncoder
from learned_index.evaluation.compared import SavedModel, as_trained

TRAINING = TrainingConfig(seed=3, batch_size=32, stage1_epochs=2, stage2_epochs=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data folder, and a model trained on it with a report beside it."""
    root = tmp_path_factory.mktemp("compare")
    train = tiny_dataset("train", 200, seed=0)
    write_dataset(root / "data", [train, tiny_dataset("test", 50, seed=1)], format_name="text")
    model = ELIAS(LSAEncoder(dim=8), training=TRAINING)
    model.fit(train.texts, train.labels, vocabulary=train.vocabulary)
    model.save_pretrained(root / "model")
    (root / "model.report.json").write_text(
        json.dumps({"train_seconds": 7.25, "step_seconds": {"training": 7.25, "ranker": 1.5}})
    )
    return root


def invoke(folder, *arguments):
    return CliRunner().invoke(
        main,
        ["compare", "--data", str(folder / "data"), "--model", str(folder / "model"),
         "--threads", "1", "--cache", "off", "--repeats", "2", "--timing-seconds", "0",
         *map(str, arguments)],
    )  # fmt: skip


def measured_elsewhere(folder, tmp_path, script):
    """An interpreter that is this script, and what a comparison with it ends in: a failure."""
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    result = invoke(
        folder, "--out", tmp_path / "out", "--baselines", "pecos", "--python", f"pecos={python}",
        "--json",
    )  # fmt: skip
    assert result.exit_code == 1
    return python, result


def test_writes_all_three_files_and_a_table(folder, tmp_path):
    result = invoke(folder, "--out", tmp_path / "out", "--baselines", "exact")
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert [row["method"] for row in report["rows"]] == ["learned", "exact"]
    learned, exact = report["rows"]
    assert set(metric_names()) <= set(learned)
    assert learned["build_s"] == 7.25
    assert exact["neighbour_recall@100"] == 100.0
    assert learned["peak_rss_mb"] > 50 and learned["disk_bytes"] > 1000
    assert report["environment"]["n_queries"] == 50
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "compare.csv", "compare.json", "compare.png", "methods", "operating.csv", "pareto.csv",
    ]  # fmt: skip
    assert "learned" in result.output and "queries/s" in result.output
    *tables, written = result.stdout.splitlines()
    assert max(map(len, tables)) <= 80 and written.startswith("written: ")


@pytest.mark.usefixtures("methods_in_forks")
def test_searches_over_one_vs_all_stand_beside_those_over_the_index(folder, tmp_path):
    names = ["learned", "exact", "exact@ova"]
    arguments = ["--out", tmp_path, "--baselines", "exact", "--classifiers", "index,ova", "--json"]
    result = invoke(folder, *arguments)
    assert result.exit_code == 0, result.output
    first = json.loads(result.stdout)
    assert [row["method"] for row in first["rows"]] == names
    facts = first["environment"]["classifiers"]["ova"]
    assert (facts["options"]["epochs"], facts["options"]["batch_size"]) == (3, 32)  # the index's
    index, ova = first["environment"]["exact"].values()
    assert first["rows"][2]["P@1"] == ova["P@1"] != index["P@1"]
    again = json.loads(invoke(folder, *arguments, "--repeats", "1").stdout)
    # Measured again, as it was asked otherwise, over the classifiers of the first run.
    assert again["environment"]["classifiers"]["ova"] == facts
    assert again["environment"]["repeats"] == 1
    assert [row["R@100"] for row in again["rows"]] == [row["R@100"] for row in first["rows"]]


@pytest.mark.usefixtures("methods_in_forks")
def test_a_failed_method_decides_the_exit_code(folder, tmp_path):
    result = invoke(
        folder, "--out", tmp_path, "--baselines", "learned,ivf:IVF4,Nonsense",
        "--max-queries", "20", "--json",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "ivf:IVF4,Nonsense failed: FAISS cannot build" in result.stderr
    report = json.loads(result.stdout)
    assert report["rows"][0]["error"] is None and report["rows"][1]["P@1"] is None
    assert report["environment"]["n_queries"] == 20
    assert (tmp_path / "compare.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--baselines", "hsnw"], "unknown method 'hsnw'"),
        (["--baselines", "exact", "--model", "nowhere"], "nowhere"),
        (["--baselines", "exact", "--data", "nowhere"], "nowhere"),
        (["--baselines", "exact", "--split", "dev"], "dev"),
        (["--target-recall", "99"], "target_recall is 99.0"),
        (["--classifiers", "own"], "'own' names no label classifiers"),
        (["--classifiers", "ova", "--baselines", "knn"], "none of learned, knn searches"),
        (["--max-queries", "1"], "got 1 test vectors; expected two or more"),
    ],
)
def test_unusable_input_is_one_line_and_exit_code_2(folder, tmp_path, arguments, message):
    result = invoke(folder, "--out", tmp_path / "out", *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output and "Traceback" not in result.output
    assert not (tmp_path / "out" / "compare.json").exists()


def test_a_damaged_model_is_refused(folder, tmp_path):
    shutil.copytree(folder / "model", tmp_path / "model")
    target = next((tmp_path / "model" / "member_0" / "index").glob("*.safetensors"))
    target.write_bytes(target.read_bytes()[:-9])
    result = invoke(folder, "--out", tmp_path / "out", "--model", tmp_path / "model")
    assert result.exit_code == 2 and "Traceback" not in result.output


def test_data_with_other_labels_are_refused(folder, tmp_path):
    other = Dataset(
        split="test",
        labels=labels_from_lists([[0]], 1),
        vocabulary=LabelVocabulary(["something else"]),
        texts=["a matrix"],
    )
    write_dataset(tmp_path / "data", [other], format_name="text")
    result = invoke(folder, "--out", tmp_path / "o", "--data", tmp_path / "data")
    assert result.exit_code == 2 and "no label in common" in result.output


def test_labels_are_numbered_as_the_model_does(folder):
    """A data set that numbers its labels otherwise, and has one that the model does not know."""
    model = ELIAS.from_pretrained(folder / "model")
    keys = tiny_vocabulary().keys
    data = Dataset(
        split="test",
        labels=labels_from_lists([[0, 2], [1]], 3),
        vocabulary=LabelVocabulary(["new", keys[4], keys[1]]),
        texts=["a", "b"],
    )
    truth = renumbered(model.vocabulary, data)
    assert truth.shape == (2, 31) and truth.has_sorted_indices
    assert truth[0].indices.tolist() == [1, 30] and truth[1].indices.tolist() == [4]


def test_the_saved_index_loads_alone_and_answers_alike(folder):
    model, index = ELIAS.from_pretrained(folder / "model"), SavedModel(folder / "model")()
    (vectors,) = model.encode(["matrix inverse solve", "rain and wind"])
    left, right = model.index.search(vectors, 5), index.search(vectors, 5)
    np.testing.assert_array_equal(left.ids, right.ids)
    np.testing.assert_array_equal(left.scores, right.scores)


def test_one_vs_all_is_trained_like_the_index(folder):
    model = ELIAS.from_pretrained(folder / "model")
    adapter = as_trained(parse_baselines("ova")[0], model).create()
    assert (adapter.epochs, adapter.batch_size, adapter.seed) == (3, 32, 3)
    faster = as_trained(parse_baselines("ova:epochs=9,learning_rate=0.5")[0], model).create()
    assert (faster.epochs, faster.learning_rate, faster.seed) == (9, 0.5, 3)
    hnsw = parse_baselines("hnsw")[0]
    assert as_trained(hnsw, model) is hnsw


@pytest.mark.usefixtures("methods_in_forks")
def test_the_whole_model_has_a_row_with_its_own_ranking(folder, tmp_path):
    result = invoke(folder, "--out", tmp_path, "--baselines", "model,tfidf-knn", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    _, whole, votes = report["rows"]
    test = tiny_dataset("test", 50, seed=1)
    model = ELIAS.from_pretrained(folder / "model")
    assert model.ranker_ is not None
    ids = model.search(test.texts, 100).ids
    expected = evaluate(ids, test.labels, propensities=np.ones(test.n_labels))
    assert whole["P@1"] == pytest.approx(expected["P@1"])
    assert whole["R@100"] == pytest.approx(expected["R@100"])
    assert whole["neighbour_recall@100"] is None and whole["disk_bytes"] > 1000
    assert (whole["build_s"], whole["query_arguments"]) == (8.75, {})
    assert report["environment"]["encode_ms"] > 0
    assert votes["error"] is None and votes["P@1"] > 50
    again = json.loads(
        invoke(folder, "--out", tmp_path, "--baselines", "model,tfidf-knn", "--json").stdout
    )
    assert again["curves"] == report["curves"]  # kept, not measured again


@pytest.mark.slow
@pytest.mark.usefixtures("methods_in_forks")
def test_ideas_of_an_index_are_trained_in_processes_of_their_own(folder, tmp_path):
    names = ["overlap:clusters_per_label=3", "slice"]
    result = invoke(folder, "--out", tmp_path, "--baselines", ",".join(names), "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["rows"][1:]
    assert [row["method"] for row in rows] == names
    for row in rows:
        # They have classifiers of their own: the exact best of the model's are no measure.
        assert row["neighbour_recall@100"] is None
        assert row["P@1"] > 30 and row["build_s"] > 0 and row["disk_bytes"] > 1000
        assert set(row["query_arguments"]) <= {"beam_width", "ef_search"}


@pytest.mark.usefixtures("methods_in_forks")
def test_another_interpreter_measures_without_torch(folder, tmp_path):
    """Any environment with numpy, scipy, safetensors and the package will do; here a bare one."""
    bare = tmp_path / "bare"
    bare.mkdir()
    # Shadows what the other environment need not have.
    for name in ("torch", "numba", "faiss", "sklearn", "rich", "click", "threadpoolctl"):
        (bare / f"{name}.py").write_text("raise ImportError('not in this environment')\n")
    package = "import pickle\nclass Model: pass\n"
    (bare / "wordy.py").write_text(package)
    _, result = measured_elsewhere(
        folder, tmp_path, f'PYTHONPATH="$PYTHONPATH:{bare}" exec {sys.executable} "$@"'
    )
    row = json.loads(result.stdout)["rows"][1]
    assert "libpecos cannot be imported" in row["error"]
    packages = json.loads(result.stdout)["environment"]["packages"]["pecos"]
    assert packages["numpy"] == np.__version__ and packages["libpecos"] is None


@pytest.mark.usefixtures("methods_in_forks")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--python", "pecos"], "NAME=INTERPRETER"),
        (["--python", "pecos=python"], "which is not measured"),
        (["--baselines", "exact", "--python", "exact=/no/python"], "cannot be run"),
        (["--baselines", "tree", "--python", "tree=python3"], "built from the trained model"),
    ],
)
def test_interpreters_that_cannot_measure(folder, tmp_path, arguments, message):
    result = invoke(folder, "--out", tmp_path / "out", "--max-queries", "10", *arguments)
    assert result.exit_code in (1, 2) and message in result.output


@pytest.mark.usefixtures("methods_in_forks")
def test_a_package_that_the_interpreter_lacks_is_named_with_the_remedy(folder, tmp_path):
    told = "ModuleNotFoundError: No module named 'safetensors'"
    python, result = measured_elsewhere(folder, tmp_path, f'echo "{told}" >&2\nexit 1')
    error = json.loads(result.stdout)["rows"][1]["error"]
    assert error.endswith(f"exit code 1: {told}; {python} -m pip install safetensors")


def test_the_help_names_every_method_and_its_options():
    shown = "".join(
        CliRunner().invoke(main, ["compare", "--help-all"]).output.split()
    )  # lines are wrapped
    for name in known_methods():
        assert f"{name}:" in shown
    assert "links,ef_construction" in shown and default_baselines() in shown
