"""li analyse from end to end, on a model without ranker and on a full one."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import tiny_dataset
from elias_cases import without_ranker

from learned_index import TrainingConfig
from learned_index.cli import main
from learned_index.data import Dataset, LabelVocabulary, labels_from_lists, write_dataset
from learned_index.elias.config import EliasConfig
from learned_index.elias.model import ELIAS
from learned_index.encoders import LSAEncoder
from learned_index.evaluation.analysis import analyse_index
from learned_index.evaluation.plots import plot_analysis
from learned_index.index.config import IndexConfig

INDEX = IndexConfig(n_clusters=5, beam_width=2, edges_per_cluster=15)
TRAINING = TrainingConfig(seed=3, batch_size=32, stage1_epochs=2, stage2_epochs=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("analyse")
    train, test = tiny_dataset("train", 200, seed=0), tiny_dataset("test", 50, seed=1)
    write_dataset(root / "data", [train, test], format_name="text")
    model = without_ranker(LSAEncoder(dim=8), INDEX, training=TRAINING).fit(
        train.texts, train.labels, vocabulary=train.vocabulary
    )
    model.save_pretrained(root / "model")
    full = ELIAS(LSAEncoder(dim=8), INDEX, training=TRAINING, config=EliasConfig(n_models=2)).fit(
        train.texts, train.labels, vocabulary=train.vocabulary
    )
    full.save_pretrained(root / "full")
    return root


def li(folder, *arguments, model="model"):
    return CliRunner().invoke(
        main,
        ["analyse", "--model", str(folder / model), "--data", str(folder / "data"),
         "--threads", "1", "--cache", "off", *map(str, arguments)],
    )  # fmt: skip


def test_json_is_what_the_function_says(folder):
    result = li(folder, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    model, test = ELIAS.from_pretrained(folder / "model"), tiny_dataset("test", 50, seed=1)
    expected = analyse_index(
        model.index, model.search(test.texts, 100), test.labels, model.label_counts
    ).to_dict()
    assert report["groups"] == expected["groups"]
    edges = expected["graphs"][0]["edges"]
    assert report["graphs"][0]["edges"]["bin_counts"] == edges["bin_counts"]
    assert report["graphs"][0]["partition"] == expected["graphs"][0]["partition"]
    assert (report["split"], report["n_points"], report["n_labels"]) == ("test", 50, 30)


def test_files_and_tables(folder, tmp_path):
    result = li(folder, "--out", tmp_path / "out", "--groups", 3, "--edge-threshold", 0.1)
    assert result.exit_code == 0, result.output
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["analysis.json", "analysis.png", "edges.csv", "groups.csv"]
    with (tmp_path / "out" / "groups.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["n_labels"]) for row in rows] == [10, 10, 10]
    with (tmp_path / "out" / "edges.csv").open() as file:
        total = sum(int(row["edges"]) for row in csv.DictReader(file))
    report = json.loads((tmp_path / "out" / "analysis.json").read_text())
    assert total == report["graphs"][0]["edges"]["n_edges"] > 0
    assert (tmp_path / "out" / "analysis.png").read_bytes().startswith(b"\x89PNG")
    for text in ("R@100", "above 0.1", "stage-1 edges that remain"):
        assert text in result.stdout


def test_an_ensemble_tells_the_edges_of_each_model(folder, tmp_path):
    result = li(folder, "--json", "--out", tmp_path, model="full")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert len(report["graphs"]) == 2
    model, test = ELIAS.from_pretrained(folder / "full"), tiny_dataset("test", 50, seed=1)
    expected = analyse_index(
        model.members, model.search(test.texts, 100), test.labels, model.label_counts
    )
    assert report["groups"] == expected.to_dict()["groups"]
    assert (tmp_path / "analysis.png").exists()
    shown = li(folder, model="full").stdout
    assert "model 2" in shown and "Means of 2 models" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "clusters 2" in li(folder, "--wide", model="full").stdout


def test_labels_that_were_never_trained_are_told(folder, tmp_path):
    test = tiny_dataset("test", 20, seed=1)
    keys = [*test.vocabulary.keys, "new"]
    rows = [[*test.labels[row].indices.tolist(), 30] for row in range(20)]
    data = Dataset(
        split="test",
        labels=labels_from_lists(rows, 31),
        vocabulary=LabelVocabulary(keys),
        texts=test.texts,
    )
    write_dataset(tmp_path / "data", [data], format_name="text")
    result = li(folder, "--data", tmp_path / "data")
    assert result.exit_code == 0, result.output
    assert "20 pairs have a label that was never trained" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "dev"], "dev"),
        (["--model", "nowhere"], "nowhere"),
        (["--data", "nowhere"], "nowhere"),
        (["--groups", "0"], "0"),
        (["--edge-threshold", "2"], "0<=x<=1"),
    ],
)
def test_unusable_input_is_one_line_and_exit_code_2(folder, tmp_path, arguments, message):
    result = li(folder, "--out", tmp_path / "out", *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output and "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


def test_a_model_without_counts_is_refused(folder, tmp_path):
    model = ELIAS.from_pretrained(folder / "model")
    model.label_counts = None
    model.save_pretrained(tmp_path / "model")
    result = li(folder, "--model", tmp_path / "model")
    assert result.exit_code == 2 and "how often" in result.stderr


def test_a_group_that_nothing_asks_for_is_drawn(folder, tmp_path):
    model = ELIAS.from_pretrained(folder / "model")
    truth = tiny_dataset("test", 1, seed=1).labels
    found = analyse_index(
        model.index, np.tile(np.arange(30), (1, 1)), truth, model.label_counts, k=30
    )
    assert None in found.recall
    plot_analysis(found, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000
