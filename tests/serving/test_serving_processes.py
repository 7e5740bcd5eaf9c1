"""``li serve`` as it is run: processes, signals, workers that are killed."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import Counter

import httpx2
import pytest
from cli_cases import ok
from serving_cases import (  # noqa: F401
    BEARER,
    PATIENCE_S,
    TEXTS,
    answers,
    built,
    copied,
    expected,
    pairs,
    started,
)  # fmt: skip

from learned_index.elias.model import ELIAS

pytestmark = pytest.mark.server


def test_requests_under_way_are_answered_before_the_end(built, tmp_path):  # noqa: F811
    place = copied(built[0], tmp_path)
    with started(place, config={"batch-wait-ms": 700}) as server:
        right = expected(ELIAS.from_pretrained(place), TEXTS)
        found = []
        thread = threading.Thread(target=lambda: found.append(answers(server.client, TEXTS)))
        thread.start()
        time.sleep(0.3)  # it waits for others to join its batch
        server.process.send_signal(signal.SIGTERM)
        thread.join()
        assert pairs(found[0]) == right
        assert server.end() == 0
        (line,) = [line for line in server.events("request") if line["route"] == "/v1/search"]
        assert line["texts"] == len(TEXTS)
        with pytest.raises(httpx2.ConnectError):
            httpx2.get(server.url)


def test_hangup_makes_the_server_look_at_once(built, tmp_path):  # noqa: F811
    place = copied(built[0], tmp_path)
    with started(f"m={place}", config={"poll-s": 3000, "workers": 2}) as server:
        version = answers(server.client, TEXTS)["version"]
        ok("labels", "remove", place, "music")
        assert answers(server.client, TEXTS)["version"] == version
        server.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + PATIENCE_S
        while len(server.events("model loaded")) < 4:
            assert time.monotonic() < end
        right = expected(ELIAS.from_pretrained(place), TEXTS)
        for _ in range(6):  # new connections, to any worker
            assert pairs(answers(httpx2.Client(base_url=server.url, timeout=60), TEXTS)) == right
        assert server.end(signal.SIGINT) == 0


def test_workers_see_changes_and_are_started_again_when_killed(built, tmp_path):  # noqa: F811
    place = copied(built[0], tmp_path)
    with started(place, config={"workers": 2}) as server:
        end = time.monotonic() + PATIENCE_S
        while len(server.events("model loaded")) < 2:
            assert time.monotonic() < end
        for n in range(3):
            new = {"labels": [{"key": f"new {n}", "examples": [TEXTS[0]]}]}
            done = server.client.post("/v1/labels/add", json=new, headers=BEARER).json()
            assert done["everywhere"], done
            for _ in range(4):
                with httpx2.Client(base_url=server.url, timeout=PATIENCE_S) as other:
                    assert answers(other, TEXTS)["version"] == done["version"]
        workers = server.workers()
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        while len(set(server.workers()) - set(workers)) < 1:
            assert time.monotonic() < end
            time.sleep(0.05)
        right = expected(ELIAS.from_pretrained(place), TEXTS)
        for _ in range(6):
            with httpx2.Client(base_url=server.url, timeout=PATIENCE_S) as other:
                assert pairs(answers(other, TEXTS)) == right
        told = server.client.get("/metrics").text
        assert 'li_changes_total{kind="add",model="tiny"} 3.0' in told
        assert server.end() == 0
    assert not [pid for pid in workers if os.path.exists(f"/proc/{pid}")]  # noqa: PTH110


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux spreads connections over sockets")
def test_connections_are_spread_and_nobody_waits_for_a_worker_that_is_gone(built):  # noqa: F811
    with started(built[1], config={"workers": 2, "poll-s": 0.2}) as server:
        end = time.monotonic() + PATIENCE_S
        while len(server.events("model loaded")) < 2:
            assert time.monotonic() < end
            time.sleep(0.05)
        workers = server.workers()

        def who_answers(n_connections):
            before = len(server.events("request"))
            clients = [httpx2.Client(base_url=server.url, timeout=30) for _ in range(n_connections)]
            for client in clients:
                assert client.get("/readyz").status_code == 200
            for client in clients:
                client.close()
            while len(server.events("request")) < before + n_connections:
                assert time.monotonic() < end
                time.sleep(0.05)
            return [line["pid"] for line in server.events("request")[before:]]

        counts = Counter(who_answers(48))
        assert set(counts) == set(workers)
        assert min(counts.values()) >= 6  # by chance it is less once in ten million times
        os.kill(workers[0], signal.SIGSTOP)  # it hangs: its connections wait at its socket
        try:
            assert set(who_answers(12)) == {workers[1]}
        finally:
            os.kill(workers[0], signal.SIGCONT)
        os.kill(workers[0], signal.SIGKILL)
        assert set(who_answers(12)) >= {workers[1]}
        while len(server.events("model loaded")) < 3:
            assert time.monotonic() < end
            time.sleep(0.05)
        again = server.workers()
        assert set(who_answers(48)) == set(again) != set(workers)
        assert len(server.events("worker died")) == 1
        assert server.end() == 0


@pytest.mark.parametrize("when", ["loading", "answering"])
def test_workers_end_when_nobody_is_left_to_end_them(built, when):  # noqa: F811
    with started(built[1], config={"workers": 2}, waits=when == "answering") as server:
        end = time.monotonic() + PATIENCE_S
        while len(workers := server.workers()) < 2:
            assert time.monotonic() < end
            time.sleep(0.01)
        server.process.kill()
        while any(_runs(pid) for pid in workers):
            assert time.monotonic() < end
            time.sleep(0.1)


def _runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
