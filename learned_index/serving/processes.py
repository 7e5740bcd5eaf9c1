"""The processes that answer: this one, or workers that are started again when they die."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from learned_index.errors import ModelFormatError
from learned_index.serving.app import make_app
from learned_index.serving.config import Service
from learned_index.serving.logs import log_json_lines
from learned_index.system.extras import require

_HEALTH_S = 60
"""A worker that has not answered for so long hangs; compiling may keep it from answering."""
_HANGUP = getattr(signal, "SIGHUP", None)


def run_one(service: Service, listener: socket.socket) -> None:
    """Answer in this process, until SIGTERM or SIGINT.

    Raises:
        ModelFormatError: The models cannot be loaded; the log says why.
    """
    with _deaf():
        server = uvicorn.Server(_config(service))
        with suppress(SystemExit):  # what it ends with when its application does not start
            server.run(sockets=[listener])
    if not server.started:
        raise ModelFormatError("the server did not start; the line before says why")


def run_several(service: Service, listener: socket.socket) -> None:
    """Answer in workers that share the socket, until SIGTERM or SIGINT.

    Args:
        service: Its board is a directory of this server alone.
        listener: The socket; connections wait there while a worker that died is started again.

    Raises:
        ModelFormatError: The models cannot be loaded; the log says why.
    """
    log_json_lines()
    with _deaf():
        supervisor = _Supervisor(_config(service), [listener])
        supervisor.run()
    if supervisor.has_failed:
        raise ModelFormatError("the workers did not start; the lines before say why")


def worker_app(service: Service) -> FastAPI:
    """The application of a worker, which logs what happens."""
    log_json_lines()
    return make_app(service)


def _config(service: Service) -> uvicorn.Config:
    config = service.config
    return uvicorn.Config(
        partial(worker_app, service),
        factory=True,
        workers=config.workers,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=config.shutdown_s,
        timeout_worker_healthcheck=_HEALTH_S,
    )


class _Supervisor(Multiprocess):
    """Starts workers again that have died, and hands SIGHUP on to them."""

    def handle_hup(self) -> None:
        """Let the workers look at the models: none has to be started anew for that."""
        for process in self.processes:
            if process.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGHUP)

    def keep_subprocess_alive(self) -> None:
        """Start dead workers again, and forget what they counted as of the living."""
        before = {process.pid for process in self.processes}
        super().keep_subprocess_alive()
        counts: Any = require("prometheus_client.multiprocess")
        for pid in before - {process.pid for process in self.processes}:
            counts.mark_process_dead(pid)

    @property
    def has_failed(self) -> bool:
        """Whether it ended because a worker could not start."""
        return any(process.exitcode == uvicorn.config.STARTUP_FAILURE for process in self.processes)


@contextmanager
def _deaf() -> Iterator[None]:
    """In the block uvicorn hears the signals; what it raises again when it has ended is no news."""
    numbers = [signal.SIGINT, signal.SIGTERM, *([_HANGUP] if _HANGUP else [])]
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
