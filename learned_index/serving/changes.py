"""Changes of labels, and corrections: saved before they are acknowledged, and seen by all workers.

A change takes the place of the model in its directory, in one step, under the lock that the
commands ``li labels`` and ``li update`` take too. Changes that come while one is saved are saved
together.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

from learned_index.elias.model import ELIAS
from learned_index.errors import LearnedIndexError
from learned_index.persistence import path_lock
from learned_index.serving.board import Board
from learned_index.serving.config import ServingConfig
from learned_index.serving.futures import settle
from learned_index.serving.metrics import Metrics
from learned_index.serving.models import Models
from learned_index.serving.refusals import TOO_LATE, TOO_MANY, refuse

logger = logging.getLogger(__name__)

MOST_WAITING = 64
"""Changes that may wait; more are answered with 429."""
_OTHERS_S = 10.0
"""How long a change waits until the other workers answer by it."""

Apply = Callable[[ELIAS], ELIAS]


class Changed(NamedTuple):
    """A change that was saved.

    Attributes:
        version: Of the model that has it.
        everywhere: Whether every worker answers by it already.
    """

    version: str
    everywhere: bool


@dataclass(eq=False)
class _Change:
    """One that waits, or is being made.

    Attributes:
        name: Of the model.
        kind: What is done, such as ``"remove"``.
        apply: Makes the changed model of the one before.
        done: What its client waits for.
        begun: Whether it is being made; then its deadline does not count any more.
    """

    name: str
    kind: str
    apply: Apply
    done: asyncio.Future[Changed] = field(repr=False)
    begun: bool = False


class Changer:
    """Makes changes, one model at a time.

    Args:
        models: Whose models are changed.
        config: Its deadline is that for the beginning of a change.
        metrics: Counts them.
        board: Where other workers tell what they answer by; None: there are none.
    """

    def __init__(
        self, models: Models, config: ServingConfig, metrics: Metrics, board: Board | None
    ) -> None:
        self._models, self._config, self._metrics = models, config, metrics
        self._board = board
        self._waiting: deque[_Change] = deque()
        self._arrived = asyncio.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="li-change")

    async def change(self, name: str | None, kind: str, apply: Apply) -> Changed:
        """Wait until a change is saved, and answered by.

        Args:
            name: Of the model; None: the first.
            kind: What is done.
            apply: Makes the changed model of the one before.

        Raises:
            HTTPException: 429 where too many wait, 504 where it could not begin in time; then it is
                not made.
            LearnedIndexError: Of the change, or of saving it; then nothing has changed.
        """
        served = self._models.get(name)
        if len(self._waiting) >= MOST_WAITING:
            self._metrics.refused.labels("changes").inc()
            refuse(
                TOO_MANY, f"{len(self._waiting)} changes wait already; try later", Retry_After="5"
            )
        done: asyncio.Future[Changed] = asyncio.get_running_loop().create_future()
        change = _Change(served.name, kind, apply, done)
        self._waiting.append(change)
        self._arrived.set()
        limit_s = self._config.deadline_s
        await asyncio.wait({done}, timeout=limit_s)
        if not done.done() and not change.begun:
            self._waiting.remove(change)
            self._metrics.refused.labels("deadline").inc()
            refuse(TOO_LATE, f"the change could not begin within {limit_s:g} s and was not made")
        return await asyncio.shield(done)

    async def run(self) -> None:
        """Make changes until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            batch = self._take()
            if batch:
                await loop.run_in_executor(self._pool, self._make, batch, loop)

    def close(self) -> None:
        """End the thread that changes; what it has begun is finished."""
        self._pool.shutdown(wait=True)

    def _take(self) -> list[_Change]:
        batch = [c for c in self._waiting if c.name == self._waiting[0].name]
        for change in batch:
            change.begun = True
            self._waiting.remove(change)
        if not self._waiting:
            self._arrived.clear()
        return batch

    def _make(self, batch: list[_Change], loop: asyncio.AbstractEventLoop) -> None:
        """In the thread that changes."""
        try:
            outcomes = self._made(batch)
        except BaseException as error:  # none may wait for ever, whatever happened
            outcomes = [error] * len(batch)
        loop.call_soon_threadsafe(settle, [each.done for each in batch], outcomes)

    def _made(self, batch: list[_Change]) -> list[Changed | BaseException]:
        name = batch[0].name
        failed: dict[_Change, BaseException] = {}
        with path_lock(self._models.get(name).path):
            served = self._models.refresh_one(name)  # somebody else may have changed it
            model = served.model
            for change in batch:
                try:
                    model = change.apply(model)
                except Exception as error:
                    if not isinstance(error, LearnedIndexError):
                        logger.exception("change failed", extra={"model": name})
                    failed[change] = error
            if len(failed) < len(batch):
                model.save_pretrained(served.path, overwrite=True)
                saved = time.monotonic()
                served = self._models.refresh_one(name)
        if len(failed) == len(batch):
            return list(failed.values())
        everywhere = self._board is None or self._board.wait(saved, at_most_s=_OTHERS_S)
        for change in batch:
            if change not in failed:
                self._metrics.changes.labels(name, change.kind).inc()
                facts = {"model": name, "kind": change.kind, "version": served.version}
                logger.info("change saved", extra=facts)
        done = Changed(served.version, everywhere)
        return [failed.get(change, done) for change in batch]
