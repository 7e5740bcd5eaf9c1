"""A model's answers to a stream of points in a file: atomic, resumable, the same bytes either way.

What is found is kept block by block in a hidden folder beside the file until all of it is there.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from learned_index.data.predictions.points import BLOCK, PointBlock, PointSource
from learned_index.data.predictions.writing import PredictedBlock, write_predictions
from learned_index.elias.model import ELIAS
from learned_index.elias.parts import SearchOptions
from learned_index.elias.thresholds import Threshold, scored_answers
from learned_index.errors import InputError
from learned_index.persistence import load_arrays, save_arrays, writing
from learned_index.persistence.digest import bytes_digest, data_digest, digest, file_digest
from learned_index.persistence.layout import MANIFEST_NAME
from learned_index.persistence.names import real_path
from learned_index.persistence.partial import (
    flush,
    partial_folder,
    record_rows,
    recorded_rows,
    sweep_partial,
)
from learned_index.types import PAD_ID

Answering: TypeAlias = Callable[[Iterator[Any]], Iterator[dict[str, Any]]]
"""Given the points of blocks, yields what :func:`answered` makes of each, in their order."""


@dataclass(frozen=True)
class Written:
    """What was written.

    Attributes:
        n_points: Points.
        n_unanswered: Those without any answer.
        n_resumed: Points that an earlier, interrupted run had answered.
    """

    n_points: int
    n_unanswered: int
    n_resumed: int


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How a model is asked.

    Attributes:
        k: Labels wanted of each point.
        threshold: Answers below it are left out, see :meth:`ELIAS.search`; None: none are.
        options: Beam width and shortlist size.
    """

    k: int = 10
    threshold: Threshold | None = None
    options: SearchOptions | None = None


def survey(
    source: PointSource, *, progress: Callable[[int, int], None] | None = None
) -> tuple[int, str]:
    """Read all points once: how many there are, and a digest of them.

    Raises:
        DataFormatError, InputError: A point that cannot be read.
    """
    count = 0

    def digests() -> Iterator[bytes]:
        nonlocal count
        for block in source.blocks():
            count += _size(block)
            yield data_digest(block.points, block.ids).encode()
            if progress is not None:
                progress(count, 0)

    told = bytes_digest(digests())
    return count, told


def answered(model: ELIAS, points: Any, asked: Asked) -> dict[str, Any]:
    """A model's answers to a block of points.

    Returns:
        ``ids`` int64 and ``scores`` float32, B x k; of a calibrated model ``probabilities`` too.
    """
    found, probability = scored_answers(
        model, points, model.at_most(asked.k), threshold=asked.threshold, options=asked.options
    )
    arrays: dict[str, Any] = {"ids": found.ids, "scores": found.scores}
    if probability is not None:
        arrays["probabilities"] = probability
    return arrays


def predict_file(
    model: ELIAS,
    saved: Path,
    source: PointSource,
    out: Path,
    asked: Asked,
    *,
    answering: Answering | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Written:
    """Write a model's answers to all points of a source into a file.

    An interrupted run leaves its work beside ``out``; the same call goes on with it, and ends with
    the bytes that an unbroken run would have written. A run with other points, another model or
    other wishes begins anew.

    Args:
        model: The model.
        saved: The directory that it was read from, by whose checksums it is known again.
        source: The points.
        out: The file; its name tells the format, see
            :func:`~learned_index.data.predictions.writing.write_predictions`.
        asked: How the model is asked.
        answering: Who answers, asked so; None: this process.
        progress: Called with the points that are done and all.

    Raises:
        DataFormatError, InputError: A point that cannot be read, no point at all, another ending.
        StorageError: The place cannot be written to.
    """
    n_points, points = survey(source)
    if not n_points:
        raise InputError("there are no texts to predict for; the file is empty")
    job = {
        "model": file_digest(saved / MANIFEST_NAME),
        "points": points,
        "k": asked.k,
        "threshold": asked.threshold,
        "options": dict(asked.options or {}),
        "block": BLOCK,
    }
    key = digest(job)[:16]  # enough to tell jobs apart in a short file name
    path = real_path(out)
    with writing(path):
        with partial_folder(path, key) as folder:
            done = _rows_done(folder, n_points)
            if progress is not None:
                progress(done, n_points)
            _answer(
                answering or (lambda blocks: (answered(model, each, asked) for each in blocks)),
                source, folder, done=done, n_points=n_points, progress=progress,
            )  # fmt: skip
            unanswered = [0]
            blocks = _kept_blocks(folder, source, unanswered)
            write_predictions(path, blocks, model.vocabulary, n_points=n_points)
            shutil.rmtree(folder, ignore_errors=True)
        sweep_partial(path)
    return Written(n_points, unanswered[0], done)


def _size(block: PointBlock) -> int:
    return int(block.points.shape[0] if hasattr(block.points, "shape") else len(block.points))


def _rows_done(folder: Path, n_points: int) -> int:
    """Points of whole blocks that an earlier run has kept."""
    rows = recorded_rows(folder)
    if type(rows) is not int or not 0 <= rows <= n_points:
        return 0
    n_blocks = -(-rows // BLOCK)
    is_whole = rows % BLOCK == 0 or rows == n_points
    return rows if is_whole and all(_file(folder, n).is_file() for n in range(n_blocks)) else 0


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:08d}.safetensors"


def _answer(
    answering: Answering,
    source: PointSource,
    folder: Path,
    *,
    done: int,
    n_points: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Ask for the points that are not done, and keep what is answered."""
    asked: deque[tuple[int, int]] = deque()  # number of each block, and points up to its end

    def left() -> Iterator[Any]:
        end = 0
        for number, block in enumerate(source.blocks()):
            end += _size(block)
            if end > done:
                asked.append((number, end))
                yield block.points

    for arrays in answering(left()):
        number, end = asked.popleft()
        path = _file(folder, number)
        save_arrays(path, arrays)
        with path.open("rb+") as file:
            flush(file)  # first: the record must never name what the disk does not have
        record_rows(folder, end)
        if progress is not None:
            progress(end, n_points)


def _kept_blocks(
    folder: Path, source: PointSource, unanswered: list[int]
) -> Iterator[PredictedBlock]:
    for number, block in enumerate(source.blocks()):
        arrays = load_arrays(_file(folder, number))
        unanswered[0] += int((arrays["ids"] == PAD_ID).all(axis=1).sum())
        yield PredictedBlock(
            np.asarray(arrays["ids"], np.int64),
            np.asarray(arrays["scores"], np.float32),
            arrays.get("probabilities"),
            block.ids,
        )
