"""The processes that answer: this one, or workers that are started again when they die."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from learned_index.errors import ModelFormatError
from learned_index.serving.config import Service
from learned_index.serving.listening import take_left
from learned_index.serving.logs import log_json_lines
from learned_index.system.extras import require

if TYPE_CHECKING:
    from fastapi import FastAPI

logger = logging.getLogger(__name__)

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


def run_several(service: Service, listeners: Sequence[socket.socket]) -> None:
    """Answer in workers, until SIGTERM or SIGINT.

    Args:
        service: Its board is a directory of this server alone.
        listeners: A socket for each worker, or one for all. They stay open while a worker that died
            is started again, and it gets the same.

    Raises:
        ModelFormatError: The models cannot be loaded; the log says why.
    """
    log_json_lines()
    if len(listeners) < service.config.workers:
        logger.info("workers share a socket: this system spreads no connections over several")
    with _deaf():
        supervisor = _Supervisor(_config(service), listeners)
        supervisor.run()
    if supervisor.has_failed:
        raise ModelFormatError("the workers did not start; the lines before say why")


def worker_app(service: Service) -> FastAPI:
    """The application of a worker, which logs what happens."""
    from learned_index.serving.app import make_app  # not at import: the parent has no use for it

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


class _Server(uvicorn.Server):
    """Answers who comes to the first of its sockets, and whom the others' workers leave there."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Load the models, and take connections."""
        assert sockets
        own, *others = sockets
        await super().startup([own])
        self._left = asyncio.create_task(take_left(others, self._protocol))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, and answer what is under way."""
        self._left.cancel()
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        made: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = made(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state,
            _loop=asyncio.get_running_loop(),
        )  # fmt: skip
        return protocol


class _Worker(Process):
    """A process that answers."""

    @property
    def server(self) -> uvicorn.Server:
        """What runs in it."""
        if self._server is None:
            self._server = _Server(self.config)
        return self._server


class _Supervisor(Multiprocess):
    """Starts workers again that have died, and hands SIGHUP on to them.

    Args:
        config: Of each worker.
        listeners: As :func:`run_several`.
    """

    def __init__(self, config: uvicorn.Config, listeners: Sequence[socket.socket]) -> None:
        super().__init__(config, [*listeners])

    def init_processes(self) -> None:
        """Start the workers."""
        self.processes = [self._started(number) for number in range(self.processes_num)]

    def _started(self, number: int) -> Process:
        """Start a worker; its own socket is the first of those that it is given."""
        place = number % len(self.sockets)
        worker = _Worker(self.config, [*self.sockets[place:], *self.sockets[:place]])
        worker.start()
        return worker

    def handle_hup(self) -> None:
        """Let the workers look at the models: none has to be started anew for that."""
        for process in self.processes:
            if process.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGHUP)

    def keep_subprocess_alive(self) -> None:
        """Start dead workers again, and forget what they counted as of the living."""
        counts: Any = require("prometheus_client.multiprocess")
        for number, process in enumerate(self.processes):
            if self.should_exit.is_set() or process.is_alive(timeout=_HEALTH_S):
                continue
            process.kill()  # it is dead, or hangs
            process.join()
            counts.mark_process_dead(process.pid)
            if self.has_failed:  # it would fail again
                self.should_exit.set()
                return
            logger.warning("worker died", extra={"worker": process.pid})
            self.processes[number] = self._started(number)

    def handle_ttin(self) -> None:
        """Nothing: the number of workers stays."""

    def handle_ttou(self) -> None:
        """Nothing: the number of workers stays."""

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
