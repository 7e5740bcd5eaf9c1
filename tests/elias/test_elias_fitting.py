"""ELIAS.fit: held-out points, parts left out, what is refused, trained encoders."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from cli_cases import files
from conftest import tiny_dataset
from elias_cases import N_POINTS, QUICK, fitted, new_model, queries, train_data, without_ranker

from learned_index.data import holdout_rows, without_labels
from learned_index.elias.config import EliasConfig
from learned_index.elias.model import ELIAS
from learned_index.encoders.lexical.bow import BagOfWordsEncoder
from learned_index.encoders.lexical.lsa import LSAEncoder
from learned_index.encoders.lexical.tfidf import TfidfEncoder
from learned_index.errors import InputError


@pytest.fixture(scope="module")
def model() -> ELIAS:
    return fitted()


def test_every_label_keeps_a_training_point(model: ELIAS) -> None:
    train = train_data()
    before = np.asarray(train.labels.sum(axis=0)).ravel() > 0
    rows = model.held_out_rows(train.labels)
    assert len(rows) == 30 == N_POINTS - model.n_points
    assert ((model.label_counts > 0) == before).all()
    assert rows.tolist() == holdout_rows(train.labels, 30, seed=QUICK.seed).tolist()


def test_emptied_rows() -> None:
    labels = sp.csr_matrix(np.array([[1, 1], [0, 0], [0, 1], [1, 0]], np.float32))
    emptied = without_labels(labels, np.array([0, 2]))
    assert emptied.toarray().tolist() == [[0, 0], [0, 0], [0, 0], [1, 0]]
    assert emptied.has_canonical_format
    assert without_labels(labels, np.array([], np.int64)).toarray().tolist() == (
        labels.toarray().tolist()
    )


def test_held_out_points_teach_nothing(model: ELIAS, tmp_path) -> None:
    """The same model comes from the other points alone, with the held-out ones as validation."""
    train = train_data()
    rows = model.held_out_rows(train.labels)
    kept, held = train.subset(np.setdiff1d(np.arange(N_POINTS), rows)), train.subset(rows)
    other = new_model().fit(
        kept.texts,
        kept.labels,
        vocabulary=train.vocabulary,
        validation=(held.texts, held.labels),
    )
    model.save_pretrained(tmp_path / "a")
    other.save_pretrained(tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_the_report_compares_with_and_without_ranker(model: ELIAS) -> None:
    report = model.report_
    assert set(report["validation"]) == {"with_ranker", "without_ranker"}
    assert report["n_held_out"] == 30
    assert report["calibration"]["method"] == model.calibrator_.method_
    assert report["calibration"]["calibration_error"] >= 0
    steps = {"encoding", "training", "shortlists", "ranker", "calibration"}
    assert steps < set(report["seconds"])


def test_embeddings_of_the_same_encoder_give_the_same_model(model: ELIAS, tmp_path) -> None:
    train = train_data()
    rows = model.held_out_rows(train.labels)
    kept = [t for n, t in enumerate(train.texts) if n not in set(rows.tolist())]
    encoder = LSAEncoder(dim=16).fit(kept)
    fitted(encoder, fit={"embeddings": encoder.encode(train.texts)}).save_pretrained(tmp_path / "b")
    model.save_pretrained(tmp_path / "a")
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_a_fitted_index_is_taken_as_it_is() -> None:
    train = train_data()
    base = without_ranker().fit(train.texts, train.labels)
    before = {n: t.clone() for n, t in base.index.state_dict().items()}
    model = ELIAS(base.encoder, base.index, config=EliasConfig(validation_fraction=0.1))
    model.fit(train.texts, train.labels)
    assert model.members == [base.index]
    assert all((t == before[n]).all() for n, t in base.index.state_dict().items())
    assert model.ranker_ is not None and model.calibrator_ is not None
    assert model.predict(["sort list order"], 1)[0][0][0] == "10"
    with pytest.raises(InputError, match="n_models"):
        ELIAS(base.encoder, base.index, config=EliasConfig(n_models=2))


@pytest.mark.parametrize("ranker", ["sparse", "none"])
@pytest.mark.parametrize("calibration", ["auto", "none"])
def test_parts_can_be_left_out(ranker: str, calibration: str, tmp_path) -> None:
    model = fitted(ranker=ranker, calibration=calibration)
    assert (model.ranker_ is None) == (ranker == "none")
    assert (model.calibrator_ is None) == (calibration == "none")
    model.save_pretrained(tmp_path / "m")
    again = ELIAS.from_pretrained(tmp_path / "m")
    assert again.predict(queries(), 20) == model.predict(queries(), 20)
    if calibration == "none":
        with pytest.raises(InputError, match="without calibration"):
            again.predict_proba(queries())
    else:
        assert again.predict_proba(queries(), 20) == model.predict_proba(queries(), 20)


def test_without_held_out_points_there_is_no_calibration() -> None:
    model = fitted(validation_fraction=0.0)
    assert model.calibrator_ is None and model.n_points == N_POINTS
    assert "validation" not in model.report_
    with pytest.raises(InputError, match="validation_fraction is 0"):
        fitted(validation_fraction=0.0, calibration="tree")
    with pytest.raises(InputError, match="final ranker"):
        fitted(validation_fraction=0.0, final_ranker="linear")


def test_too_few_held_out_points_for_a_calibration(caplog: pytest.LogCaptureFixture) -> None:
    model = fitted(validation_limit=6)
    assert model.calibrator_ is None and "no calibration" in caplog.text
    assert "validation" in model.report_
    with pytest.raises(InputError, match="calibration needs"):
        fitted(validation_limit=6, calibration="isotonic")


def test_small_data_hold_out_a_tenth_and_none_where_none_is_asked_for() -> None:
    labels = train_data().labels
    assert len(new_model(validation_fraction=0.02).held_out_rows(labels)) == 30
    assert len(new_model(validation_fraction=0.5).held_out_rows(labels)) == 150
    assert len(new_model(validation_fraction=0.0).held_out_rows(labels)) == 0


def test_the_test_split_is_refused_as_validation() -> None:
    test = tiny_dataset("test", 40, seed=2)
    with pytest.raises(InputError, match="test split"):
        fitted(fit={"validation": test})
    dev = replace(test, split="dev")
    model = fitted(fit={"validation": dev})
    assert model.n_points == N_POINTS and model.report_["n_held_out"] == 40


def test_what_does_not_fit_together_is_refused() -> None:
    train = train_data()
    with pytest.raises(InputError, match="299 texts and 300 rows"):
        new_model().fit(train.texts[:-1], train.labels)
    with pytest.raises(InputError, match="5 embeddings for 300"):
        fitted(fit={"embeddings": np.zeros((5, 16), np.float32)})
    with pytest.raises(InputError, match="without validation"):
        fitted(fit={"validation_embeddings": np.zeros((5, 16), np.float32)})
    with pytest.raises(InputError, match="makes sparse vectors"):
        fitted(TfidfEncoder())
    with pytest.raises(InputError, match="cannot be trained"):
        fitted(train_encoder="yes")
    with pytest.raises(InputError, match="encoder is trained"):
        fitted(BagOfWordsEncoder(dim=8), fit={"embeddings": np.zeros((300, 8), np.float32)})
    with pytest.raises(InputError, match="list of strings"):
        new_model().fit("text", [[0]])


@pytest.mark.parametrize(
    "values",
    [
        {"ranker": "dense"},
        {"calibration": "platt"},
        {"n_models": 0},
        {"rerank_size": 0},
        {"validation_fraction": 1.0},
        {"train_encoder": "maybe"},
        {"unknown": 1},
    ],
)
def test_unusable_configurations_are_refused(values: dict) -> None:
    with pytest.raises(InputError):
        EliasConfig.from_dict(values)


# -- trained encoders ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained() -> ELIAS:
    return fitted(BagOfWordsEncoder(dim=16), n_models=2)


def test_a_bag_of_words_is_trained_and_each_member_has_its_own(trained: ELIAS) -> None:
    assert trained.has_own_encoders and len(trained.encoders) == 2
    start = BagOfWordsEncoder(dim=16).fit(train_data().texts)
    tables = [encoder.bag.weight.detach().numpy() for encoder in trained.encoders]
    assert not np.array_equal(tables[0], tables[1])
    assert tables[0].shape[1] == start.bag.weight.shape[1]
    test = tiny_dataset("test", 40, seed=2)
    found = trained.predict(test.texts, k=5)
    assert np.mean([test.label_names(r)[0] in dict(found[r]) for r in range(40)]) > 0.8


def test_members_with_own_encoders_are_saved_with_them(trained: ELIAS, tmp_path) -> None:
    trained.save_pretrained(tmp_path / "m")
    assert (tmp_path / "m" / "member_1" / "encoder").is_dir()
    assert not (tmp_path / "m" / "encoder").exists()
    again = ELIAS.from_pretrained(tmp_path / "m")
    mine, theirs = trained.search(queries(), 20), again.search(queries(), 20)
    assert mine.ids.tobytes() == theirs.ids.tobytes()
    assert mine.scores.tobytes() == theirs.scores.tobytes()
    with pytest.raises(InputError, match="expected 2"):
        again.search(["a"], vectors=np.zeros((1, 16), np.float32))


def test_a_bag_of_words_can_stay_frozen() -> None:
    encoder = BagOfWordsEncoder(dim=16)
    model = fitted(encoder, train_encoder="no")
    kept = [
        text
        for n, text in enumerate(train_data().texts)
        if n not in set(model.held_out_rows(train_data().labels).tolist())
    ]
    table = BagOfWordsEncoder(dim=16).fit(kept).bag.weight.detach().numpy()
    assert np.array_equal(table, encoder.bag.weight.detach().numpy())
