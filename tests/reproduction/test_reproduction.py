"""Tables and figures of the paper on small data: numbers against plain loops, files, kept work."""

from __future__ import annotations

import csv
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from cli_cases import ok, refused
from conftest import tiny_dataset

from learned_index import IndexConfig, LearnedGraphIndex, TrainingConfig, plotting
from learned_index.cli.reproduce import show
from learned_index.cli.shared import sources
from learned_index.cli.shared.ablation_data import encoded_data
from learned_index.cli.shared.peers import word_features
from learned_index.data import open_dataset, write_dataset
from learned_index.elias.config import EliasConfig
from learned_index.elias.model import ELIAS
from learned_index.encoders import LSAEncoder
from learned_index.errors import InputError
from learned_index.evaluation.deciles import recall_by_group
from learned_index.evaluation.edges import label_overlap, partition_overlap
from learned_index.metrics import evaluate
from learned_index.reproduction import ablations
from learned_index.reproduction import study as study_module
from learned_index.reproduction.catalogue import ITEMS, find_items
from learned_index.reproduction.making import make_items, maker
from learned_index.reproduction.maps import visited_clusters
from learned_index.reproduction.recall import found_pairs, recall_at_every_size
from learned_index.reproduction.scores import true_label_scores
from learned_index.reproduction.study import Study, interval

