"""Predictions written as a stream of blocks; equal blocks give equal bytes.

Legend: B points of a block, k labels each.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp

from learned_index.data.predictions.files import NAMED, PredictionFormat, format_of, labels_file
from learned_index.data.vocabulary import LabelVocabulary
from learned_index.persistence.atomic import atomic_file
from learned_index.system.extras import Deferred
from learned_index.types import PAD_ID, Float32Array, Int64Array

pyarrow = Deferred("pyarrow")
parquet = Deferred("pyarrow.parquet")


class PredictedBlock(NamedTuple):
    """Predictions for some points.

    Attributes:
        ids: int64, B x k, best first, padded with -1.
        scores: float32, B x k, not rising.
        probabilities: float32, B x k; None: there are none.
        point_ids: B names, or None.
    """

    ids: Int64Array
    scores: Float32Array
    probabilities: Float32Array | None = None
    point_ids: Sequence[str] | None = None


def write_predictions(
    path: Path, blocks: Iterable[PredictedBlock], vocabulary: LabelVocabulary, *, n_points: int
) -> None:
    """Write predictions; the file appears when it is whole.

    ``.jsonl`` and ``.parquet`` name labels: ``id`` (where points have one), ``labels``, ``keys``
    (where these are others), ``scores`` and ``probabilities`` (where there are any). ``.txt`` and
    ``.npz`` are N x L matrices of scores, whose labels :func:`labels_file` names.

    Args:
        path: Its name tells the format.
        blocks: Of the points, one after the other.
        vocabulary: The L labels.
        n_points: N, all points.

    Raises:
        InputError: Another ending.
        MissingExtraError: Parquet, and pyarrow is not installed.
        StorageError: The place cannot be written to.
    """
    kind = format_of(path)
    if kind not in NAMED:
        vocabulary.write(labels_file(path))
    with atomic_file(path) as temporary:
        _WRITERS[kind](temporary, blocks, vocabulary, n_points)


class _Names:
    """Names and keys of predicted labels; no keys where they are the names."""

    def __init__(self, vocabulary: LabelVocabulary) -> None:
        self.keys = vocabulary.keys
        self.names = vocabulary.names(range(len(vocabulary)))
        self.differ = tuple(self.names) != self.keys

    def columns(self, block: PredictedBlock, row: int) -> dict[str, Any]:
        """What is written of a point."""
        inside = block.ids[row] != PAD_ID
        ids = block.ids[row][inside].tolist()
        found: dict[str, Any] = {}
        if block.point_ids is not None:
            found["id"] = block.point_ids[row]
        found["labels"] = [self.names[label] for label in ids]
        if self.differ:
            found["keys"] = [self.keys[label] for label in ids]
        found["scores"] = _written(block.scores[row][inside])
        if block.probabilities is not None:
            found["probabilities"] = _written(block.probabilities[row][inside])
        return found


def _written(values: Float32Array) -> list[float]:
    """Numbers in the fewest digits that give back the same float32."""
    return [float(str(value)) for value in values]


def _write_json(
    path: Path, blocks: Iterable[PredictedBlock], vocabulary: LabelVocabulary, _: int
) -> None:
    names = _Names(vocabulary)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for block in blocks:
            for row in range(len(block.ids)):
                file.write(json.dumps(names.columns(block, row), ensure_ascii=False) + "\n")


def _write_parquet(
    path: Path, blocks: Iterable[PredictedBlock], vocabulary: LabelVocabulary, _: int
) -> None:
    names, writer = _Names(vocabulary), None
    schema: Any = None
    try:
        for block in blocks:
            rows = [names.columns(block, row) for row in range(len(block.ids))]
            if writer is None:
                schema = _schema(block, names)
                writer = parquet.ParquetWriter(path, schema)
            writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))
    finally:
        if writer is not None:
            writer.close()


def _schema(block: PredictedBlock, names: _Names) -> Any:
    fields = [("labels", pyarrow.list_(pyarrow.string()))]
    if block.point_ids is not None:
        fields.insert(0, ("id", pyarrow.string()))
    if names.differ:
        fields.append(("keys", pyarrow.list_(pyarrow.string())))
    fields.append(("scores", pyarrow.list_(pyarrow.float32())))
    if block.probabilities is not None:
        fields.append(("probabilities", pyarrow.list_(pyarrow.float32())))
    return pyarrow.schema(fields)


def _write_text(
    path: Path, blocks: Iterable[PredictedBlock], vocabulary: LabelVocabulary, n_points: int
) -> None:
    with path.open("w", encoding="ascii", newline="\n") as file:
        file.write(f"{n_points} {len(vocabulary)}\n")
        for block in blocks:
            for ids, scores in zip(block.ids, block.scores, strict=True):
                inside = ids != PAD_ID
                pairs = zip(ids[inside].tolist(), scores[inside].tolist(), strict=True)
                # Nine digits are enough to give back every float32 exactly.
                file.write(" ".join(f"{label}:{score:.9g}" for label, score in pairs) + "\n")


def _write_matrix(
    path: Path, blocks: Iterable[PredictedBlock], vocabulary: LabelVocabulary, n_points: int
) -> None:
    rows: list[sp.csr_matrix] = []
    for block in blocks:
        inside = block.ids != PAD_ID
        ends = np.append(0, np.cumsum(inside.sum(axis=1)))
        parts = (block.scores[inside], block.ids[inside], ends)
        rows.append(sp.csr_matrix(parts, shape=(len(block.ids), len(vocabulary))))
    matrix = sp.vstack(rows, format="csr") if rows else sp.csr_matrix((0, len(vocabulary)))
    matrix.sort_indices()
    assert matrix.shape[0] == n_points
    with path.open("wb") as file:  # a name would get another ending
        sp.save_npz(file, matrix)


_WRITERS: dict[
    PredictionFormat,
    Callable[[Path, Iterable[PredictedBlock], LabelVocabulary, int], None],
] = {"jsonl": _write_json, "parquet": _write_parquet, "xmc": _write_text, "npz": _write_matrix}
