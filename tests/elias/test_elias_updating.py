"""Models that learn from new points and corrections: answers, what stays, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from conftest import tiny_dataset
from elias_cases import finally_ranked, fitted, new_model, queries, train_data

from learned_index import ELIAS
from learned_index.data import LabelVocabulary
from learned_index.errors import InputError
from learned_index.metrics import evaluate, label_propensities

STRANGE = ["bread sort rain", "rain bread sort bread", "sort rain bread rain"]
"""Words of three topics, together as in no training text."""


@pytest.fixture(scope="module")
def model() -> ELIAS:
    return finally_ranked("trees")


def same_answers(found, expected) -> None:
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.scores, expected.scores)


def test_new_points_are_learned_counted_and_remembered(model: ELIAS) -> None:
    more = tiny_dataset("train", 200, seed=7)
    before = model.search(queries(), 5)
    learned = model.update(more.texts, more.labels)
    same_answers(model.search(queries(), 5), before)
    added = np.bincount(more.labels.indices, minlength=model.n_labels)
    assert learned.label_counts.tolist() == (model.label_counts + added).tolist()
    assert learned.n_points == model.n_points + 200
    assert len(learned.records_) == len(model.records_) + 200
    assert learned.vocabulary == model.vocabulary
    truth, weights = more.labels, label_propensities(more.labels)
    old, new = (
        evaluate(m.search(more.texts, 100), truth, propensities=weights)["P@1"]
        for m in (model, learned)
    )
    assert new >= old


def test_names_that_no_label_has_become_labels(model: ELIAS) -> None:
    learned = model.update(STRANGE, [["mixed"], ["mixed", "Cooking"], "mixed"])
    assert learned.vocabulary.keys == (*model.vocabulary.keys, "mixed")
    assert [name for name, _ in learned.predict([STRANGE[0]], 1)[0]] == ["mixed"]
    assert learned.label_counts[-1] == 3
    assert learned.label_counts[:-1].sum() == model.label_counts.sum() + 1
    again = learned.update(STRANGE, [["mixed"], ["other"], ["other"]])
    assert again.n_labels == model.n_labels + 2


def test_edges_to_labels_that_join_are_no_stronger_than_those_of_others(model: ELIAS) -> None:
    learned = model.update(STRANGE, [["mixed"]] * 3)
    labels, weights = learned.index.graph.arrays()
    new = weights[labels == model.n_labels]
    assert 0 < new.max() < 1
    before, after = (m.search(queries(), 5, score="index").ids for m in (model, learned))
    assert (before == after).mean() > 0.8


def test_labels_of_another_numbering_are_matched_by_key(model: ELIAS) -> None:
    keys = list(model.vocabulary.keys)
    names = LabelVocabulary(["new", "unused", keys[4], keys[2]], ["New thing", "", "", ""])
    labels = sp.csr_matrix(np.array([[1, 0, 1, 0], [0, 0, 0, 1], [1, 0, 0, 0]], np.float32))
    learned = model.update(STRANGE, labels, vocabulary=names)
    assert learned.vocabulary.keys == (*keys, "new")
    assert learned.vocabulary.name(len(keys)) == "New thing"
    expected = np.append(model.label_counts, 2)
    expected[[4, 2]] += 1
    assert learned.label_counts.tolist() == expected.tolist()


def test_a_correction_is_answered(model: ELIAS) -> None:
    text = STRANGE[0]
    wrong = model.search([text], 1).ids[0, 0]
    right = (int(wrong) + 3) % model.n_labels
    learned = model
    for _ in range(2):
        learned = learned.learn(text, [right])
    scores = [m.score([text], [right, int(wrong)])[0] for m in (model, learned)]
    assert scores[0][0] < scores[0][1]
    assert scores[1][0] > scores[0][0]
    assert scores[1][1] < scores[0][1]
    assert model.learn(text, "brand new").predict([text], 1)[0][0][0] == "brand new"


def test_labels_that_no_new_point_concerns_keep_their_margins(model: ELIAS) -> None:
    learned = model.learn(STRANGE[0], [1])
    sparse, x = model.features.encode(queries()), model.encode(queries())[0]
    ids = np.tile(np.arange(model.n_labels), (len(x), 1))
    old, new = (m.ranker_.score(sparse, x, ids) for m in (model, learned))
    best = set(model.search([STRANGE[0]], 10).ids[0].tolist()) | {1}
    rest = [label for label in range(model.n_labels) if label not in best]
    np.testing.assert_array_equal(old[:, rest], new[:, rest])
    assert (old[:, 1] != new[:, 1]).any()


def test_a_model_that_learned_is_saved_compiled_and_explains(model: ELIAS, tmp_path) -> None:
    learned = model.update(STRANGE, [["mixed"]] * 3)
    learned.save_pretrained(tmp_path / "model")
    loaded = ELIAS.from_pretrained(tmp_path / "model")
    same_answers(loaded.search(queries(), 5), learned.search(queries(), 5))
    assert (
        loaded.to_engine().search(queries(), 1).ids == learned.search(queries(), 1).ids
    ).mean() > 0.9
    assert loaded.explain(STRANGE[0], "mixed")[0].label == "mixed"


@pytest.mark.parametrize("config", [{"ranker": "none"}, {"records": "no"}, {"n_models": 2}])
def test_models_of_other_parts_learn_too(config) -> None:
    model = fitted(validation_fraction=0.4, **config)
    more = tiny_dataset("train", 60, seed=7)
    learned = model.update(more.texts, more.labels)
    assert learned.n_points == model.n_points + 60
    assert len(learned.members) == len(model.members)
    assert not np.array_equal(
        learned.members[-1].label_classifiers()[0], model.members[-1].label_classifiers()[0]
    )
    learned.search(queries(), 5)


def test_a_sample_of_the_records_is_kept_on_request() -> None:
    small = finally_ranked("trees", keep_sample=50, label_text="off")
    assert len(small.records_) == 50
    assert len(small.update(STRANGE, [[0], [1], [2]]).records_) == 53


def test_what_cannot_be_learned_is_refused(model: ELIAS) -> None:
    with pytest.raises(InputError, match="compiled"):
        model.to_engine().update(STRANGE, [[0]] * 3)
    with pytest.raises(InputError, match="was removed"):
        model.remove_labels("Cooking").update(STRANGE, [["Cooking"]] * 3)
    with pytest.raises(InputError, match="no point has a label"):
        model.update(STRANGE, [[], [], []])
    with pytest.raises(InputError, match="got 3 texts and 2 rows"):
        model.update(STRANGE, [[0], [1]])
    with pytest.raises(InputError, match="knows no word"):
        model.update(["xyzzy", STRANGE[0]], [["fresh"], ["Cooking"]])
    with pytest.raises(InputError, match="records"):
        fitted(ranker="none").update(STRANGE, [["fresh"]] * 3)
    with pytest.raises(InputError, match="another kind"):
        model.update(sp.csr_matrix(np.eye(3, dtype=np.float32)), [[0]] * 3)
    with pytest.raises(InputError, match="expected one"):
        model.learn(STRANGE, [0])  # type: ignore[arg-type]


def test_points_that_say_nothing_are_left_out(model: ELIAS) -> None:
    learned = model.update(["xyzzy", STRANGE[0], STRANGE[1]], [[0], [1], []])
    assert learned.n_points == model.n_points + 1


def test_the_training_data_are_not_needed(tmp_path) -> None:
    """A model that was loaded learns as the one that was trained."""
    train = train_data()
    model = finally_ranked("trees")
    model.save_pretrained(tmp_path / "model")
    loaded = ELIAS.from_pretrained(tmp_path / "model")
    del train
    same_answers(
        loaded.update(STRANGE, [[0]] * 3).search(queries(), 5),
        model.update(STRANGE, [[0]] * 3).search(queries(), 5),
    )


def test_records_are_remembered_on_request_without_a_final_ranker(tmp_path) -> None:
    model = fitted(final_ranker="fixed", records="yes")
    assert model.final_ranker_ is None
    assert fitted(final_ranker="fixed").records_ is None
    same_answers(model.search(queries(), 5), fitted(final_ranker="fixed").search(queries(), 5))
    model.save_pretrained(tmp_path / "model")
    learned = ELIAS.from_pretrained(tmp_path / "model").update(STRANGE, [["mixed"]] * 3)
    new = learned.n_labels - 1
    mine, others = learned.score([STRANGE[0], queries()[0]], [new])[:, 0]
    assert mine > others
    why = learned.explain(STRANGE[0], "mixed")[0]
    assert why.records is not None


def test_a_label_that_never_had_a_point_is_learned_like_a_new_one() -> None:
    """Its id was there, but nothing was known of it."""
    train = train_data()
    names = list(train.vocabulary.keys)
    wider = sp.hstack([train.labels, sp.csr_matrix((train.n_points, 1))], format="csr")
    fit = {"validation_fraction": 0.4, "final_ranker": "trees", "label_text": "off"}
    dead = new_model(**fit).fit(train.texts, wider, vocabulary=[*names, "mixed"])
    assert "mixed" not in [name for name, _ in dead.predict([STRANGE[0]], 3)[0]]
    learned = dead.update(STRANGE, [["mixed"]] * 3)
    assert learned.n_labels == dead.n_labels
    assert [name for name, _ in learned.predict([STRANGE[0]], 1)[0]] == ["mixed"]
    assert learned.label_counts[-1] == 3
