"""Health, metrics, the description of the API, the log."""

from __future__ import annotations

import io
import json
import logging
import re
import threading

import pytest
from serving_cases import TEXT, TEXTS, answers, built, serving  # noqa: F401

from learned_index.serving import logs
from learned_index.serving.logs import JsonLines, Written


@pytest.fixture(scope="module")
def client(built):  # noqa: F811
    with serving({"tiny": built[0]}) as client:
        yield client


def metrics(client):
    answer = client.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    lines = re.findall(r"^(li_\S+?) ([\d.e+-]+)$", answer.text, re.MULTILINE)
    return {name: float(value) for name, value in lines}


def test_metrics_tell_of_steps_batches_answers_and_labels(client):
    before = metrics(client)
    found = answers(client, [*TEXTS, "", "qqqq"], k=2)["answers"]
    client.post("/v1/search", json={"texts": []})
    after = metrics(client)

    def more(name):
        return after[name] - before.get(name, 0)

    for step in ("queue", "encode", "search", "answer"):
        assert more(f'li_step_seconds_count{{step="{step}"}}') == 1
    assert more("li_batch_texts_sum") == len(found)
    assert more('li_texts_total{model="tiny"}') == len(found)
    assert more('li_empty_answers_total{model="tiny"}') == 2
    assert more('li_top_score_count{model="tiny"}') == len(TEXTS)
    assert more('li_requests_total{route="/v1/search",status="200"}') == 1
    assert more('li_requests_total{route="/v1/search",status="422"}') == 1
    assert after['li_request_seconds_count{route="/v1/search"}'] >= 2
    shown = {each["key"] for row in found for each in row}
    assert after['li_label_coverage{model="tiny"}'] == pytest.approx(len(shown) / 30)
    assert after["li_queue_texts"] == 0
    assert after['li_model_loaded_timestamp_seconds{model="tiny"}'] > 1.7e9


def test_paths_that_no_route_has_are_counted_as_one(client):
    for n in range(3):
        client.get(f"/{n}")
    told = metrics(client)
    assert told['li_requests_total{route="other",status="404"}'] >= 3
    assert not any('route="/1"' in name for name in told)


def test_the_description_of_the_api_has_examples_that_work(client):
    described = client.get("/openapi.json").json()
    examples = 0
    for path, methods in described["paths"].items():
        for content in (
            method.get("requestBody", {}).get("content", {}).get("application/json")
            for method in methods.values()
        ):
            if content is None:
                continue
            schema = described["components"]["schemas"][content["schema"]["$ref"].split("/")[-1]]
            assert schema["examples"], path
            for example in schema["examples"]:
                examples += 1
                if path == "/v1/search":
                    known = {**example, "deny": ["music"]} if "deny" in example else example
                    answer = client.post(path, json=known)
                    assert answer.status_code == 200, answer.text
    assert examples >= 8
    assert set(described["paths"]) == {
        "/v1/search", "/v1/score", "/v1/labels", "/v1/labels/add", "/v1/labels/remove",
        "/v1/labels/rename", "/v1/labels/merge", "/v1/learn", "/v1/models", "/v1/models/{name}",
        "/v1/projects", "/v1/projects/{project_id}", "/v1/projects/{project_id}/suggest",
        "/healthz", "/readyz", "/metrics",
    }  # fmt: skip


def test_the_log_tells_of_requests_and_not_of_texts(client, caplog):
    with caplog.at_level(logging.INFO, "learned_index.serving"):
        answers(client, [TEXT])
    (record,) = [r for r in caplog.records if r.getMessage() == "request"]
    line = json.loads(JsonLines().format(record))
    assert line["route"] == "/v1/search" and line["status"] == 200 and line["texts"] == 1
    assert line["model"] == "tiny" and len(line["version"]) == 16 and line["ms"] > 0
    assert TEXT not in json.dumps(line)


def test_a_fault_of_the_server_is_told_and_logged(client, monkeypatch, caplog):
    from learned_index.serving import reading

    def broken(_):
        raise RuntimeError("secret of the implementation")

    with monkeypatch.context() as patch:
        patch.setattr(reading, "card", broken)
        answer = client.get("/v1/models")
    assert answer.status_code == 500
    assert answer.headers["X-Request-Id"] in answer.json()["detail"]
    assert "secret" not in answer.text
    (record,) = [r for r in caplog.records if r.getMessage() == "broken"]
    assert "secret of the implementation" in JsonLines().format(record)
    assert client.get("/v1/models").status_code == 200


def test_a_log_that_nobody_reads_stops_nobody(monkeypatch):
    monkeypatch.setattr(logs, "MOST_WAITING", 3)
    monkeypatch.setattr(logs, "_LAST_LINES_S", 0.05)
    read = threading.Event()

    class Blocked(io.StringIO):
        def write(self, text):
            read.wait(30)
            return super().write(text)

    stream = Blocked()
    handler = Written(stream)
    for n in range(10):
        handler.emit(logging.makeLogRecord({"msg": f"line {n}"}))
    handler.close()  # does not wait for ever either
    read.set()
    handler._lines.put(None)
    handler._thread.join(30)
    events = [json.loads(line)["event"] for line in stream.getvalue().splitlines()]
    assert 3 <= len(events) <= 5 and events == [f"line {n}" for n in range(len(events))]
