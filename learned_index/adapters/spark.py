"""Labels for the rows of a Spark table, by ``mapInPandas``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learned_index.adapters.batches import COLUMNS, answer_columns, opened_once, require_free
from learned_index.elias.thresholds import Threshold
from learned_index.system.extras import require


def with_labels(
    frame: Any,
    model: str | Path,
    *,
    text: str = "text",
    k: int = 10,
    threshold: Threshold | None = None,
) -> Any:
    """Add the best labels of each row as columns.

    Each Python process of an executor opens the model once. A task that dies is run again by Spark:
    no row is lost, and none is there twice.

    Args:
        frame: A ``pyspark.sql.DataFrame``.
        model: Directory of a saved model, which all executors see at this path. A compiled one
            (``li compile``) is mapped: the processes of a machine share its pages.
        text: Column of the texts; a row without one has no labels.
        k: Labels of a row.
        threshold: As :meth:`ELIAS.search`.

    Returns:
        The table with the columns ``labels``, ``keys``, ``scores`` and, of a calibrated model,
        ``probabilities``: arrays, best first.

    Raises:
        InputError: There is no such column, or one that is called as an answer's.
        ModelFormatError: No model lies there.
        MissingExtraError: pyspark is not installed.
    """
    types = require("pyspark.sql.types")
    require("pandas", extra="spark")
    require_free(list(frame.columns), text)
    path = str(Path(model).resolve())
    is_calibrated = opened_once(path).calibrator_ is not None
    fields = list(frame.schema.fields)
    for name in COLUMNS:
        if name != "probabilities" or is_calibrated:
            each = types.StringType() if name in ("labels", "keys") else types.FloatType()
            fields.append(types.StructField(name, types.ArrayType(each, False), False))
    schema = types.StructType(fields)
    return frame.mapInPandas(LabelRows(path, text, k, threshold), schema)


@dataclass(frozen=True)
class LabelRows:
    """What :func:`with_labels` has ``mapInPandas`` call in the executors.

    Attributes:
        model: Directory of the model.
        text: Column of the texts.
        k: Labels of a row.
        threshold: As :meth:`ELIAS.search`.
    """

    model: str
    text: str = "text"
    k: int = 10
    threshold: Threshold | None = None

    def __call__(self, tables: Iterator[Any]) -> Iterator[Any]:
        """The tables, pandas, with columns of answers."""
        model = opened_once(self.model)
        for table in tables:
            texts = [text if isinstance(text, str) else "" for text in table[self.text]]
            columns = answer_columns(model, texts, k=self.k, threshold=self.threshold)
            yield table.assign(**columns)
