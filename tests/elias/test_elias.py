"""ELIAS: ranking, probabilities, ensembles."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import tiny_dataset
from elias_cases import finally_ranked, fitted, new_model, queries

from learned_index.elias.ensemble import merge
from learned_index.elias.model import ELIAS
from learned_index.errors import InputError, NotFittedError


@pytest.fixture(scope="module")
def model() -> ELIAS:
    return fitted()


@pytest.fixture(scope="module")
def ensemble() -> ELIAS:
    return fitted(n_models=3)


@pytest.fixture(scope="module")
def trees() -> ELIAS:
    """Its final ranker is learned."""
    return finally_ranked("trees")


@pytest.fixture(scope="module")
def linear_ensemble() -> ELIAS:
    return finally_ranked("linear", n_models=2)


WHICH = ["model", "ensemble", "trees", "linear_ensemble"]


def test_finds_the_topic(model: ELIAS) -> None:
    test = tiny_dataset("test", 40, seed=2)
    found = model.predict(test.texts, k=5)
    right = [test.label_names(row)[0] in dict(found[row]) for row in range(40)]
    assert np.mean(right) > 0.9


@pytest.mark.parametrize("k", [1, 5, 12, 13, 29, 200])
@pytest.mark.parametrize("which", WHICH)
def test_rows_are_ordered_padded_and_without_repetition(
    which: str, k: int, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(which)
    result = model.search(queries(), k)
    assert result.ids.shape == result.scores.shape == (40, k)
    assert result.ids.dtype == np.int64 and result.scores.dtype == np.float32
    for ids, scores in zip(result.ids, result.scores, strict=True):
        found = ids[ids >= 0]
        assert len(found) == len(set(found.tolist())) > 0
        assert (ids[len(found) :] == -1).all()
        assert np.isneginf(scores[len(found) :]).all()
        assert (np.diff(scores[: len(found)]) <= 0).all()
        assert (scores[: len(found)] >= 0).all() and (scores[: len(found)] <= 1).all()


@pytest.mark.parametrize("which", WHICH)
def test_a_shorter_answer_begins_a_longer_one(which: str, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(which)
    long = model.search(queries(), 24)
    for k in (1, 12, 17):
        short = model.search(queries(), k)
        assert short.ids.tobytes() == long.ids[:, :k].tobytes()
        assert short.scores.tobytes() == long.scores[:, :k].tobytes()


def test_the_ranking_is_that_of_its_parts(model: ELIAS) -> None:
    """Oracle: search, margins and combination row by row."""
    texts = queries()
    result = model.search(texts, 12)
    for row, text in enumerate(texts):
        x = model.encoder.encode([text])
        found = model.index.search(x, 12)
        q = model.ranker_.score(model.features.encode([text]), x, found.ids)[0]
        p = np.where(found.ids[0] < 0, 0, found.scores[0]).astype(np.float64)
        score = np.sqrt(p) / (1 + np.exp(-2 * q.astype(np.float64)))
        expected = sorted((-s, n) for n, s in enumerate(score) if found.ids[0, n] >= 0)
        kept = result.ids[row][result.ids[row] >= 0]
        np.testing.assert_allclose(
            result.scores[row, : len(kept)], [-s for s, _ in expected], rtol=1e-5
        )
        by_label = dict(zip(found.ids[0].tolist(), score.tolist(), strict=True))
        np.testing.assert_allclose(
            [by_label[int(x)] for x in kept], result.scores[row, : len(kept)], rtol=1e-5
        )


def test_beyond_the_ranked_labels_the_index_decides(model: ELIAS) -> None:
    ranked, plain = (
        model.search(queries(), 25),
        model.search(queries(), 25, score="index"),
    )
    found = model.index.search(model.encoder.encode(queries()), 25)
    assert plain.ids.tobytes() == found.ids.tobytes()
    assert plain.scores.tobytes() == found.scores.tobytes()
    assert ranked.ids[:, 12:].tobytes() == found.ids[:, 12:].tobytes()
    assert {*map(frozenset, ranked.ids[:, :12].tolist())} == {
        *map(frozenset, found.ids[:, :12].tolist())
    }


@pytest.mark.parametrize("which", WHICH)
def test_answers_do_not_depend_on_batch_or_threads(
    which: str, request: pytest.FixtureRequest, with_threads
) -> None:
    model = request.getfixturevalue(which)
    texts = queries()
    for score in ("ranking", "probability"):
        whole = model.search(texts, 17, score=score)
        for row in (0, 17, 39):
            one = model.search([texts[row]], 17, score=score)
            assert one.ids.tobytes() == whole.ids[row : row + 1].tobytes()
            assert one.scores.tobytes() == whole.scores[row : row + 1].tobytes()
        with with_threads(2):
            two = model.search(texts, 17, score=score)
        assert two.ids.tobytes() == whole.ids.tobytes()
        assert two.scores.tobytes() == whole.scores.tobytes()


def test_probabilities_are_those_of_the_same_labels_in_the_same_order(model: ELIAS) -> None:
    texts = queries()
    ranking = model.search(texts, 20)
    probable = model.search(texts, 20, score="probability")
    assert probable.ids.tobytes() == ranking.ids.tobytes()
    inside = probable.ids >= 0
    assert ((probable.scores >= 0) & (probable.scores <= 1))[inside].all()
    assert np.isneginf(probable.scores[~inside]).all()
    named = model.predict_proba(texts, 20)
    assert [score for _, score in named[0]] == probable.scores[0][inside[0]].tolist()
    # Oracle: the calibrator on the (p, q) of each label.
    x = model.encoder.encode(texts)
    found = model.index.search(x, 20)
    q = model.ranker_.score(model.features.encode(texts), x, found.ids)
    p = np.where(found.ids < 0, 0, found.scores)
    expected = model.calibrator_.probability(p, q, found.ids, model.label_counts)
    for row in range(40):
        of_label = dict(zip(found.ids[row].tolist(), expected[row].tolist(), strict=True))
        mine = [of_label[x] for x in probable.ids[row].tolist() if x >= 0]
        np.testing.assert_allclose(probable.scores[row][inside[row]], mine, rtol=1e-6)


def test_an_ensemble_averages_its_members(ensemble: ELIAS) -> None:
    texts = queries()
    assert len(ensemble.members) == 3
    clusterings = {m.cluster_of_label_L.numpy().tobytes() for m in ensemble.members}
    assert len(clusterings) == 3, "different seeds cluster differently"
    x = ensemble.encoder.encode(texts)
    results = [m.search(x, 24) for m in ensemble.members]
    expected = merge(results, 12)
    plain = ensemble.search(texts, 12, score="index")
    assert plain.ids.tobytes() == expected.ids.tobytes()


@pytest.mark.parametrize("blank", ["", "  ", "\t\u2003"])
def test_a_blank_text_has_no_answer_and_changes_no_other(model: ELIAS, blank: str) -> None:
    text = "filter noise frequency"
    assert model.predict([blank, text], k=3) == [[], model.predict([text], k=3)[0]]
    assert model.search([blank], 30).ids.tolist() == [[-1] * 30]


def test_no_texts_and_wrong_arguments(model: ELIAS) -> None:
    assert model.predict([], k=3) == []
    assert model.search([], 4).ids.shape == (0, 4)
    with pytest.raises(InputError, match="list of strings"):
        model.predict("filter noise")
    with pytest.raises(InputError, match="k is 0"):
        model.search(["a"], 0)
    with pytest.raises(InputError, match="score is"):
        model.search(["a"], score="best")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="2 vectors for 1 texts"):
        model.search(["a"], vectors=np.zeros((2, 16), np.float32))
    with pytest.raises(NotFittedError, match="not trained"):
        new_model().predict(["a"])


def test_vectors_and_features_at_hand_are_used(model: ELIAS) -> None:
    texts = queries()
    mine = model.search(texts, 5)
    given = model.search(
        texts, 5, vectors=model.encoder.encode(texts), sparse=model.features.encode(texts)
    )
    assert mine.ids.tobytes() == given.ids.tobytes()
    assert mine.scores.tobytes() == given.scores.tobytes()
