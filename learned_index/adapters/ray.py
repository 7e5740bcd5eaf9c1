"""Labels for many texts on a Ray cluster: for Ray Data, and for ``li predict --engine ray``."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from learned_index.adapters.batches import answer_columns, require_free
from learned_index.adapters.retrieval import opened
from learned_index.elias.thresholds import Threshold
from learned_index.errors import InputError
from learned_index.evaluation.predicting import Asked, answered
from learned_index.persistence.digest import file_digest
from learned_index.persistence.layout import MANIFEST_NAME
from learned_index.system.extras import require
from learned_index.system.threads import available_cpus, set_threads

_AHEAD = 2
"""Blocks that an actor has before it at most: it need not wait, and little is in flight."""


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

    Raises:
        InputError: Another model lies there.
    """

    def __init__(self, model: str, digest: str, asked: Asked, threads: int) -> None:
        set_threads(threads)
        if file_digest(Path(model) / MANIFEST_NAME) != digest:
            raise InputError(
                f"{model} is another model on this machine than on the one that asks; copy it there"
            )
        self._model, self._asked = opened(model), asked

    def answer(self, points: Any) -> dict[str, Any]:
        """Arrays of answers, see :func:`~learned_index.evaluation.predicting.answered`."""
        return answered(self._model, points, self._asked)

    def process_id(self) -> int:
        """Of the process that it lives in."""
        return os.getpid()


@dataclass(frozen=True)
class ClusterAnswers:
    """An :data:`~learned_index.evaluation.predicting.Answering` of actors.

    Attributes:
        actors: Handles of :class:`BlockWorker`.
    """

    actors: Sequence[Any]

    def __call__(self, blocks: Iterator[Any]) -> Iterator[dict[str, Any]]:
        """The answers to blocks of points, in their order."""
        ray = require("ray")
        under_way: deque[Any] = deque()
        for number, points in enumerate(blocks):
            under_way.append(self.actors[number % len(self.actors)].answer.remote(points))
            if len(under_way) >= _AHEAD * len(self.actors):
                yield ray.get(under_way.popleft())
        while under_way:
            yield ray.get(under_way.popleft())


@contextmanager
def ray_answers(model: str | Path, asked: Asked, *, workers: int) -> Iterator[ClusterAnswers]:
    """Have the actors of a Ray cluster answer, for :func:`predict_file`.

    A cluster that Ray is connected to, or whose address stands in ``RAY_ADDRESS``, is used; else
    one is started on this machine, and ended with the block. Blocks come back in their order. An
    actor that dies is started again, and its blocks are asked again.

    Args:
        model: Directory of a saved model, which all machines see at this path.
        asked: How it is asked.
        workers: Actors.

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
            "num_cpus": max(workers, available_cpus()), "include_dashboard": False
        }  # fmt: skip
        ray.init(log_to_driver=False, logging_level="error", **local)
    try:
        threads = max(1, available_cpus() // workers)
        actor = ray.remote(max_restarts=-1, max_task_retries=-1, num_cpus=1)(BlockWorker)
        digest = file_digest(Path(path) / MANIFEST_NAME)
        actors = [actor.remote(path, digest, asked, threads) for _ in range(workers)]

        yield ClusterAnswers(actors)
    finally:
        if is_ours:
            ray.shutdown()
