"""Bad requests get a clear answer and harm nobody: limits, tokens, headers, hostile bodies."""

from __future__ import annotations

import pytest
from serving_cases import BEARER, TEXT, answers, built, copied, serving  # noqa: F401

from learned_index.serving.config import Service, ServingConfig
from learned_index.serving.guard import SECURITY_HEADERS


@pytest.fixture(scope="module")
def client(built):  # noqa: F811
    limits = {"max_texts": 3, "max_characters": 100, "max_body_mb": 0.01, "max_k": 20}
    with serving({"tiny": built[0]}, **limits) as client:
        yield client
        assert answers(client, [TEXT], k=1)["answers"][0]  # it still answers after all this


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        ({}, 422, "expected texts or vectors"),
        ({"texts": [TEXT], "vectors": [[1.0]]}, 422, "expected texts or vectors"),
        ({"texts": []}, 422, "no text"),
        ({"texts": TEXT}, 422, "texts: got"),
        ({"texts": [None]}, 422, "texts.0"),
        ({"texts": [TEXT], "k": 0}, 422, "k:"),
        ({"texts": [TEXT], "k": "3"}, 422, "k:"),
        ({"texts": [TEXT], "k": True}, 422, "k:"),
        ({"texts": [TEXT], "k": 10**30}, 422, "k:"),
        ({"texts": [TEXT], "k": 21}, 413, "at most 20"),
        ({"texts": [TEXT], "score": "best"}, 422, "score"),
        ({"texts": [TEXT], "threshold": 1.5}, 422, "threshold"),
        ({"texts": [TEXT], "deny": ["Cookin"]}, 422, "no label is called 'Cookin'"),
        ({"texts": [TEXT], "allow": [""]}, 422, "allow.0"),
        ({"texts": [TEXT], "K": 3}, 422, "K: there is no such field here; did you mean 'k'?"),
        ({"texts": [TEXT], "model": "../../etc/passwd"}, 404, "no model '../../etc/passwd'"),
        ({"texts": [TEXT] * 4}, 413, "4 texts, at most 3"),
        ({"texts": ["x" * 101]}, 413, "101 characters, at most 100"),
        ({"texts": ["x" * 20_000]}, 413, "longer than 0.01 MB"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_one_line(client, body, status, why):
    answer = client.post("/v1/search", json=body)
    assert answer.status_code == status
    assert why in answer.json()["detail"] and "\n" not in answer.json()["detail"]


HOSTILE = {
    "no JSON": b"{",
    "deep": b"[" * 5_000,
    "deep objects": b'{"a":' * 1_500 + b"1" + b"}" * 1_500,
    "half a pair": b'{"texts": ["\\ud800"]}',
    "half a pair in a name": b'{"texts": ["a"], "deny": ["\\udfff"]}',
    "half a pair in a field": b'{"texts": ["a"], "\\ud800": 1}',
    "no UTF-8": b'{"texts": ["\xff\xfe"]}',
    "NUL": b'{"texts": ["a\\u0000b"], "model": "\\u0000"}',
    "NaN": b'{"texts": ["a"], "threshold": NaN}',
    "infinite": b'{"vectors": [[Infinity]], "score": "index"}',
    "long number": b'{"texts": ["a"], "k": ' + b"9" * 5_000 + b"}",
    "list": b"[1, 2]",
    "null": b"null",
    "empty": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("path", ["/v1/search", "/v1/score", "/v1/learn", "/v1/labels/rename"])
def test_hostile_bodies_are_refused(client, path, name):
    headers = {"Content-Type": "application/json", **BEARER}
    answer = client.post(path, content=HOSTILE[name], headers=headers)
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.json()["detail"]


def test_a_body_without_a_length_is_counted_as_it_comes(client):
    def chunks():
        yield b'{"texts": ["'
        for _ in range(30):
            yield b"x" * 1000
        yield b'"]}'

    answer = client.post(
        "/v1/search", content=chunks(), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 413 and "longer than" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/", "/page.js", "/v1/models", "/healthz", "/nothing"])
def test_every_answer_has_the_headers_that_protect_the_page(client, path):
    answer = client.get(path)
    for name, value in SECURITY_HEADERS.items():
        assert answer.headers[name] == value
    assert len(answer.headers["X-Request-Id"]) == 16
    assert "server" not in answer.headers


def test_a_page_of_another_name_cannot_pretend_to_be_this_one(client):
    assert client.get("/v1/models", headers={"Host": "evil.example"}).status_code == 400
    assert client.get("/v1/models", headers={"Host": "localhost:8080"}).status_code == 200


CHANGES = {
    "/v1/labels/add": {"labels": [{"key": "tea"}]},
    "/v1/labels/remove": {"labels": ["music"]},
    "/v1/labels/rename": {"names": {"music": "Sound"}},
    "/v1/labels/merge": {"targets": {"music": "cooking"}},
    "/v1/learn": {"text": TEXT, "labels": ["music"]},
}


@pytest.mark.parametrize("path", CHANGES)
def test_changes_need_the_token(client, path):
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic eDp5"}):
        answer = client.post(path, json=CHANGES[path], headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_a_server_without_a_token_changes_nothing(built):  # noqa: F811
    with serving({"tiny": built[0]}, token=None) as client:
        for path, body in CHANGES.items():
            answer = client.post(path, json=body, headers=BEARER)
            assert answer.status_code == 403 and "--token-file" in answer.json()["detail"]


def test_reading_can_be_guarded_too(built):  # noqa: F811
    with serving({"tiny": built[0]}, guard="all") as client:
        for path in ("/v1/models", "/v1/labels", "/v1/projects"):
            assert client.get(path).status_code == 401
            assert client.get(path, headers=BEARER).status_code == 200
        assert client.post("/v1/search", json={"texts": [TEXT]}).status_code == 401
        assert client.get("/healthz").status_code == 200  # whoever watches over it has no token


def test_the_token_is_not_shown():
    service = Service({}, ServingConfig(), token="secret-secret-secret")
    assert "secret" not in repr(service)


def test_no_request_opens_a_file(client):
    for path in ("/../pyproject.toml", "/page/../config.py", "/%2e%2e/config.py", "/config.py"):
        assert client.get(path).status_code == 404
