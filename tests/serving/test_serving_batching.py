"""The queue: requests together, bounds, deadlines, and faults that stay with who caused them."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from fastapi import HTTPException

from learned_index.errors import InputError
from learned_index.serving.batching import Batcher
from learned_index.serving.config import ServingConfig
from learned_index.serving.metrics import Drift, Metrics


class OneModel:
    """Stands for the models of a server."""

    def get(self, name):
        if name == "none":
            raise HTTPException(404, "no model")
        return name


class Work:
    """Answers numbers with their squares, and remembers with whom they were asked."""

    def __init__(self, hold=None):
        self.batches, self.hold = [], hold

    def __call__(self, served, items):
        if self.hold is not None:
            self.hold.wait(10)
        self.batches.append(list(items))
        if "bad" in items:
            raise InputError("one of them is bad")
        return [item * item for item in items]


def run(scenario, **config):
    async def main():
        batcher = Batcher(OneModel(), ServingConfig(**config), Metrics())
        task = asyncio.create_task(batcher.run())
        try:
            return await scenario(batcher)
        finally:
            task.cancel()
            batcher.close()

    return asyncio.run(main())


def test_requests_that_wait_are_answered_together():
    hold = threading.Event()
    work = Work(hold)

    async def scenario(batcher):
        asked = [asyncio.create_task(batcher.ask("m", "k", [n], work)) for n in range(6)]
        other = asyncio.create_task(batcher.ask("m", "other", [9], work))
        await asyncio.sleep(0.1)
        hold.set()
        return [found.answers for found in await asyncio.gather(*asked, other)]

    assert run(scenario, max_batch=4) == [[0], [1], [4], [9], [16], [25], [81]]
    assert sorted(len(batch) for batch in work.batches) == [1, 2, 4] or work.batches[0] == [0]
    assert all(len(batch) <= 4 for batch in work.batches)
    assert not any(9 in batch and len(batch) > 1 for batch in work.batches)


def test_a_batch_waits_for_others_as_long_as_it_is_told():
    work = Work()

    async def scenario(batcher):
        first = asyncio.create_task(batcher.ask("m", "k", [1], work))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(batcher.ask("m", "k", [2], work))
        await asyncio.gather(first, second)

    run(scenario, batch_wait_ms=500)
    assert work.batches == [[1, 2]]


def test_a_full_queue_refuses_and_goes_on():
    hold = threading.Event()
    work = Work(hold)

    async def scenario(batcher):
        first = asyncio.create_task(batcher.ask("m", "k", [1], work))
        await asyncio.sleep(0.1)  # it is being answered
        waiting = asyncio.create_task(batcher.ask("m", "k", [2, 3], work))
        await asyncio.sleep(0)
        with pytest.raises(HTTPException) as refused:
            await batcher.ask("m", "k", [4], work)
        assert refused.value.status_code == 429
        assert refused.value.headers == {"Retry-After": "1"}
        hold.set()
        await asyncio.gather(first, waiting)
        return (await batcher.ask("m", "k", [5], work)).answers

    assert run(scenario, max_queue=2) == [25]


def test_what_has_waited_too_long_is_given_up_and_not_computed():
    hold = threading.Event()
    work = Work(hold)

    async def scenario(batcher):
        first = asyncio.create_task(batcher.ask("m", "k", [1], work))
        await asyncio.sleep(0.1)
        with pytest.raises(HTTPException) as late:
            await batcher.ask("m", "k", [2], work, deadline_s=0.05)
        assert late.value.status_code == 504
        hold.set()
        await first
        return (await batcher.ask("m", "k", [3], work)).answers

    assert run(scenario) == [9]
    assert work.batches == [[1], [3]]


def test_the_fault_of_one_is_not_that_of_the_others():
    hold = threading.Event()
    work = Work(hold)

    async def scenario(batcher):
        held = asyncio.create_task(batcher.ask("m", "k", [0], work))
        await asyncio.sleep(0.05)
        items = [[1], ["bad"], [2]]
        asked = [asyncio.create_task(batcher.ask("m", "k", each, work)) for each in items]
        await asyncio.sleep(0.05)
        hold.set()
        await held
        return await asyncio.gather(*asked, return_exceptions=True)

    first, bad, last = run(scenario)
    assert first.answers == [1] and last.answers == [4]
    assert isinstance(bad, InputError)
    assert [1, "bad", 2] in work.batches


def test_an_unknown_model_waits_for_nothing():
    async def scenario(batcher):
        with pytest.raises(HTTPException):
            await batcher.ask("none", "k", [1], Work())

    run(scenario)


def test_a_shutdown_answers_what_is_being_answered():
    work = Work()

    async def scenario(batcher):
        began = time.monotonic()
        found = await batcher.ask("m", "k", [7], work)
        assert time.monotonic() - began < 10
        return found.answers

    assert run(scenario) == [49]


def test_drift_is_that_of_the_formula():
    drift = Drift()
    for n in range(1000):
        drift.add(0.05 if n % 2 else 0.95)
    assert drift.value() is None
    for _ in range(1000):
        drift.add(0.95)
    # one bin from 0.5 to nothing (1e-4), one from 0.5 to 1
    import math

    assert drift.value() == pytest.approx(
        (1e-4 - 0.5) * math.log(1e-4 / 0.5) + 0.5 * math.log(1 / 0.5)
    )
    for n in range(1000):
        drift.add(0.05 if n % 2 else 0.95)
    assert drift.value() == pytest.approx(0)
