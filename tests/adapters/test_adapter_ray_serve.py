"""The example of Ray Serve, asked over HTTP: right answers, plain refusals, a replica killed."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from children import free_port
from elias_cases import compiled, queries

from learned_index.adapters.retrieval import found_labels
from learned_index.elias.model import ELIAS

serve = pytest.importorskip("ray.serve", reason="ray[serve] is not installed", exc_type=ImportError)
import ray_cases  # noqa: E402

from benchmarks.served import below  # noqa: E402
from examples.ray_serve import Arguments, app  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.server]
cluster, model = ray_cases.cluster, compiled

TEXTS = queries(40)
PATIENCE_S = 120


@pytest.fixture(scope="module")
def address(model: Path, cluster: None) -> Iterator[str]:
    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(app(Arguments(model=str(model), replicas=2)))
    yield f"http://127.0.0.1:{port}/"
    serve.shutdown()


def ask(address: str, body: Any) -> tuple[int, Any]:
    """Status and answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = Request(address, data, {"Content-Type": "application/json"})
    try:
        with urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        told = error.read()
        return error.code, json.loads(told) if told[:1] == b"{" else told.decode()


def expected(model: Path, k: int) -> list[list[dict[str, Any]]]:
    found = found_labels(ELIAS.from_pretrained(model), TEXTS, k=k)
    return json.loads(json.dumps(found))


def test_requests_of_a_batch_get_the_answers_of_the_model(address: str, model: Path) -> None:
    right = {k: expected(model, k) for k in (2, 5)}
    bodies = [{"text": text, "k": k} for text in TEXTS for k in right]
    with ThreadPoolExecutor(32) as clients:
        answers = list(clients.map(lambda body: ask(address, body), bodies))
    assert answers == [(200, right[k][place]) for place in range(len(TEXTS)) for k in right]
    assert set(answers[0][1][0]) == {"label", "key", "score", "probability"}


@pytest.mark.parametrize(
    ("body", "where", "wrong"),
    [
        ({"texts": ["tea"]}, ["body", "text"], "Field required"),
        ({"text": "tea", "k": "3"}, ["body", "k"], "valid integer"),
        ({"text": "tea", "k": 0}, ["body", "k"], "greater than or equal to 1"),
        (b"tea", ["body", 0], "JSON decode error"),
        (b'{"text": "\\ud800"}', ["body", "text"], "string"),
    ],
)
def test_what_is_no_request_is_refused_in_words(
    address: str, body: Any, where: list[Any], wrong: str
) -> None:
    status, answer = ask(address, body)
    assert status == 422
    assert answer["detail"][0]["where"] == where and wrong in answer["detail"][0]["wrong"]


def test_a_blank_text_has_no_labels(address: str) -> None:
    assert ask(address, {"text": "  "}) == (200, [])


def replicas() -> set[int]:
    """Processes of the replicas that are alive."""
    found = set()
    for pid in below(os.getpid()):
        with suppress(FileNotFoundError):  # it has just ended
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::ServeReplica"):
                found.add(pid)
    return found


def test_a_killed_replica_is_replaced_and_fails_only_what_it_had(address: str, model: Path) -> None:
    right = expected(model, 3)
    before, stop = replicas(), threading.Event()
    assert len(before) == 2

    def client(number: int) -> list[tuple[int, bool]]:
        answers = []
        while not stop.is_set():
            place = (number + len(answers)) % len(TEXTS)
            status, rows = ask(address, {"text": TEXTS[place], "k": 3})
            answers.append((status, rows == right[place]))
        return answers

    n_clients = 8
    with ThreadPoolExecutor(n_clients) as pool:
        clients = [pool.submit(client, number) for number in range(n_clients)]
        time.sleep(1)
        os.kill(min(before), signal.SIGKILL)
        end = time.monotonic() + PATIENCE_S
        while len(replicas() - {min(before)}) < 2 and time.monotonic() < end:
            time.sleep(0.2)
        time.sleep(1)
        stop.set()
    assert len(replicas() - before) == 1
    for one in clients:
        answers = one.result()
        assert answers.count((200, True)) > 5
        # Ray answers so for what died with the replica, and asked anew it is answered.
        assert [each for each in answers if each != (200, True)] in ([], [(500, False)])


def test_a_model_that_is_not_there_is_told_before_anything_is_deployed(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match=r"model=.* is no directory"):
        app(Arguments(model=str(tmp_path / "none")))
