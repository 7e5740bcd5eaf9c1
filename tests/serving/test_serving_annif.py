"""Annif's protocol, asked as its http backend asks."""

from __future__ import annotations

import pytest
from serving_cases import TEXT, answers, built, serving  # noqa: F401

PREFIX = "https://example.org/"


@pytest.fixture(scope="module")
def client(built):  # noqa: F811
    with serving({"tiny": built[0], "fast": built[1]}, uri_prefix=PREFIX, language="de") as client:
        yield client


def test_suggestions_are_the_answers_of_a_search(client):
    found = client.post("/v1/projects/fast/suggest", data={"text": TEXT, "project": "x"}).json()
    labels = answers(client, [TEXT], model="fast")["answers"][0]
    assert found == {
        "results": [
            {"uri": PREFIX + x["key"], "label": x["label"], "notation": None, "score": x["score"]}
            for x in labels
        ]
    }
    assert len(labels) == 10


@pytest.mark.parametrize(
    ("fields", "query", "n"),
    [({"limit": "3"}, "", 3), ({}, "?limit=4", 4), ({"limit": "2"}, "?limit=4", 2)],
)
def test_a_limit_comes_in_the_form_or_in_the_address(client, fields, query, n):
    found = client.post(f"/v1/projects/tiny/suggest{query}", data={"text": TEXT, **fields})
    assert len(found.json()["results"]) == n


def test_a_threshold_is_for_scores(client):
    scores = [
        each["score"]
        for each in client.post("/v1/projects/tiny/suggest", data={"text": TEXT}).json()["results"]
    ]
    some = client.post(
        "/v1/projects/tiny/suggest", data={"text": TEXT, "threshold": str(scores[2])}
    ).json()["results"]
    assert [each["score"] for each in some] == [s for s in scores if s >= scores[2]]


def test_the_status_page_answers_what_the_backend_asks(client):
    told = client.get("/v1/projects/fast").json()
    assert told["is_trained"] is True
    import datetime

    datetime.datetime.fromisoformat(told["modification_time"])
    assert told["project_id"] == "fast" and told["language"] == "de"
    assert [each["project_id"] for each in client.get("/v1/projects").json()["projects"]] == [
        "tiny", "fast",
    ]  # fmt: skip
    assert client.get("/v1/projects/fast?limit=100").json() == told


@pytest.mark.parametrize(
    ("name", "fields", "status"),
    [
        ("none", {"text": TEXT}, 404),
        ("tiny", {}, 422),
        ("tiny", {"text": TEXT, "limit": "0"}, 422),
        ("tiny", {"text": TEXT, "limit": "many"}, 422),
        ("tiny", {"text": TEXT, "limit": "100000"}, 413),
        ("tiny", {"text": TEXT, "threshold": "nan"}, 422),
        ("tiny", {"text": "x" * 200_001}, 413),
    ],
)
def test_what_cannot_be_suggested_is_refused(client, name, fields, status):
    answer = client.post(f"/v1/projects/{name}/suggest", data=fields)
    assert answer.status_code == status and answer.json()["detail"]


def test_a_text_without_known_words_has_no_suggestion(client):
    assert client.post("/v1/projects/tiny/suggest", data={"text": " "}).json() == {"results": []}
