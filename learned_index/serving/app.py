"""The application of one process: routes, models, queues, and what keeps them going."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import signal
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import Depends, FastAPI
from starlette.middleware.trustedhost import TrustedHostMiddleware

import learned_index
from learned_index.serving import annif, changing, operations, reading, web
from learned_index.serving.batching import Batcher
from learned_index.serving.board import Board
from learned_index.serving.changes import Changer
from learned_index.serving.config import Service, ServingConfig
from learned_index.serving.guard import Guard
from learned_index.serving.metrics import Metrics
from learned_index.serving.models import Models
from learned_index.serving.problems import handle_errors, problems
from learned_index.serving.state import State, needs_token
from learned_index.system.threads import available_cpus, set_threads

logger = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
_DESCRIPTION = """Labels for texts, by models of Learned Index.

Every answer names the version of the model that gave it. Changes of labels need the server's token
(`Authorization: Bearer TOKEN`) and are saved before they are acknowledged. Whatever is not answered
has a `detail`: one line that says why."""


def make_app(service: Service) -> FastAPI:
    """Make the application that serves some models; they are loaded when it starts.

    Args:
        service: What it is to do.
    """
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with _running(service, metrics) as state:
            app.state.serving = state
            yield

    app = FastAPI(
        title="Learned Index",
        version=learned_index.__version__,
        description=_DESCRIPTION,
        docs_url=None,  # these pages fetch scripts from other hosts
        redoc_url=None,
        lifespan=lifespan,
        responses=problems(),
    )
    guarded = [Depends(needs_token)] if service.config.guard == "all" else []
    for routes in (reading, annif):
        app.include_router(routes.router, dependencies=guarded)
    for routes in (changing, operations, web):
        app.include_router(routes.router)
    handle_errors(app)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=_hosts(service.config))
    app.add_middleware(Guard, config=service.config, metrics=metrics)
    return app


def _hosts(config: ServingConfig) -> list[str]:
    """Names that a client may call the server by: no page elsewhere can pretend to be ours."""
    if config.allowed_hosts != "auto":
        return [name.strip() for name in config.allowed_hosts.split(",") if name.strip()]
    return [*LOOPBACK] if config.host in LOOPBACK else ["*"]


@asynccontextmanager
async def _running(service: Service, metrics: Metrics) -> AsyncIterator[State]:
    """Load the models, and keep queues and watch going until the end."""
    set_threads(service.threads or max(1, available_cpus() // service.config.workers))
    # Before the models are loaded: a change that is saved meanwhile waits for this worker too.
    board = None if service.board is None else Board(service.board)
    models = Models(service)
    await asyncio.to_thread(models.load)
    batcher = Batcher(models, service.config, metrics)
    changer = Changer(models, service.config, metrics, board)
    look = asyncio.Event()
    with _on_hangup(look):
        tasks = [
            asyncio.create_task(each)
            for each in (
                batcher.run(), changer.run(), _watch(models, board, look, service.config.poll_s)
            )
        ]  # fmt: skip
        try:
            yield State(service, models, metrics, batcher, changer, board)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.to_thread(changer.close)
            await asyncio.to_thread(batcher.close)
            if board is not None:
                board.leave()


async def _watch(models: Models, board: Board | None, look: asyncio.Event, poll_s: float) -> None:
    """Look for new versions now and then, and whenever SIGHUP asks for it."""
    parent = multiprocessing.parent_process()
    loop = asyncio.get_running_loop()
    # One thread: what each thread that loads a model leaves unused stays with it.
    pool = ThreadPoolExecutor(1, thread_name_prefix="li-load")
    while True:
        began = time.monotonic()
        if board is not None and parent is not None and not parent.is_alive():
            # It was killed, and nobody ends this worker.
            signal.raise_signal(signal.SIGTERM)
        try:
            await loop.run_in_executor(pool, models.refresh)
        except Exception:
            logger.exception("the models could not be looked at")
        else:
            if board is not None:
                board.tell(began)
        with suppress(TimeoutError):
            await asyncio.wait_for(look.wait(), poll_s)
        look.clear()


class _on_hangup:  # noqa: N801  (it is used like a function)
    """Within the block SIGHUP sets an event, where signals can be heard."""

    def __init__(self, event: asyncio.Event) -> None:
        self._event = event
        main = threading.current_thread() is threading.main_thread()
        self._can = main and hasattr(signal, "SIGHUP")

    def __enter__(self) -> None:
        if self._can:
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._event.set)

    def __exit__(self, *_: Any) -> None:
        if self._can:
            asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
