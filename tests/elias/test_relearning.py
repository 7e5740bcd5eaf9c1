"""The final order, learned anew from the points of an update before the model learns from them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from conftest import tiny_dataset
from elias_cases import finally_ranked, queries

from learned_index import ELIAS, LearnedGraphIndex
from learned_index.elias.final_ranking import evidence_of, listed
from learned_index.elias.relearning import with_final_order, with_index_anew, with_words_grown
from learned_index.ranking.final_ranker import FinalRanker


@pytest.fixture(scope="module")
def model() -> ELIAS:
    """One whose final ranker has learned that wrong labels are right."""
    model = copy.copy(finally_ranked("linear"))
    found, evidence, right = gathered(model, *seen_by(model, tiny_dataset("train", 120, seed=9)))
    misled = FinalRanker("linear", names=model.final_ranker_.names)
    misled.fit(evidence, found.ids, ~right & (found.ids >= 0))
    misled.report_["n_known"] = 100
    model.final_ranker_ = misled
    return model


def seen_by(model: ELIAS, points):
    return model.encode(points.texts), model.features.encode(points.texts), points.labels


def gathered(model: ELIAS, vectors, sparse, labels):
    head, _ = model.shortlist(vectors, model.config.rerank_size)
    found = listed(model, head, sparse, vectors[0], names=model.final_ranker_)
    truth = labels.toarray() > 0
    right = np.array(
        [[label >= 0 and truth[row, label] for label in ids] for row, ids in enumerate(found.ids)]
    )
    return found, evidence_of(model, found, sparse, model.final_ranker_), right


def precision(model: ELIAS, points) -> float:
    best = model.search(points.texts, 1).ids[:, 0]
    return float(points.labels[np.arange(len(best)), best].mean())


def test_it_learns_from_what_the_model_says_of_points_that_it_has_not_seen(model: ELIAS) -> None:
    points = tiny_dataset("train", 200, seed=7)
    given = seen_by(model, points)
    learned = with_final_order(model, *given)
    found, evidence, right = gathered(model, *given)
    expected = FinalRanker("linear", names=model.final_ranker_.names)
    scores = expected.fit(evidence, found.ids, right)
    np.testing.assert_array_equal(
        learned.final_ranker_.score(evidence, found.ids), expected.score(evidence, found.ids)
    )
    assert learned.final_ranker_.report_["n_known"] == model.n_points
    counts = learned.calibrator_.report_
    assert counts["n_points"] == 200 and counts["n_pairs"] == (found.ids >= 0).sum()
    assert scores.shape == found.ids.shape
    assert learned.report_["calibration"] == counts


def test_a_misled_order_is_mended_by_an_update_and_the_old_model_stays(model: ELIAS) -> None:
    test = tiny_dataset("test", 60, seed=2)
    n = model.n_points
    before = model.search(queries(), 5)
    learned = model.update(tiny_dataset("train", n, seed=7).texts,
                           tiny_dataset("train", n, seed=7).labels)  # fmt: skip
    assert precision(learned, test) > precision(model, test) + 0.3
    after = model.search(queries(), 5)
    np.testing.assert_array_equal(before.ids, after.ids)
    np.testing.assert_array_equal(before.scores, after.scores)


def test_it_stays_until_the_points_have_doubled_and_a_hundred_are_new(model: ELIAS) -> None:
    some, few = (seen_by(model, tiny_dataset("train", n, seed=7)) for n in (110, 99))
    assert with_final_order(model, *few) is model
    final = model.final_ranker_
    old_index = copy.copy(model)
    old_index.n_indexed = 0
    for n_known, stays in ((model.n_points, True), ((model.n_points + 110) // 2, False)):
        final.report_["n_known"] = n_known
        assert (with_final_order(old_index, *some) is old_index) == stays
    final.report_["n_known"] = 100


def test_an_order_that_is_as_good_stays() -> None:
    good = finally_ranked("linear")
    assert good.final_ranker_.report_["n_known"] < good.n_points  # held-out points came back
    points = tiny_dataset("train", 2 * good.n_points, seed=7)
    assert with_final_order(good, *seen_by(good, points)) is good


def test_at_most_as_many_points_are_asked_as_a_training_would_hold_out(model: ELIAS) -> None:
    small = copy.copy(model)
    small.config = type(model.config)(**{**model.config.to_dict(), "validation_limit": 120})
    points = tiny_dataset("train", model.n_points, seed=7)
    learned = with_final_order(small, *seen_by(small, points))
    assert learned.final_ranker_.report_["n_points"] == 120


def small_index(model: ELIAS) -> ELIAS:
    """The model, as if its index had been trained on half of its points."""
    young = copy.copy(model)
    young.n_indexed = model.n_points // 2
    return young


def test_the_index_is_trained_anew_on_the_remembered_points_once_they_have_doubled(
    model: ELIAS, tmp_path
) -> None:
    assert model.n_indexed == model.n_points and with_index_anew(model) is model
    anew = with_index_anew(small_index(model))
    assert anew.n_indexed == model.n_points
    terms, unit, labels = model.records_.points()
    expected = LearnedGraphIndex(model.index.config, training=model.index.training_config).fit(
        unit / float(model.index.input_scale), labels, clustering_features=terms
    )
    x = model.encode(queries())[0]
    for found, wanted in zip(anew.index.search(x, 5), expected.search(x, 5), strict=True):
        np.testing.assert_array_equal(found, wanted)
    anew.save_pretrained(tmp_path / "model")
    assert ELIAS.from_pretrained(tmp_path / "model").n_indexed == model.n_points


def test_a_removed_label_stays_away_from_an_index_that_is_trained_anew(model: ELIAS) -> None:
    gone = int(model.search(queries(), 1).ids[0, 0])
    anew = with_index_anew(small_index(model.remove_labels([gone])))
    assert not (anew.index.search(model.encode(queries())[0], 20).ids == gone).any()


def test_an_update_trains_it_anew_and_a_correction_does_not(model: ELIAS) -> None:
    young, more = small_index(model), tiny_dataset("train", 20, seed=7)
    router = model.index.router.weight_CD
    assert young.learn(more.texts[0], "Cooking").index.router.weight_CD is router
    learned = young.update(more.texts, more.labels)
    assert learned.index.router.weight_CD is not router
    assert (learned.n_indexed, learned.n_points) == (model.n_points, model.n_points + 20)
    sample = copy.copy(young)
    sample.config = type(young.config)(**{**young.config.to_dict(), "keep_sample": 1000})
    assert with_index_anew(sample) is sample


def test_a_new_index_asks_for_a_new_order(model: ELIAS) -> None:
    points, final = tiny_dataset("train", 110, seed=7), model.final_ranker_
    final.report_["n_known"] = model.n_points - 1
    assert with_final_order(model, *seen_by(model, points)) is not model
    final.report_["n_known"] = 100


def test_words_that_only_new_points_have_get_columns_and_weights(model: ELIAS, tmp_path) -> None:
    strange = ["zebra quagga bread", "quagga zebra bread sort", "bread zebra"]
    learned = model.update(strange, [["Cooking"]] * 3)
    known, terms = model.features.terms_, learned.features.terms_
    assert terms[: len(known)] == known and "zebra" in terms and "zebra" not in known
    sparse = model.features.encode(queries())
    grown = learned.features.encode(queries())
    np.testing.assert_array_equal(grown[:, : len(known)].toarray(), sparse.toarray())
    assert grown.shape[1] == len(terms) == learned.ranker_.n_features_ == learned.records_.n_terms
    weights = learned.ranker_.sparse_weights()[:, len(known) :]
    assert weights[model.vocabulary.id("Cooking")].max() > 0
    asked = ["zebra", "zebra quagga"]
    before, after = (m.features.encode(asked).getnnz(axis=1) for m in (model, learned))
    assert (after > before).all()
    learned.save_pretrained(tmp_path / "model")
    loaded = ELIAS.from_pretrained(tmp_path / "model")
    np.testing.assert_array_equal(
        loaded.search(queries(), 5).scores, learned.search(queries(), 5).scores
    )
    assert (
        learned.to_engine().search(queries(), 1).ids == learned.search(queries(), 1).ids
    ).mean() > 0.9


def test_grown_words_change_nothing_until_something_is_learned(model: ELIAS) -> None:
    grown = with_words_grown(model, ["zebra quagga", "quagga zebra"])
    assert grown.features.dim > model.features.dim
    before, after = (m.search(queries(), 5) for m in (model, grown))
    np.testing.assert_array_equal(after.ids, before.ids)
    np.testing.assert_array_equal(after.scores, before.scores)
    assert with_words_grown(model, model.features.terms_[:1]) is model
