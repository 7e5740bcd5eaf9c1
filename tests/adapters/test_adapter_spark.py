"""Tables of Spark get labels, and keep their rows when a worker dies."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from document_cases import ROOT, blocks
from elias_cases import compiled, queries

from learned_index.adapters.batches import answer_columns
from learned_index.errors import InputError

pyspark = pytest.importorskip("pyspark", reason="pyspark is not installed: the extra spark")
pytest.importorskip("pandas", reason="pandas is not installed: the extra spark")

pytestmark = pytest.mark.slow
model = compiled

N_ROWS = 200


@pytest.fixture(scope="module")
def session() -> Iterator[Any]:
    from pyspark.sql import SparkSession

    tests = str(Path(__file__).parents[1])
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["PYTHONPATH"] = os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])
    session = (
        SparkSession.builder.master("local[2,4]")  # two workers, four tries of a task
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("OFF")
    yield session
    session.stop()


@pytest.fixture(scope="module")
def table(session: Any) -> Any:
    texts = (queries(40) * N_ROWS)[:N_ROWS]
    rows = [(number, text if number % 9 else None) for number, text in enumerate(texts)]
    return session.createDataFrame(rows, "id long, text string").repartition(4)


def expected(model: Path, k: int) -> dict[int, list[str]]:
    from learned_index.elias.model import ELIAS

    texts = [text if number % 9 else "" for number, text in enumerate((queries(40) * 5)[:N_ROWS])]
    columns = answer_columns(ELIAS.from_pretrained(model), texts, k=k)
    return dict(enumerate(columns["labels"]))


def test_every_row_gets_the_labels_of_the_model(model: Path, table: Any) -> None:
    from learned_index.adapters.spark import with_labels

    labelled = with_labels(table, model, k=3)
    assert labelled.columns == ["id", "text", "labels", "keys", "scores", "probabilities"]
    rows = labelled.collect()
    found = {row.id: row.labels for row in rows}
    assert len(rows) == len(found) == N_ROWS and found == expected(model, 3)
    row = next(row for row in rows if row.labels)
    assert len(row.labels) == len(row.scores) == len(row.probabilities)
    assert row.scores == sorted(row.scores, reverse=True)


def test_a_killed_worker_loses_no_row_and_doubles_none(
    model: Path, table: Any, tmp_path: Path
) -> None:
    from spark_cases import DyingRows

    from learned_index.adapters.spark import with_labels

    schema = with_labels(table, model, k=3).schema
    dying = DyingRows(str(model), "text", 3, None, once=str(tmp_path / "died"))
    rows = table.mapInPandas(dying, schema).collect()
    assert (tmp_path / "died").exists()
    found = {row.id: row.labels for row in rows}
    assert len(rows) == N_ROWS and found == expected(model, 3)


def test_a_worker_has_the_threads_that_spark_gives_a_task(table: Any) -> None:
    from spark_cases import threads

    told = {row.id for row in table.mapInPandas(threads, "id long").collect()}
    assert told == {1}, "else each of the workers of a machine would use all of its processors"


def test_columns_are_checked_before_anything_runs(model: Path, table: Any) -> None:
    from learned_index.adapters.spark import with_labels

    with pytest.raises(InputError, match="no column 'title'; there are id, text"):
        with_labels(table, model, text="title")
    with pytest.raises(InputError, match="has a column 'keys' already"):
        with_labels(table.withColumnRenamed("id", "keys"), model)


def test_the_code_of_the_page_runs(model: Path, session: Any, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "my-model").symlink_to(model)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"session": session}
    for _, language, code in blocks(ROOT / "docs" / "adapters" / "spark.md"):
        if language == "python":
            exec(code, names)
    assert [len(row.labels) for row in names["labelled"].sort("id").collect()][1] == 0
