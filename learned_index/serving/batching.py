"""Concurrent requests are answered together: a bounded queue, batches, deadlines."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from learned_index.serving.config import ServingConfig
from learned_index.serving.futures import settle
from learned_index.serving.metrics import Metrics
from learned_index.serving.models import Models, Served
from learned_index.serving.refusals import TOO_LATE, TOO_MANY, refuse

logger = logging.getLogger(__name__)

Work = Callable[[Served, Sequence[Any]], list[Any]]
"""Given a version of a model and the items of several requests, makes an answer of each item."""


class Answered(NamedTuple):
    """What a request gets: the version that answered, and an answer for each of its items."""

    served: Served
    answers: list[Any]


@dataclass(eq=False)
class _Ask:
    """A request that waits.

    Attributes:
        name: Of the model; None: the first.
        key: Requests with equal keys may be answered together.
        items: What is asked; an answer for each.
        work: How.
        since: When it came, seconds of ``time.monotonic``.
        answer: What its client waits for.
    """

    name: str | None
    key: Hashable
    items: Sequence[Any]
    work: Work
    since: float
    answer: asyncio.Future[Answered] = field(repr=False)


class Batcher:
    """Answers requests in batches, one batch at a time, the oldest request first.

    While a batch is answered others gather, so batches grow with the load by themselves. What is
    answered does not depend on who is asked together.

    Args:
        models: Who answers.
        config: Sizes, waits and deadlines.
        metrics: What is counted.
    """

    def __init__(self, models: Models, config: ServingConfig, metrics: Metrics) -> None:
        self._models, self._config, self._metrics = models, config, metrics
        self._waiting: deque[_Ask] = deque()
        self._n_waiting = 0
        self._arrived = asyncio.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="li-search")

    async def ask(
        self, name: str | None, key: Hashable, items: Sequence[Any], work: Work, *,
        deadline_s: float | None = None,
    ) -> Answered:  # fmt: skip
        """Wait for the answers of some items.

        Args:
            name: Of the model; None: the first.
            key: As :class:`_Ask`.
            items: One at least.
            work: As :data:`Work`.
            deadline_s: Sooner than the server's.

        Raises:
            HTTPException: 429 where too much waits already, 504 when the deadline has passed, 404
                for an unknown model.
            LearnedIndexError: Of the work.
        """
        self._models.get(name)
        config = self._config
        if self._n_waiting and self._n_waiting + len(items) > config.max_queue:
            self._metrics.refused.labels("queue").inc()
            refuse(
                TOO_MANY, f"{self._n_waiting} texts wait, {config.max_queue} may; try later",
                Retry_After="1",
            )  # fmt: skip
        limit_s = min(config.deadline_s, deadline_s or config.deadline_s)
        loop = asyncio.get_running_loop()
        ask = _Ask(name, key, items, work, time.monotonic(), loop.create_future())
        self._waiting.append(ask)
        self._count(len(items))
        self._arrived.set()
        try:
            return await asyncio.wait_for(ask.answer, limit_s)
        except TimeoutError:
            self._metrics.refused.labels("deadline").inc()
            refuse(TOO_LATE, f"there was no answer within {limit_s:g} s; ask for less, or later")

    async def run(self) -> None:
        """Answer until cancelled."""
        loop = asyncio.get_running_loop()
        wait_s = self._config.batch_wait_ms / 1000
        while True:
            await self._arrived.wait()
            if wait_s and self._n_waiting < self._config.max_batch:
                await asyncio.sleep(wait_s)
            batch = self._take()
            if batch:
                await loop.run_in_executor(self._pool, self._answer, batch, loop)

    def close(self) -> None:
        """End the thread that searches."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _count(self, change: int) -> None:
        self._n_waiting += change
        self._metrics.queue.set(self._n_waiting)

    def _take(self) -> list[_Ask]:
        """The oldest request, and all that can be answered with it; nobody waits for the others."""
        batch: list[_Ask] = []
        size, left = 0, deque[_Ask]()
        for ask in self._waiting:
            if ask.answer.done():  # its deadline has passed
                self._count(-len(ask.items))
                continue
            fits = size + len(ask.items) <= self._config.max_batch
            if not batch or (fits and (ask.name, ask.key) == (batch[0].name, batch[0].key)):
                batch.append(ask)
                size += len(ask.items)
                self._count(-len(ask.items))
            else:
                left.append(ask)
        self._waiting = left
        if not left:
            self._arrived.clear()
        return batch

    def _answer(self, batch: list[_Ask], loop: asyncio.AbstractEventLoop) -> None:
        """In the thread that searches: answer a batch, and hand each request its part."""
        now = time.monotonic()
        for ask in batch:
            self._metrics.step.labels("queue").observe(now - ask.since)
        self._metrics.batch.observe(sum(len(ask.items) for ask in batch))
        try:
            outcomes = self._outcomes(batch)
        except BaseException as error:  # none may wait for ever, whatever happened
            outcomes = [error] * len(batch)
        loop.call_soon_threadsafe(settle, [each.answer for each in batch], outcomes)

    def _outcomes(self, batch: list[_Ask]) -> list[Answered | BaseException]:
        try:
            served = self._models.get(batch[0].name)
            items = [item for ask in batch for item in ask.items]
            answers = batch[0].work(served, items)
        except Exception as error:
            if len(batch) == 1:
                return [error]
            # One of them is to blame, and the others shall not suffer for it.
            return [outcome for ask in batch for outcome in self._outcomes([ask])]
        found: list[Answered | BaseException] = []
        start = 0
        for ask in batch:
            stop = start + len(ask.items)
            found.append(Answered(served, answers[start:stop]))
            start = stop
        return found
