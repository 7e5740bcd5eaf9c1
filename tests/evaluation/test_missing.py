"""Labels that points miss, against a search for one text at a time."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.sparse as sp
from conftest import tiny_dataset
from elias_cases import finally_ranked, fitted, train_data, without_ranker

from learned_index import ELIAS
from learned_index.data import Dataset, LabelVocabulary, labels_from_lists
from learned_index.errors import InputError
from learned_index.evaluation.missing import suggest_missing


@pytest.fixture(scope="module")
def models() -> dict[str, ELIAS]:
    trees = finally_ranked("trees", calibration="isotonic")
    return {"trees": trees, "compiled": trees.to_engine(), "ensemble": fitted(n_models=2)}


KINDS = ("trees", "compiled", "ensemble")


def forgetful(n: int = 60) -> tuple[Dataset, set[tuple[int, str]]]:
    """Points of which every fourth lost its second label, under other numbers; (row, key) of these.

    Point 1 has no label, point 2 is blank, point 3 has a label that no model knows besides.
    """
    whole = tiny_dataset("test", n, seed=5)
    keys = [*reversed(whole.vocabulary.keys), "new"]
    names = [*reversed(whole.vocabulary.texts), ""]
    rows = [[29 - int(label) for label in whole.labels[row].indices] for row in range(n)]
    lost = {(row, keys[rows[row].pop()]) for row in range(0, n, 4)}
    rows[1], texts = [], list(whole.texts)
    rows[3].append(30)
    texts[2] = "  "
    data = Dataset(
        split=whole.split,
        labels=labels_from_lists(rows, 31),
        texts=texts,
        vocabulary=LabelVocabulary(keys, names),
        ids=[f"p{row}" for row in range(n)],
    )
    return data, lost


def plain(model: ELIAS, data: Dataset, threshold: float) -> list[tuple[float, float, int, str]]:
    """(probability, score, row, key) of all suggestions, one search a text, by keys alone."""
    found = []
    for row, text in enumerate(data.texts):
        own = {data.vocabulary.keys[label] for label in data.labels[row].indices}
        p = model.search([text], model.n_labels, score="probability")
        score = model.search([text], model.n_labels)
        scores = dict(zip(score.ids[0].tolist(), score.scores[0].tolist(), strict=True))
        for label, probability in zip(p.ids[0].tolist(), p.scores[0].tolist(), strict=True):
            if label < 0 or not own:
                continue
            key = model.vocabulary.keys[label]
            if probability >= threshold and key not in own:
                found.append((probability, scores[label], row, key))
    return sorted(found, key=lambda each: (-each[0], -each[1], each[2]))


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("kind", KINDS)
def test_suggestions_are_those_of_a_plain_loop(models, kind, threshold, monkeypatch):
    model, (data, _) = models[kind], forgetful()
    monkeypatch.setattr("learned_index.evaluation.missing.BATCH", 7)
    found = suggest_missing(model, data, threshold=threshold)
    expected = plain(model, data, threshold)
    assert len(expected) > 3
    got = [(s.probability, s.score, s.row, s.key) for s in found.suggestions]
    if kind != "ensemble":  # isotonic: steps of equal probability, in them the scores decide
        assert len({p for p, *_ in expected}) < len({score for _, score, *_ in expected})
    if kind == "ensemble" and threshold == 0.0:  # labels behind the ranked ones share a score
        got, expected = sorted(got), sorted(expected)
    np.testing.assert_allclose([g[:2] for g in got], [e[:2] for e in expected], atol=1e-6)
    assert [g[2:] for g in got] == [e[2:] for e in expected]
    assert (found.n_found, found.n_points_found) == (len(expected), len({e[2] for e in expected}))
    assert (found.split, found.threshold, found.n_points) == ("test", threshold, 60)
    assert (found.n_unlabelled, found.n_unanswered) == (1, 1)
    for s in found.suggestions:
        assert (s.id, s.text) == (f"p{s.row}", data.texts[s.row])
        assert s.labels == data.label_names(s.row) != []
        assert s.label == model.vocabulary.name(model.vocabulary.id(s.key))


@pytest.mark.parametrize("kind", KINDS)
def test_a_limit_keeps_the_first_and_counts_all(models, kind, monkeypatch):
    model, (data, _) = models[kind], forgetful()
    whole = suggest_missing(model, data, threshold=0.1)
    monkeypatch.setattr("learned_index.evaluation.missing.BATCH", 16)
    for limit in (1, 5, 10_000):
        found = suggest_missing(model, data, threshold=0.1, limit=limit)
        assert found.suggestions == whole.suggestions[:limit]
        assert (found.n_found, found.n_points_found) == (whole.n_found, whole.n_points_found)


def test_labels_that_were_removed_are_found(models):
    data, lost = forgetful(n=200)
    found = suggest_missing(models["trees"], data, threshold=0.5)
    pairs = {(s.row, s.key) for s in found.suggestions}
    assert len(pairs & lost) > 0.8 * len(lost)
    assert len(pairs - lost) < 0.2 * len(lost)


def test_given_vectors_and_fewer_labels_a_point(models):
    model, (data, _) = models["trees"], forgetful()
    vectors = model.encode(data.texts)[0]
    seen = []
    found = suggest_missing(
        model, data, threshold=0.1, vectors=vectors, progress=lambda *done: seen.append(done)
    )
    assert found == suggest_missing(model, data, threshold=0.1)
    assert seen == [(60, 60)]
    first = suggest_missing(model, data, threshold=0.1, k=1)
    best = {row: int(model.search([data.texts[row]], 1).ids[0, 0]) for row in range(data.n_points)}
    expected = [s for s in found.suggestions if model.vocabulary.id(s.key) == best[s.row]]
    assert first.suggestions == expected


def test_nothing_is_missing_where_everything_is_there(models):
    train = train_data()
    data = Dataset(
        split="dev", labels=sp.csr_matrix(np.ones((9, 30), np.float32)), texts=train.texts[:9],
        vocabulary=train.vocabulary,
    )  # fmt: skip
    found = suggest_missing(models["trees"], data, threshold=0.0)
    assert (found.n_found, found.n_points_found, found.suggestions) == (0, 0, [])


def test_what_is_found_is_json(models):
    found = suggest_missing(models["trees"], forgetful()[0]).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["suggestions"]


def test_a_model_without_calibration_is_refused():
    train = train_data()
    model = without_ranker().fit(train.texts, train.labels, vocabulary=train.vocabulary)
    with pytest.raises(InputError, match=r"without calibration.*--calibration auto"):
        suggest_missing(model, train)


def unlike(train: Dataset) -> Dataset:
    keys = [f"x{key}" for key in train.vocabulary.keys]
    return Dataset(
        split="test", labels=train.labels, texts=train.texts, vocabulary=LabelVocabulary(keys)
    )


@pytest.mark.parametrize(
    ("options", "data", "said"),
    [
        ({"threshold": 1.5}, train_data(), "threshold is 1.5, expected 0.0 to 1.0"),
        ({"threshold": float("nan")}, train_data(), "finite"),
        ({"limit": 0}, train_data(), "limit is 0, expected at least 1"),
        ({"k": 2.0}, train_data(), "expected a whole number"),
        ({"vectors": np.ones((2, 16))}, train_data(), "got 2 vectors for 300 points"),
        ({}, train_data().subset(np.arange(0)), "has no points"),
        ({}, unlike(train_data()), "no label in common"),
    ],
)
def test_what_does_not_fit_is_refused(models, options, data, said):
    with pytest.raises(InputError, match=said):
        suggest_missing(models["trees"], data, **options)
