"""Labels for many texts on a Ray cluster: for Ray Data, and for ``li predict --engine ray``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from learned_index.adapters.batches import answer_columns, require_free
from learned_index.adapters.retrieval import opened
from learned_index.data.predictions.points import BLOCK
from learned_index.elias.model import ELIAS
from learned_index.elias.thresholds import Threshold
from learned_index.errors import InputError, LearnedIndexError, WorkerError
from learned_index.evaluation.predicting import Asked, answered
from learned_index.persistence.digest import file_digest
from learned_index.persistence.layout import MANIFEST_NAME
from learned_index.system.extras import require
from learned_index.system.threads import available_cpus, set_threads

_AHEAD = 2
"""Blocks that an actor has before it at most: it need not wait, and little is in flight."""
_PATIENCE = 3
"""So many actors may die with a block, or so often one while it opens its model."""


class LabelPredictor:
    """The class of actors for ``map_batches`` of Ray Data.

    Each actor opens the model once; of a compiled one (``li compile``) the actors of a machine
    share the pages. Ray runs a batch again whose actor has died.

    Args:
        model: Directory of a saved model, which all machines see at this path.
        text: Column of the texts.
        k: Labels of a row.
        threshold: As :meth:`ELIAS.search`.
        threads: CPU threads of an actor, as many as it asks Ray for (``num_cpus``).

    Example:
        >>> rows = ray.data.read_parquet("texts")  # doctest: +SKIP
        >>> rows.map_batches(  # doctest: +SKIP
        ...     LabelPredictor, fn_constructor_args=["fast"], concurrency=2, batch_size=1024
        ... ).write_parquet("labelled")
    """

    def __init__(
        self,
        model: str | Path,
        *,
        text: str = "text",
        k: int = 10,
        threshold: Threshold | None = None,
        threads: int = 1,
    ) -> None:
        set_threads(threads)
        self.model = opened(model)
        self.text, self.k, self.threshold = text, k, threshold

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch, NumPy columns, with columns of answers: a list in each row.

        Raises:
            InputError: There is no column of texts, or one that is called as an answer's.
        """
        require_free(list(batch), self.text)
        texts = [text if isinstance(text, str) else "" for text in batch[self.text].tolist()]
        columns = answer_columns(self.model, texts, k=self.k, threshold=self.threshold)
        return batch | {name: _objects(values) for name, values in columns.items()}


def _objects(rows: list[list[Any]]) -> Any:
    """An array with a list in each place, also where all lists are of one length."""
    array = np.empty(len(rows), object)
    array[:] = rows
    return array


class BlockWorker:
    """What an actor of :func:`ray_answers` is: a model that answers blocks of points.

    Args:
        model: Its directory.
        digest: Of its manifest, as the asking process has it.
        asked: How it is asked.
        threads: CPU threads.
    """

    def __init__(self, model: str, digest: str, asked: Asked, threads: int) -> None:
        set_threads(threads)
        self._path, self._digest, self._asked = model, digest, asked
        self._model: ELIAS | None = None

    def open(self) -> int:
        """Open the model, unless it is open, and tell the process.

        Raises:
            InputError: Another model lies there.
        """
        if self._model is None:
            if file_digest(Path(self._path) / MANIFEST_NAME) != self._digest:
                raise InputError(
                    f"{self._path} is another model on this machine than on the one that asks; "
                    "copy it there"
                )
            self._model = opened(self._path)
        return os.getpid()

    def answer(self, points: Any) -> dict[str, Any]:
        """Arrays of answers, see :func:`~learned_index.evaluation.predicting.answered`."""
        self.open()
        assert self._model is not None
        return answered(self._model, points, self._asked)


@dataclass(frozen=True)
class _Block:
    """Points that are asked: their place among the blocks, and how many actors died with them."""

    number: int
    points: Any
    deaths: int = 0