pytest.importorskip("matplotlib", reason="pictures need matplotlib")
INDEX = IndexConfig(n_clusters=5, beam_width=2, edges_per_cluster=15)
TRAINING = TrainingConfig(batch_size=32, stage1_epochs=2, stage2_epochs=2)
CONFIG = EliasConfig(final_ranker="fixed", refit="no", validation_fraction=0.1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, and two models of other seeds with a report beside the first."""
    root = tmp_path_factory.mktemp("reproduction")
    train, test = tiny_dataset("train", 250, seed=0), tiny_dataset("test", 50, seed=1)
    write_dataset(root / "data", [train, test], format_name="text")
    for seed in (0, 1):
        training = TrainingConfig(**{**TRAINING.to_dict(), "seed": seed})
        model = ELIAS(LSAEncoder(dim=8), INDEX, training=training, config=CONFIG)
        model.fit(train.texts, train.labels, vocabulary=train.vocabulary)
        model.save_pretrained(root / f"model{seed}")
    report = {"encoder": "lsa:8", "train_seconds": 2.0, "step_seconds": {"training": 2.0, "x": 1.0}}
    (root / "model0.report.json").write_text(json.dumps(report))
    return root


def study_of(folder: Path, *models: str, out: str = "out", **options: object) -> Study:
    settings: dict = {"baselines": ("ova:epochs=2", "tfidf-knn", "pecos"), **options}
    return Study(
        model_paths=[folder / name for name in models or ("model0",)],
        folder=open_dataset(folder / "data"),
        data=str(folder / "data"),
        split="test",
        out=folder / out,
        encode=partial(sources.encode_split, cache="off", quiet=True),
        word_features=partial(word_features, quiet=True),
        ablation_data=partial(encoded_data, cache="off", quiet=True),
        encoder_spec="lsa:8",
        isolate=False,
        **settings,
    )


@pytest.fixture(scope="module")
def made(folder: Path) -> dict[str, dict]:
    """Everything, made once with few values of each constant."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablations, "LAMBDAS", (TRAINING.shortlist_loss_weight,))  # as the model
        patch.setattr(ablations, "KAPPAS", (2.0,))
        patch.setattr(ablations, "N_MODELS", 2)
        patch.setattr(study_module, "RESAMPLES", 100)
        patch.setattr(plotting, "DPI", 40)
        return {result["item"]: result for result in make_items(ITEMS, study_of(folder))}


def test_every_item_has_a_maker_and_a_cost() -> None:
    assert len({item.name for item in ITEMS}) == len(ITEMS) == 17
    assert all(callable(maker(item)) for item in ITEMS)
    assert find_items(["figure-5-left"])[0].in_paper == "figure 5, left"
    assert find_items(["table-7a"])[0].in_paper == "table 7a"


def test_items_are_found_by_name_by_beginning_and_all() -> None:
    assert [item.name for item in find_items(["table-7", "Figure 4"])] == [
        "table-7a", "table-7b", "figure-4",
    ]  # fmt: skip
    assert len(find_items(["figure-5"])) == 2 and len(find_items(["figure"])) == 8
    assert find_items(["all"]) == list(ITEMS) == find_items(["table", "figure", "all"])
    with pytest.raises(InputError, match=r"nothing is called 'figur-4'; did you mean 'figure-4'"):
        find_items(["figur-4"])


def test_recall_at_every_size_is_the_mean_share_of_found_labels(folder: Path) -> None:
    study = study_of(folder)
    ids = study.model.search(study.test.texts, 100).ids
    found = recall_at_every_size(ids, study.truth)
    for k in (1, 7, 100):
        plain = [
            len({*ids[row, :k].tolist()} & {*study.truth[row].indices.tolist()})
            / study.truth[row].nnz
            for row in range(len(ids))
            if study.truth[row].nnz
        ]
        assert found[:, k - 1].mean() == pytest.approx(100 * np.mean(plain))
    metrics = evaluate(ids, study.truth, propensities=study.propensities)
    assert found[:, 9].mean() == pytest.approx(metrics["R@10"])


def test_found_pairs_are_those_of_the_recall_by_group(folder: Path) -> None:
    study = study_of(folder)
    ids = study.model.search(study.test.texts, 1).ids
    found = found_pairs(ids, study.truth)
    plain = [
        label in ids[row]
        for row in range(len(ids))
        for label in sorted(study.truth[row].indices.tolist())
    ]
    assert found.tolist() == plain and 0 < found.mean() < 1
    expected = recall_by_group(ids, study.truth, study.groups, k=1).recall_G
    groups = study.groups[study.truth.indices]
    for group in np.unique(groups):
        assert 100 * found[groups == group].mean() == pytest.approx(expected[group])


def test_scores_of_true_labels_are_those_of_the_model(folder: Path) -> None:
    study = study_of(folder)
    p, ranker, labels = true_label_scores(study.model, study.test.texts, study.truth)
    wanted = study.model.score(study.test.texts, study.truth, score="index")
    np.testing.assert_array_equal(p, np.concatenate(wanted))
    np.testing.assert_array_equal(labels, study.truth.indices)
    sparse = study.model.features.encode(study.test.texts)
    vectors = study.model.encoder.encode(study.test.texts)
    ids = study.truth.indices.reshape(50, 2)  # each point has two labels
    margins = study.model.ranker_.score(sparse, vectors, ids.astype(np.int64))
    np.testing.assert_allclose(ranker, (1 / (1 + np.exp(-2 * margins))).ravel(), rtol=1e-5)


def test_the_clusters_of_a_map_are_the_first_of_the_beam_that_hold_the_label(folder: Path) -> None:
    study = study_of(folder)
    index = study.indexes[0]
    x = np.asarray(study.model.encoder.encode(study.test.texts), dtype=np.float32)
    logits = index.project(x) @ index.router.vectors().T
    weights = index.graph.weights().detach().numpy()
    held = np.unique(index.graph.edge_labels_CM.numpy()[weights > 0.25])
    assert len(held) > 5
    for label in held[held >= 0][:6].tolist():
        best = []
        for row in range(len(x)):
            holding = [
                cluster
                for cluster, at in np.argwhere(index.graph.edge_labels_CM.numpy() == label)
                if weights[cluster, at] > 0.25
            ]
            best.append(max(holding, key=lambda cluster: logits[row, cluster]))
        np.testing.assert_array_equal(visited_clusters(index, label, x), best)


def test_overlap_of_each_label_is_that_of_all() -> None:
    labels = np.array([[0, 1], [1, 2], [2, -1]])
    weights = np.array([[0.9, 0.2], [0.7, 0.1], [0.4, 0.0]], dtype=np.float32)
    found = label_overlap(labels, weights, np.array([0, 0, 1]))
    np.testing.assert_allclose(found.own_weight_L, [0.9, 0.2, 0.1], rtol=1e-6)
    assert found.is_strongest_L.tolist() == [True, False, False]
    whole = partition_overlap(labels, weights, np.array([0, 0, 1]), threshold=0.15)
    assert whole.share_above == pytest.approx(2 / 3) and whole.share_strongest == pytest.approx(
        1 / 3
    )
    assert whole.weight_share == pytest.approx(1.2 / 2.3) and whole.share_kept == 1.0
    gone = label_overlap(labels, weights, np.array([2, 0, 1]))
    assert gone.own_weight_L[0] == -np.inf and not gone.is_strongest_L[0]


def test_intervals_hold_the_mean_and_shrink_with_points() -> None:
    values = np.random.default_rng(0).random((2, 400))
    mean, low, high = interval(values)
    assert low < mean < high and mean == pytest.approx(values.mean())
    few = interval(values[:, :25])
    assert few[2] - few[1] > 2 * (high - low)
    assert all(np.isnan(interval(np.empty((2, 0)))))


def test_every_item_is_made_with_its_files(made: dict[str, dict], folder: Path) -> None:
    out = folder / "out"
    assert set(made) == {item.name for item in ITEMS}
    for name, result in made.items():
        assert "error" not in result, (name, result)
        assert result["made"] and result["rows"], name
        told = json.loads((out / f"{name}.json").read_text())
        assert "not the paper's" in told["note"] or "paper's" in told["note"]
        assert told["paper"].startswith("ELIAS (NeurIPS 2022), ") and told["n_points"] == 50
        assert told["data"].endswith("data") and told["models"] and told["environment"]
        with (out / f"{name}.csv").open() as file:
            assert len(list(csv.DictReader(file))) == len(told["rows"])
        for file in told["files"]:
            content = (out / file).read_bytes()
            if file.endswith(".png"):
                assert content.startswith(b"\x89PNG")
            if file.endswith(".svg"):
                assert b"<svg" in content and b"<dc:date>" not in content
        assert name.startswith("table") == (f"{name}.md" in told["files"])
        if name != "table-6":
            assert f"{name}.png" in told["files"]
    page = (out / "README.md").read_text()
    assert all(item.title in page for item in ITEMS) and "could not be looked up" in page


def test_a_peer_that_is_missing_is_told_and_the_others_stand(made: dict[str, dict]) -> None:
    rows = {row["method"]: row for row in made["table-1"]["rows"]}
    assert {"ELIAS, stage 1", "ELIAS, stage 2", "whole model", "ova:epochs=2", "tf-idf kNN"} <= set(
        rows
    )
    try:
        import pecos  # noqa: F401
    except ImportError:
        assert "PECOS XR-Linear" in made["table-1"]["failed"]
    for row in rows.values():
        assert row["P@1 low"] <= row["P@1"] <= row["P@1 high"]
    assert "tf-idf kNN" not in {row["method"] for row in made["table-2"]["rows"]}
    times = {row["method"]: row for row in made["table-6"]["rows"]}
    assert (
        times["whole model"]["training s"] == 3.0 and times["ELIAS, stage 2"]["training s"] == 2.0
    )


def test_numbers_of_the_model_are_those_of_its_evaluation(
    made: dict[str, dict], folder: Path
) -> None:
    study = study_of(folder)
    found = study.model.search(study.test.texts, 100)
    metrics = evaluate(found, study.truth, propensities=study.propensities)
    row = next(r for r in made["table-1"]["rows"] if r["method"] == "whole model")
    for name in ("P@1", "P@5", "PSP@5"):
        assert row[name] == pytest.approx(metrics[name])
    curve = {
        r["k"]: r["recall"] for r in made["figure-5-left"]["rows"] if r["method"] == "whole model"
    }
    assert len(curve) == 100 and curve[10] == pytest.approx(metrics["R@10"])
    deciles = [r for r in made["figure-5-right"]["rows"] if r["method"] == "whole model"]
    assert sum(r["pairs"] for r in deciles) == study.truth.nnz


def test_a_second_run_makes_nothing(made: dict[str, dict], folder: Path, monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(LearnedGraphIndex, "fit", refuse)
    items = [item for item in ITEMS if not made[item.name]["failed"]]
    assert "figure-4" in {item.name for item in items} and "table-9a" in {i.name for i in items}
    assert not any(result["made"] for result in make_items(items, study_of(folder)))
    # What failed is tried again, and finds the answers of the others.
    (again,) = make_items(find_items(["table-1"]), study_of(folder))
    assert again["made"] == bool(made["table-1"]["failed"])
    for name in ("method", "P@1", "PSP@5"):
        assert [r[name] for r in again["rows"]] == [r[name] for r in made["table-1"]["rows"]]


def test_rows_of_the_ablations_share_their_trainings(made: dict[str, dict]) -> None:
    steps = {row["row"]: row for row in made["table-3"]["rows"]}
    assert list(steps) == ["stage 1", "+ stage 2", "+ ranker", "+ calibration", "+ ensemble of 2"]
    (swept,) = made["table-9a"]["rows"]
    for same in (swept, made["table-7a"]["rows"][0], made["table-7b"]["rows"][0]):
        assert same["P@1"] == steps["+ stage 2"]["P@1"] and same["R@100"] > 0
    assert (
        made["table-7a"]["rows"][-1]["edges %"] < 100
        and made["table-7a"]["columns"][1] == "edges %"
    )
    assert "nDCG@5" in made["table-8"]["columns"]
    assert "nDCG@5" not in made["table-3"]["columns"]


def test_several_models_give_intervals_over_trainings(folder: Path) -> None:
    study = study_of(folder, "model0", "model1", out="two", baselines=("tfidf-knn",))
    found = {r["item"]: r for r in make_items(find_items(["figure-4", "table-2"]), study)}
    assert "label and trainings" in found["figure-4"]["caption"]
    rows = {row["method"]: row for row in found["table-2"]["rows"]}
    assert rows["ELIAS, stage 2"]["trainings"] == 2 == rows["ELIAS, stage 1"]["trainings"]
    models = [ELIAS.from_pretrained(folder / name) for name in ("model0", "model1")]
    p1 = [
        evaluate(
            m.index.search(m.encoder.encode(study.test.texts), 100), study.truth,
            propensities=study.propensities,
        )["P@1"]
        for m in models
    ]  # fmt: skip
    assert rows["ELIAS, stage 2"]["P@1"] == pytest.approx(np.mean(p1))


def test_the_command_makes_lists_and_refuses(
    folder: Path, text_model: Path, text_folder: Path
) -> None:
    listed = ok("reproduce", "--list")
    assert all(item.name in listed for item in ITEMS)
    where = ("--data", folder / "data", "--threads", 1, "--cache", "off")
    model = ("--model", folder / "model0")
    out = folder / "command"
    printed = ok("reproduce", "figure-3", "figure-7", *model, *where, "--out", out)
    assert "figure-7b" in printed and (out / "figure-7a.svg").is_file()
    assert "made before" in ok("reproduce", "figure-3", *model, *where, "--out", out)
    assert "did you mean 'figure-4'" in refused(
        "reproduce", "figur-4", *model, *where, "--out", out
    )
    # The model of li train-index has no ranker: figure 4 says so, the others are made.
    where = ("--data", text_folder, "--threads", 1, "--cache", "off", "--out", folder / "other")
    line = refused("reproduce", "figure-4", "figure-3", "--model", text_model, *where, code=1)
    assert "figure-4 failed: the model has no sparse ranker" in line
    assert (folder / "other" / "figure-3.png").is_file()


def test_tables_are_whole_at_80_columns(monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    names = [f"weight from 0.00{number} of the edges that are left" for number in range(4)]
    columns = ["edges of a cluster", *(f"metric {letter}" for letter in "abcdefghij")]
    rows = [dict(zip(columns, [name, *range(10000, 10010)], strict=True)) for name in names]
    result = {"item": "table-7", "title": "t", "columns": columns, "rows": rows}
    show({**result, "files": ["t.csv"], "made": True}, tmp_path)
    told = capsys.readouterr().out
    lines = told.splitlines()
    # The last line ends with a path, however long.
    assert max(map(len, lines[:-1])) <= 80 and "\u2026" not in told
    left = next(line for line in lines if line.startswith("in the CSV besides: "))
    for column in columns[1:]:
        assert (column in left) != (column in told.replace(left, ""))
    for number in range(4):
        assert f"weight from 0.00{number}" in told


def test_a_table_without_rows_is_shown(capsys, tmp_path) -> None:
    result = {"item": "table-7", "title": "t", "columns": ["name", "P@1"], "rows": []}
    show({**result, "files": ["t.csv"], "made": True}, tmp_path)
    assert "P@1" in capsys.readouterr().out
