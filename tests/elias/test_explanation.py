"""Explanations: the parts add up to the scores that the model gives."""

import json
import math

import numpy as np
import pytest
from elias_cases import finally_ranked, fitted, queries, train_data, without_ranker

from learned_index import ELIAS
from learned_index.errors import InputError


@pytest.fixture(scope="module")
def models() -> dict[str, ELIAS]:
    train = train_data()
    alone = without_ranker().fit(train.texts, train.labels, vocabulary=train.vocabulary)
    trees = finally_ranked("trees")
    return {
        "trees": trees,
        "compiled": trees.to_engine(),
        "linear": finally_ranked("linear"),
        "product": fitted(),
        "ensemble": fitted(n_models=2),
        "alone": alone,
    }


KINDS = ("trees", "compiled", "linear", "product", "ensemble", "alone")


def score_of(why) -> float:
    total = why.constant + sum(each.part for each in why.evidence)
    if why.form == "logarithm":
        return why.scale * math.exp(total)
    return why.scale / (1.0 + math.exp(-total))


@pytest.mark.parametrize("kind", KINDS)
def test_the_parts_add_up_to_the_score_in_the_models_order(models, kind):
    model = models[kind]
    width = min(8, model.n_labels)
    for text in queries(5):
        found = model.search([text], width)
        ids = found.ids[0][found.ids[0] >= 0]
        reasons = model.explain(text, ids.tolist())
        assert [why.place for why in reasons] == list(range(1, len(ids) + 1))
        for why, score in zip(reasons, found.scores[0], strict=False):
            assert why.score == pytest.approx(float(score), abs=1e-6)
            assert score_of(why) == pytest.approx(why.score, rel=1e-4, abs=1e-7)
            weights = [abs(each.part) for each in why.evidence]
            assert weights == sorted(weights, reverse=True)


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_and_counts_are_the_models(models, kind):
    model, text = models[kind], queries(1)[0]
    found = model.search([text], 4)
    labels = found.ids[0][found.ids[0] >= 0].tolist()
    reasons = model.explain(text, labels)
    assert [why.key for why in reasons] == [model.vocabulary.keys[label] for label in labels]
    assert [why.n_points for why in reasons] == model.label_counts[labels].tolist()
    if model.calibrator_ is None:
        assert {why.probability for why in reasons} == {None}
        return
    wanted = model.search([text], 4, score="probability").scores[0]
    np.testing.assert_allclose([why.probability for why in reasons], wanted[: len(labels)], 1e-5)


@pytest.mark.parametrize("kind", ["trees", "ensemble", "alone"])
def test_paths_give_the_probability_of_the_index(models, kind):
    model, text = models[kind], queries(1)[0]
    found = model.search([text], 5, score="index")
    labels = found.ids[0][found.ids[0] >= 0].tolist()
    for why, p in zip(model.explain(text, labels), found.scores[0], strict=False):
        assert len(why.index) == len(model.members)
        for part in why.index:
            products = [each.score * each.weight for each in part.paths]
            assert products == sorted(products, reverse=True)
            assert part.path == pytest.approx(max(products, default=0.0))
            assert part.p == pytest.approx(part.path**part.exponent * part.classifier)
        assert np.mean([part.p for part in why.index]) == pytest.approx(float(p), rel=1e-4)


def test_words_vector_and_bias_add_up_to_the_margin(models):
    model, text = models["trees"], queries(1)[0]
    sparse, x = model.features.encode([text]), model.encode([text])[0]
    for label in range(model.n_labels):
        part = model.explain(text, label)[0].ranker
        q = float(model.ranker_.score(sparse, x, np.array([[label]]))[0, 0])
        assert part.margin == pytest.approx(q, abs=1e-5)
        total = sum(word.part for word in part.words) + part.vector + part.bias
        assert part.margin == pytest.approx(total, abs=1e-5)
        assert all(word.term in text.lower() or " " in word.term for word in part.words)


def test_words_that_are_spelled_like_the_name_add_up_to_the_evidence(models):
    model, told = models["trees"], 0
    for text in queries(3):
        for label in range(model.n_labels):
            why = model.explain(text, label)[0]
            value = next(each.value for each in why.evidence if each.name == "name_likeness")
            assert why.spelled.likeness == pytest.approx(value, abs=1e-6)
            assert sum(each.part for each in why.spelled.words) == pytest.approx(value, abs=1e-6)
            assert all(each.term in text.lower().split() for each in why.spelled.words)
            told += len(why.spelled.words)
    assert told > 10
    assert models["product"].explain(queries(1)[0], 0)[0].spelled is None


def test_nearest_records_are_told_with_their_labels(models):
    model, train = models["trees"], train_data()
    text = train.texts[0]
    truth = [train.vocabulary.name(int(label)) for label in train.labels[0].indices]
    records = model.explain(text, truth[0])[0].records
    nearest = records.by_words[0]  # the text itself is remembered
    assert nearest.has_label and set(truth) <= set(nearest.labels)
    for shown in (records.by_words, records.by_vectors):
        similarities = [each.similarity for each in shown]
        assert similarities == sorted(similarities, reverse=True)
    assert 1 <= records.with_label_by_words <= records.n_asked


def test_a_label_that_is_not_shortlisted_has_no_place(models):
    small = fitted(rerank_size=2)
    text = queries(1)[0]
    listed = set(small.search([text], 2).ids[0].tolist())
    other = next(label for label in range(small.n_labels) if label not in listed)
    why = small.explain(text, other)[0]
    assert why.place is None and why.score == pytest.approx(score_of(why), rel=1e-4)
    model = models["trees"]
    width = model.config.rerank_size + 50
    found = set(model.search([text], width).ids[0].tolist())
    for label in set(range(model.n_labels)) - found:
        assert model.explain(text, label)[0].place is None


def test_a_compiled_model_has_no_paths(models):
    assert models["compiled"].explain(queries(1)[0], 0)[0].index == []


def test_an_explanation_is_json(models):
    for model in models.values():
        for reason in model.explain(queries(1)[0], range(model.n_labels)):
            why = reason.to_dict()
            assert json.loads(json.dumps(why, allow_nan=False)) == why


@pytest.mark.parametrize(
    ("text", "labels", "said"),
    [
        ("   ", 0, "no answer"),
        (["one", "two"], 0, "got 2 texts, expected one"),
        ("sort a list", "no such label", "no label is called"),
        ("sort a list", [0, "x"], "names and ids do not mix"),
        ("sort a list", 10**6, "expected 0 to"),
    ],
)
def test_what_cannot_be_explained_is_refused(models, text, labels, said):
    with pytest.raises(InputError, match=said):
        models["trees"].explain(text, labels)
