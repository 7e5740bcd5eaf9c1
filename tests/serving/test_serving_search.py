"""Search, scores, labels and cards over HTTP against the model itself."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cli_cases import ok
from serving_cases import TEXT, TEXTS, answers, built, expected, pairs, serving  # noqa: F401

from learned_index.elias.model import ELIAS


@pytest.fixture(scope="module")
def models(built):  # noqa: F811
    return {"tiny": built[0], "fast": built[1]}


@pytest.fixture(scope="module")
def client(models):
    with serving(models) as client:
        yield client


@pytest.fixture(scope="module")
def tiny(models):
    return ELIAS.from_pretrained(models["tiny"])


@pytest.mark.parametrize("name", ["tiny", "fast"])
def test_answers_are_those_of_li_search_bit_for_bit(client, models, name):
    found = answers(client, TEXTS, k=4, model=name)["answers"]
    asked = ["-k", 4, "--score", "ranking", "--json", "--threads", 1]
    told = json.loads(ok("search", models[name], *TEXTS, *asked))
    assert found == [each["results"] for each in told]
    assert sum(map(len, found)) > len(TEXTS)


@pytest.mark.parametrize("score", ["ranking", "probability", "index"])
def test_each_score_is_that_of_the_model(client, tiny, score):
    assert pairs(answers(client, TEXTS, k=5, score=score)) == expected(tiny, TEXTS, 5, score=score)


def test_filters_and_knobs_are_those_of_the_model(client, tiny):
    names = ["cooking", "Music", "signal"]
    options = {"beam_width": 3, "shortlist_size": 8}
    for name in ("allow", "deny"):
        found = answers(client, TEXTS, k=5, **{name: names}, **options)
        assert pairs(found) == expected(tiny, TEXTS, 5, **{name: names}, **options)
    assert answers(client, TEXTS, allow=[])["answers"] == [[] for _ in TEXTS]


@pytest.mark.parametrize("score", ["ranking", "probability", "index"])
def test_a_threshold_leaves_the_labels_whose_score_is_high_enough(client, tiny, score):
    found = expected(tiny, TEXTS, 6, score=score)
    middle = float(np.median([value for row in found for _, value in row]))
    kept = [[each for each in row if each[1] >= middle] for row in found]
    assert pairs(answers(client, TEXTS, k=6, score=score, threshold=middle)) == kept
    assert 0 < sum(map(len, kept)) < sum(map(len, found))


def test_the_best_threshold_is_that_of_the_model(client, tiny):
    found = pairs(answers(client, TEXTS, k=6, threshold="best"))
    assert found == expected(tiny, TEXTS, 6, threshold="best")
    assert 0 < sum(map(len, found)) < 6 * len(TEXTS)


def test_vectors_are_answered_by_the_index(client, tiny):
    vectors = tiny.encode(TEXTS)[0]
    found = answers_of_vectors(client, vectors.tolist(), score="index", k=3)
    assert pairs(found) == expected(tiny, TEXTS, 3, score="index")
    for wrong, why in (
        ({"vectors": vectors.tolist()}, "send texts"),
        ({"vectors": [[1.0]], "score": "index"}, "numbers"),
        ({"vectors": [[1e300] * 16], "score": "index"}, ""),
    ):
        answer = client.post("/v1/search", json=wrong)
        assert answer.status_code == 422 and why in answer.json()["detail"]


@pytest.mark.parametrize(
    ("sent", "headers", "told"),
    [
        ('{"texts": ["a"]}', {}, "the body is no JSON object; expected one, with the header"),
        ('{"texts": ["a"]}', {"Content-Type": "text/plain"}, "read as text/plain"),
        ("", None, "the body is empty, expected a JSON object"),
        ('{"texts": ["a', None, "the body is no JSON, at character 11"),
        ('{"text": ["a"]}', None, "text: there is no such field here; did you mean 'texts'?"),
        ('{"texts": ["a"], "k": 0}', None, "k: got 0, expected greater than or equal to 1"),
        ('{"texts": "a"}', None, "texts: got 'a', expected a list"),
        ('{"texts": [7]}', None, "texts.0: got 7, expected a string"),
        (
            '{"texts": ["a"], "threshold": "bst"}',
            None,
            "threshold: got 'bst', expected a number or 'best'",
        ),
        ('{"texts": ["a"], "threshold": NaN}', None, "threshold: got nan, expected"),
    ],
)
def test_what_a_request_lacks_is_told_in_words(client, sent, headers, told):
    usual = {"Content-Type": "application/json"}
    answer = client.post("/v1/search", content=sent, headers=usual if headers is None else headers)
    detail = answer.json()["detail"]
    assert answer.status_code == 422 and told in detail and "\n" not in detail
    if headers is not None:
        assert "Content-Type: application/json" in detail


def test_paths_and_methods_that_are_not_there_are_told(client):
    wrong = client.get("/v1/serch")
    assert wrong.status_code == 404 and "did you mean '/v1/search'?" in wrong.json()["detail"]
    wrong = client.get("/v1/search")
    assert wrong.status_code == 405 and wrong.headers["Allow"] == "POST"
    assert wrong.json()["detail"] == "GET is not answered at /v1/search, expected POST"


def answers_of_vectors(client, vectors, **fields):
    answer = client.post("/v1/search", json={"vectors": vectors, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_explanations_are_those_of_the_model(client, tiny):
    found = answers(client, [TEXT, ""], k=2, explain=True)["answers"]
    for each in found[0]:
        assert each["why"] == json.loads(json.dumps(tiny.explain(TEXT, each["key"])[0].to_dict()))
    assert len(found[0]) == 2 and found[1] == []


def test_labels_that_are_named_are_scored(client, tiny):
    asked = {"texts": [*TEXTS, " "], "labels": ["music", "Cooking"]}
    found = client.post("/v1/score", json=asked).json()["scores"]
    scores = tiny.score(asked["texts"], asked["labels"])
    assert found[:-1] == scores[:-1].tolist()
    assert found[-1] == [None, None]


def test_labels_are_listed_by_parts_of_their_names(client, tiny):
    found = client.get("/v1/labels", params={"limit": 1000}).json()
    assert [each["key"] for each in found["labels"]] == list(tiny.vocabulary.keys)
    some = client.get("/v1/labels", params={"query": "COOK", "offset": 1, "limit": 2}).json()
    assert some["total"] == 5 and [x["key"] for x in some["labels"]] == [
        "cooking/basics", "cooking/advanced",
    ]  # fmt: skip
    assert some["labels"][0]["training_points"] == int(
        tiny.label_counts[tiny.vocabulary.id("cooking/basics")]
    )


def test_cards_tell_what_a_model_can(client, models, tiny):
    cards = client.get("/v1/models").json()["models"]
    assert [card["name"] for card in cards] == ["tiny", "fast"]
    assert client.get("/v1/models/fast").json() == cards[1]
    assert [card["can_learn"] for card in cards] == [True, False]
    assert cards[0]["n_labels"] == tiny.n_labels and cards[0]["is_calibrated"]
    assert client.get("/v1/models/none").status_code == 404


def test_answers_do_not_depend_on_who_else_asks(client, tiny):
    """Also through the batcher: 30 requests at once, with different k."""
    from concurrent.futures import ThreadPoolExecutor

    asked = [(TEXTS[n % len(TEXTS)], 1 + n % 3) for n in range(30)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda each: pairs(answers(client, [each[0]], k=each[1])), asked))
    assert found == [expected(tiny, [text], k) for text, k in asked]