class ClusterAnswers:
    """An :data:`~learned_index.evaluation.predicting.Answering` of actors.

    A block goes to the actor that has least to do among those whose model is open. Blocks of an
    actor that has died are the others' until it is there again.

    Args:
        actors: Handles of :class:`BlockWorker`.
    """

    def __init__(self, actors: Sequence[Any]) -> None:
        self.actors = actors

    def __call__(self, blocks: Iterator[Any]) -> Iterator[dict[str, Any]]:
        """The answers to blocks of points, in their order.

        Raises:
            WorkerError: No actor is left, or a block has ended several.
        """
        ray = require("ray")
        new = (_Block(number, points) for number, points in enumerate(blocks))
        again: list[_Block] = []
        under_way: dict[Any, tuple[int, _Block]] = {}
        opening = {self._open(actor): actor for actor in range(len(self.actors))}
        tasks: dict[int, int] = {}  # of each actor whose model is open
        found: dict[int, dict[str, Any]] = {}
        told, most, is_read = 0, 2 * _AHEAD * len(self.actors), False
        while True:
            while tasks and min(tasks.values()) < _AHEAD:
                has_room = not is_read and len(under_way) + len(found) < most
                block = again.pop() if again else next(new, None) if has_room else None
                if block is None:
                    is_read = is_read or has_room
                    break
                actor = min(tasks, key=tasks.__getitem__)
                tasks[actor] += 1
                under_way[self.actors[actor].answer.remote(block.points)] = actor, block
            if is_read and not again and not under_way:
                return
            if not opening and not tasks:
                raise WorkerError("no worker of the cluster stays alive; is there memory enough?")
            for task in ray.wait([*under_way, *opening], num_returns=1)[0]:
                if task in opening:
                    actor = opening.pop(task)
                    with suppress(ray.exceptions.RayActorError):  # it never came up
                        _got(task)
                        tasks[actor] = 0
                    continue
                actor, block = under_way.pop(task)
                try:
                    found[block.number] = _got(task)
                    tasks[actor] -= 1
                except ray.exceptions.RayActorError:
                    again.append(_survivor(block))
                    if tasks.pop(actor, None) is not None:
                        opening[self._open(actor)] = actor
            while told in found:
                yield found.pop(told)
                told += 1

    def _open(self, actor: int) -> Any:
        """Have an actor open its model, as soon as Ray has it (again)."""
        return self.actors[actor].open.options(max_task_retries=_PATIENCE).remote()


def _got(task: Any) -> Any:
    """What a task has returned; an error of ours as itself, without the actor's stack."""
    ray = require("ray")
    try:
        return ray.get(task)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, LearnedIndexError):
            raise error.cause from None
        raise


def _survivor(block: _Block) -> _Block:
    """The block, asked once more."""
    if block.deaths + 1 == _PATIENCE:
        first = block.number * BLOCK
        raise WorkerError(
            f"{_PATIENCE} workers have died with points {first} to {first + BLOCK - 1}; is there "
            "memory enough for them?"
        )
    return replace(block, deaths=block.deaths + 1)


@contextmanager
def ray_answers(
    model: str | Path, asked: Asked, *, workers: int | None = None, threads: int = 1
) -> Iterator[ClusterAnswers]:
    """Have the actors of a Ray cluster answer, for :func:`predict_file`.

    A cluster that Ray is connected to, or whose address stands in ``RAY_ADDRESS``, is used; else
    one is started on this machine, and ended with the block. Blocks come back in their order. An
    actor that dies is started again; meanwhile the others answer its blocks.

    Args:
        model: Directory of a saved model, which all machines see at this path.
        asked: How it is asked.
        workers: Actors; None: as many as the cluster has processors for. Those that it has none
            for wait until it has, and the others work.
        threads: CPU threads of each, for which it asks Ray (``num_cpus``).

    Raises:
        MissingExtraError: Ray is not installed.
    """
    # It would tell its makers of the cluster, which nobody has asked for.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = require("ray")
    path = str(Path(model).resolve())
    is_ours = not ray.is_initialized()
    if is_ours:
        local = {} if os.environ.get("RAY_ADDRESS") else {
            "num_cpus": max((workers or 1) * threads, available_cpus()), "include_dashboard": False
        }  # fmt: skip
        ray.init(log_to_driver=False, logging_level="error", **local)
    try:
        if workers is None:
            workers = max(1, int(ray.cluster_resources().get("CPU", 1)) // threads)
        actor = ray.remote(max_restarts=-1, num_cpus=threads)(BlockWorker)
        digest = file_digest(Path(path) / MANIFEST_NAME)
        yield ClusterAnswers([actor.remote(path, digest, asked, threads) for _ in range(workers)])
    finally:
        if is_ours:
            ray.shutdown()
