"""Small models that are served, in this process or in others, shared by the tests of the server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import pytest
from elias_cases import finally_ranked, queries
from starlette.testclient import TestClient

from learned_index.elias.model import ELIAS
from learned_index.serving.app import make_app
from learned_index.serving.config import Service, ServingConfig

TOKEN = "a-token-of-the-tests-only"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
TEXTS = queries(12)
TEXT = TEXTS[0]
PATIENCE_S = 120
"""On a machine that is busy with other things."""


@cache
def _built(folder: Path) -> tuple[Path, Path]:
    model = finally_ranked()
    model.save_pretrained(folder / "tiny")
    model.to_engine().save_pretrained(folder / "fast")
    return folder / "tiny", folder / "fast"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model and a compiled one, made once for all modules; nobody changes them."""
    folder = tmp_path_factory.getbasetemp() / "served"
    return _built(folder)


def copied(model: Path, folder: Path, name: str | None = None) -> Path:
    """A copy that a test may change."""
    target = folder / (name or model.name)
    shutil.copytree(model, target)
    return target


@contextmanager
def serving(
    models: dict[str, Path], *, token: str | None = TOKEN, watch: Path | None = None, **config: Any
) -> Iterator[TestClient]:
    """A client of a server in this process, which runs as long as the block."""
    config = {"poll_s": 0.02, "deadline_s": float(PATIENCE_S), **config}
    service = Service(models, ServingConfig(**config), watch=watch, token=token, threads=1)
    app = make_app(service)
    with TestClient(app, "http://localhost", raise_server_exceptions=False) as client:
        yield client


@contextmanager
def started(
    *arguments: object,
    config: dict[str, Any] | None = None,
    token: str | None = TOKEN,
    waits: bool = True,
) -> Iterator[Process]:
    """``li serve`` in a process of its own, on a free loopback port; nothing is left afterwards."""
    options = {"port": 0, "poll-s": 0.05, "deadline-s": PATIENCE_S, "threads": 1, **(config or {})}
    given = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("LI_SERVE_TOKEN", None)
    if token is not None:
        environment["LI_SERVE_TOKEN"] = token
    process = subprocess.Popen(
        [sys.executable, "-m", "learned_index.cli", "serve", *map(str, arguments), *given],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment, start_new_session=True,
    )  # fmt: skip
    try:
        yield Process(process, waits=waits)
    finally:
        with_group(process.pid, signal.SIGKILL)
        process.wait()


def with_group(pid: int, number: int) -> None:
    """Send a signal to a process and all that it has started."""
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return


class Process:
    """A server that was started, and its log, which is read all the time: a full pipe holds it up.

    Args:
        process: It.
        waits: Whether until it is ready.
    """

    def __init__(self, process: subprocess.Popen[bytes], *, waits: bool = True) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = self.wait_for("serving on ").split()[-1]
        self.client = httpx2.Client(base_url=self.url, timeout=PATIENCE_S)
        if waits:
            assert self.client.get("/readyz").status_code == 200

    def wait_for(self, what: str) -> str:
        """The first line on standard error that holds a text."""
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            for line in list(self.lines):
                if what in line:
                    return line
            assert self.process.poll() is None or self._reader.is_alive(), self.lines
            time.sleep(0.05)
        raise AssertionError(f"no line with {what!r} in {self.lines}")

    def events(self, event: str) -> list[dict[str, Any]]:
        """What was logged of one kind until now."""
        lines = [json.loads(line) for line in list(self.lines) if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def workers(self) -> list[int]:
        """Its workers' process ids: children that were spawned to answer."""
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
                command = (path.parent / "cmdline").read_bytes()
            except OSError:
                continue
            if int(fields[1]) == self.process.pid and b"spawn_main" in command:
                found.append(int(path.parent.name))
        return sorted(found)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait; the exit code."""
        self.client.close()
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return code

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.decode().rstrip("\n"))


def answers(client: Any, texts: list[str], **fields: Any) -> dict[str, Any]:
    """What a search answers, which must be well."""
    found = client.post("/v1/search", json={"texts": texts, **fields})
    assert found.status_code == 200, found.text
    return found.json()


def expected(model: ELIAS, texts: list[str], k: int = 10, **options: Any) -> list[list[Any]]:
    """What the model itself answers: keys and scores."""
    result = model.search(texts, k, **options)
    keys = model.vocabulary.keys
    return [
        [(keys[label], score) for label, score in zip(ids, scores, strict=True) if label >= 0]
        for ids, scores in zip(result.ids.tolist(), result.scores.tolist(), strict=True)
    ]


def pairs(found: dict[str, Any]) -> list[list[Any]]:
    """Keys and scores of an answer."""
    return [[(each["key"], each["score"]) for each in row] for row in found["answers"]]
