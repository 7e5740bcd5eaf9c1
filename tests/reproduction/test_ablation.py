"""Ablation: rows share their work, survive interruptions, and say what failed."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from conftest import tiny_dataset

from learned_index import IndexConfig, LearnedGraphIndex, TrainingConfig
from learned_index.elias.config import EliasConfig
from learned_index.elias.presets import ModelConfigs
from learned_index.encoders import BagOfWordsEncoder, LSAEncoder, TfidfEncoder
from learned_index.errors import InputError
from learned_index.metrics import evaluate, label_propensities
from learned_index.persistence.digest import data_digest, digest
from learned_index.ranking.config import RankerConfig
from learned_index.reproduction import ablation as ablation_module
from learned_index.reproduction.ablation import ALL_EDGES, Ablation
from learned_index.reproduction.measurements import Measurement, MeasurementStore
from learned_index.reproduction.shared_training import AblationData
from learned_index.types import SearchResult

CONFIGS = ModelConfigs(
    IndexConfig(n_clusters=4, beam_width=2),
    TrainingConfig(batch_size=32, stage1_epochs=2, stage2_epochs=2, warm_epochs=1),
    RankerConfig(),
    EliasConfig(validation_fraction=0.1, train_encoder="no"),
)


@pytest.fixture(scope="module")
def data():
    train, dev = tiny_dataset("train", 300, seed=0), tiny_dataset("dev", 60, seed=1)
    encoder = LSAEncoder(dim=16).fit(train.texts)
    values = AblationData(
        points=train.texts,
        labels_NL=train.labels,
        vectors_ND=encoder.encode(train.texts),
        queries=[*dev.texts[:-1], " "],
        query_vectors=encoder.encode([*dev.texts[:-1], " "]),
        truth=dev.labels,
        features_NV=TfidfEncoder().fit(train.texts).encode(train.texts),
    )
    return values, encoder


def make(data, directory=None, **options):
    values, encoder = data
    return Ablation(data=values, encoder=encoder, configs=CONFIGS, directory=directory, **options)


class Counter:
    """Counts the trainings of indexes."""

    def __init__(self, monkeypatch):
        self.n = 0
        fit = LearnedGraphIndex.fit

        def counted(index, *arguments, **options):
            self.n += 1
            return fit(index, *arguments, **options)

        monkeypatch.setattr(LearnedGraphIndex, "fit", counted)


# -- measurements on disk -----------------------------------------------------------------------


def test_digest_does_not_depend_on_the_order_of_keys():
    assert digest({"a": 1, "b": [2, None]}) == digest({"b": [2, None], "a": 1})
    assert digest({"a": 1}) != digest({"a": 1.5})


def test_digest_of_data_changes_with_every_part():
    X = np.arange(12, dtype=np.float32).reshape(4, 3)
    Y = sp.csr_matrix(np.eye(4, dtype=np.float32))
    whole = data_digest(X, Y, ["a", "bc"], None)
    other_values, other_labels = X.copy(), Y.copy()
    other_values[3, 2] += 1
    other_labels.indices[0] = 2
    assert data_digest(np.asfortranarray(X), Y, ["a", "bc"], None) == whole
    for parts in (
        (other_values, Y, ["a", "bc"], None),
        (X.reshape(3, 4), Y, ["a", "bc"], None),
        (X, other_labels, ["a", "bc"], None),
        (X, Y, ["ab", "c"], None),
        (X, Y, ["a", "bc"], X),
    ):
        assert data_digest(*parts) != whole


def test_a_store_keeps_what_it_was_given_and_forgets_what_was_damaged(tmp_path):
    value = Measurement(metrics={"P@1": 50.0}, seconds=2.5, details={"edges": 3})
    for directory in (None, tmp_path / "store"):
        store = MeasurementStore(directory)
        assert store.get({"a": 1}) is None
        store.put({"a": 1}, value)
        assert store.get({"a": 1}) == value and store.get({"a": 2}) is None
        assert store.n_found == 0
    (path,) = (tmp_path / "store").iterdir()
    again = MeasurementStore(tmp_path / "store")
    assert again.get({"a": 1}) == value and again.n_found == 1
    for broken in ("", "{", "[]", '{"value": {"metrics": {"P@1": "x"}}}'):
        path.write_text(broken)
        assert MeasurementStore(tmp_path / "store").get({"a": 1}) is None


# -- the build-up table -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(data, tmp_path_factory):
    directory = tmp_path_factory.mktemp("ablation")
    return directory, make(data, directory).build_up(n_models=2)


def test_rows_of_the_build_up(built):
    _, rows = built
    assert [row["row"] for row in rows] == [
        "stage 1", "+ stage 2", "+ ranker", "+ calibration", "+ ensemble of 2",
    ]  # fmt: skip
    assert [row["error"] for row in rows] == [None] * 5
    seconds = [row["seconds"] for row in rows[:4]]  # the ensemble is a training of its own
    assert seconds == sorted(seconds), "the training adds up"
    assert rows[2]["metrics"]["R@100"] == rows[1]["metrics"]["R@100"]
    assert all(row["metrics"]["P@1"] > 60 for row in rows)
    assert rows[3]["details"]["method"] in ("tree", "isotonic", "logistic")
    json.dumps(rows)


def test_stage_rows_are_those_of_separate_trainings(data, built):
    values, _ = data
    ablation = make(data)
    for row, epochs in ((built[1][0], 0), (built[1][1], 2)):
        training = replace(CONFIGS.training, stage2_epochs=epochs)
        index = LearnedGraphIndex(CONFIGS.index, training=training).fit(
            values.vectors_ND, ablation.kept_labels, clustering_features=values.features_NV
        )
        ids = index.search(values.query_vectors, 100).ids
        ids[-1] = -1  # the blank text has no answer
        kept = ablation.kept_labels
        # points that are held out count neither as points nor for the labels
        kept = kept[np.flatnonzero(np.diff(kept.indptr))]
        expected = evaluate(ids, values.truth, propensities=label_propensities(kept))
        assert row["metrics"] == pytest.approx(expected)


def test_all_rows_train_on_the_points_that_calibration_leaves(data):
    ablation = make(data)
    held = ablation._elias(CONFIGS.model).held_out_rows(data[0].labels_NL)
    assert 10 < len(held) < 60
    assert np.diff(ablation.kept_labels.indptr)[held].sum() == 0
    assert ablation.label_counts.sum() == ablation.kept_labels.nnz


def test_a_second_run_trains_nothing(data, built, monkeypatch):
    directory, rows = built
    counter = Counter(monkeypatch)
    again = make(data, directory)
    assert again.build_up(n_models=2) == rows
    assert counter.n == 0 and again.store.n_found == 5


def test_the_rows_share_one_training(data, tmp_path, monkeypatch):
    counter = Counter(monkeypatch)
    ablation = make(data, tmp_path)
    ablation.build_up(["stage1", "stage2", "ranker", "calibration"])
    ablation.prune(thresholds=[0.2], top_ks=[3])
    assert counter.n == 1
    # the default lambda is the very configuration of the build-up table
    rows = ablation.sweep_lambda([CONFIGS.training.shortlist_loss_weight, 0.05])
    assert counter.n == 2
    assert rows[0]["metrics"] == ablation.build_up(["stage2"])[0]["metrics"]
    # a later run prunes the index that is there
    later = make(data, tmp_path)
    later.prune(thresholds=[0.4])
    assert counter.n == 2


def test_without_a_directory_nothing_is_written_and_work_is_still_shared(data, monkeypatch):
    counter = Counter(monkeypatch)
    ablation = make(data)
    ablation.build_up(["stage1", "stage2"])
    ablation.prune(top_ks=[2])
    assert counter.n == 1


def test_another_configuration_or_other_data_train_again(data, built, monkeypatch):
    directory, rows = built
    counter = Counter(monkeypatch)
    values, encoder = data
    other = Ablation(
        data=values,
        encoder=encoder,
        configs=CONFIGS._replace(training=replace(CONFIGS.training, seed=5)),
        directory=directory,
    )
    assert other.build_up(["stage2"])[0]["metrics"] != rows[1]["metrics"]
    assert counter.n == 1
    labels = values.labels_NL.copy()
    labels.indices[0] = (labels.indices[0] + 1) % labels.shape[1]
    labels.sort_indices()
    changed = AblationData(**{**vars_of(values), "labels_NL": labels})
    Ablation(data=changed, encoder=encoder, configs=CONFIGS, directory=directory).build_up(
        ["stage1"]
    )
    assert counter.n == 2


def vars_of(values):
    names = ("points", "labels_NL", "vectors_ND", "queries", "query_vectors", "truth")
    return {name: getattr(values, name) for name in (*names, "features_NV")}


def test_a_damaged_or_half_lost_directory_mends_itself(data, tmp_path, monkeypatch):
    rows = make(data, tmp_path).build_up(["stage1", "stage2"])
    (model,) = (tmp_path / "models").iterdir()
    counter = Counter(monkeypatch)
    # the index is damaged: it is trained again when it is needed
    file = model / "index" / "index.safetensors"
    file.write_bytes(file.read_bytes()[:-7])
    assert make(data, tmp_path).prune(thresholds=[0.5])[0]["error"] is None
    assert counter.n == 1
    # a measurement is lost
    for path in (tmp_path / "measurements").iterdir():
        if json.loads(path.read_text())["value"]["description"]["step"] == "stage1":
            path.unlink()
    again = make(data, tmp_path).build_up(["stage1", "stage2"])
    assert [row["metrics"] for row in again] == [row["metrics"] for row in rows]


def test_no_calibration_is_told_and_the_other_rows_go_on(data):
    values, encoder = data
    configs = CONFIGS._replace(model=EliasConfig(validation_fraction=0.0, train_encoder="no"))
    rows = Ablation(data=values, encoder=encoder, configs=configs).build_up(
        ["stage2", "ranker", "calibration"]
    )
    assert [row["error"] is None for row in rows] == [True, True, False]
    assert "held out" in rows[2]["error"] and rows[2]["metrics"] == {}


def test_unknown_steps_are_refused(data):
    with pytest.raises(InputError, match="stage3"):
        make(data).build_up(["stage3"])


def test_stage_2_without_epochs_is_told(data):
    values, encoder = data
    configs = CONFIGS._replace(training=replace(CONFIGS.training, stage2_epochs=0))
    rows = Ablation(data=values, encoder=encoder, configs=configs).build_up(["stage1", "stage2"])
    assert rows[0]["error"] is None
    assert "stage2_epochs 0" in rows[1]["error"]


# -- sweeps and pruning -------------------------------------------------------------------------


def test_sweep_of_edges(data):
    ablation = make(data)
    rows = ablation.sweep_edges([0.2, 1, 2, 100])
    assert [row["value"] for row in rows] == [0.2, 1, 2, 100]
    assert "raise" in rows[0]["error"], "four clusters with 2 edges cannot hold 30 labels"
    assert [row["details"]["edges"] for row in rows[1:]] == [8, 15, 30]
    assert rows[1]["row"] == "M = 1 L/C = 8"
    assert rows[3]["row"] == "M = 100 L/C = 750, all 30"


def test_pruning_rows_say_what_was_dropped(data):
    ablation = make(data)
    rows = ablation.prune(thresholds=[0.3, 1.0], top_ks=[2], keep="none")
    assert [row["table"] for row in rows] == ["prune-threshold"] * 3 + ["prune-top-k"] * 2
    whole = rows[0]
    assert whole["row"] == ALL_EDGES and whole["details"]["edges_share"] == 1.0
    assert whole["metrics"] == ablation.build_up(["stage2"])[0]["metrics"]
    shares = [row["details"]["edges_share"] for row in rows[:3]]
    assert shares == sorted(shares, reverse=True) and shares[1] < 1
    assert rows[4]["details"]["edges"] == 2
    assert rows[4]["details"]["n_unreachable"] >= 30 - 8
    index = ablation.train().index.prune(top_k=2, keep="none")
    expected = ablation.measure(index.search(data[0].query_vectors, 100))
    assert rows[4]["metrics"] == expected


def test_calibrated_order_is_by_score_with_ties_as_they_were():
    result = SearchResult(
        np.array([[4, 7, 2, -1]]), np.array([[0.2, 0.5, 0.2, -np.inf]], dtype=np.float32)
    )
    assert ablation_module._by_score(result).ids.tolist() == [[7, 4, 2, -1]]


# -- others -------------------------------------------------------------------------------------


def test_external_rows_are_kept_by_their_settings(data, tmp_path):
    calls = []

    def run():
        calls.append(1)
        n = len(data[0].queries)
        ids = np.tile(np.arange(30), (n, 1))
        ids = np.pad(ids, ((0, 0), (0, 70)), constant_values=-1)
        return SearchResult(ids, np.zeros(ids.shape, np.float32)), 1.5, {"epochs": 3}

    for settings in ({"epochs": 3}, {"epochs": 3}, {"epochs": 4}):
        row = make(data, tmp_path).external("build-up", "one-vs-all", settings, run)
        assert row["seconds"] == 1.5 and row["metrics"]["R@100"] > 90
    assert len(calls) == 2


def test_an_encoder_that_is_trained_is_trained_in_a_copy(data, tmp_path):
    values, _ = data
    encoder = BagOfWordsEncoder(dim=16, init="random").fit(values.points)
    before = encoder.encode(values.points[:5])
    configs = CONFIGS._replace(model=replace(CONFIGS.model, train_encoder="yes"))
    changed = AblationData(
        **{
            **vars_of(values),
            "vectors_ND": encoder.encode(values.points),
            "query_vectors": encoder.encode(values.queries),
        }
    )
    options = {"data": changed, "encoder": encoder, "configs": configs, "directory": tmp_path}
    rows = Ablation(**options).build_up(["stage1", "stage2", "ranker", "ensemble"], n_models=2)
    assert [row["error"] for row in rows] == [None] * 4
    np.testing.assert_array_equal(encoder.encode(values.points[:5]), before)
    # the trained encoder was saved with its index, and is found again
    rows = Ablation(**options).prune(thresholds=[0.0])
    assert rows[0]["metrics"] == rows[1]["metrics"]
