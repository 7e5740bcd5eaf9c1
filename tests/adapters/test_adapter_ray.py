"""Texts are answered by the actors of a Ray cluster, also when one of them dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_cases import li
from document_cases import ROOT, blocks
from elias_cases import compiled, queries

from learned_index.data.predictions.points import BLOCK, PointBlock, PointSource
from learned_index.elias.model import ELIAS
from learned_index.errors import InputError, WorkerError
from learned_index.evaluation.predicting import Asked, predict_file

ray = pytest.importorskip("ray", reason="ray is not installed: the extra ray")
import ray_cases  # noqa: E402

from learned_index.adapters.ray import (  # noqa: E402
    BlockWorker,
    ClusterAnswers,
    LabelPredictor,
    ray_answers,
)

pytestmark = pytest.mark.slow
cluster, model = ray_cases.cluster, compiled

TEXTS = (queries(40) * (3 * BLOCK // 40 + 1))[: 3 * BLOCK + 7]


class Some(PointSource):
    """Texts in memory."""

    def blocks(self) -> Iterator[PointBlock]:
        for start in range(0, len(TEXTS), BLOCK):
            yield PointBlock(TEXTS[start : start + BLOCK], None)


@pytest.fixture(scope="module")
def plain(model: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    out = tmp_path_factory.mktemp("plain") / "p.jsonl"
    predict_file(ELIAS.from_pretrained(model), model, Some(), out, Asked(k=3))
    return out.read_bytes()


def test_a_killed_actor_loses_no_row_and_doubles_none(
    model: Path, cluster: None, plain: bytes, tmp_path: Path
) -> None:
    asked, killed = Asked(k=3), []
    with ray_answers(model, asked, workers=2) as answering:
        actors = answering.actors

        def kill(done: int, total: int) -> None:
            if done >= BLOCK and not killed:
                killed.append(ray.get(actors[1].open.remote()))
                os.kill(killed[0], signal.SIGKILL)

        out = tmp_path / "p.jsonl"
        loaded = ELIAS.from_pretrained(model)
        found = predict_file(loaded, model, Some(), out, asked, answering=answering, progress=kill)
        assert ray.get(actors[1].open.options(max_task_retries=-1).remote()) != killed[0]
    assert found.n_points == len(TEXTS) and found.n_resumed == 0
    assert out.read_bytes() == plain


def test_points_that_end_every_worker_are_given_up(cluster: None) -> None:
    class Dying:  # a local one: the workers cannot import this file
        def open(self) -> int:
            return os.getpid()

        def answer(self, texts: list[str]) -> dict[str, Any]:
            if "the end" in texts:
                os._exit(1)
            return {"texts": texts}

    actor = ray.remote(max_restarts=-1)(Dying)
    answering = ClusterAnswers([actor.remote() for _ in range(2)])
    blocks = [[str(number)] for number in range(20)]
    assert [each["texts"] for each in answering(iter(blocks))] == blocks
    with pytest.raises(WorkerError, match="3 workers have died with points 5120 to 6143"):
        list(answering(iter([*blocks[:5], ["the end"], *blocks[5:]])))


def test_another_model_on_a_machine_is_refused_in_words(model: Path, cluster: None) -> None:
    actor = ray.remote(BlockWorker).remote(str(model), "another digest", Asked(), 1)
    with pytest.raises(InputError, match=r"^\S+ is another model on this machine than on the one"):
        list(ClusterAnswers([actor])(iter([TEXTS[:3]])))


def test_the_command_writes_the_same_bytes_by_either_engine(
    model: Path, cluster: None, tmp_path: Path
) -> None:
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS[: BLOCK + 9]), encoding="utf-8")
    for engine, more in (("local", []), ("ray", ["--workers", "2"])):
        asked = ["predict", model, tmp_path / "texts.txt", "--out", tmp_path / f"{engine}.jsonl"]
        result = li(*asked, "--engine", engine, *more)
        assert result.exit_code == 0, result.output
    assert (tmp_path / "ray.jsonl").read_bytes() == (tmp_path / "local.jsonl").read_bytes()


def test_batches_of_ray_data_get_labels(model: Path, cluster: None) -> None:
    items = [{"id": number, "text": text} for number, text in enumerate(TEXTS[:300])]
    rows = ray.data.from_items(items).map_batches(
        LabelPredictor, fn_constructor_args=[str(model)], fn_constructor_kwargs={"k": 3},
        concurrency=2, batch_size=64,
    ).take_all()  # fmt: skip
    assert sorted(row["id"] for row in rows) == list(range(300))
    expected = ELIAS.from_pretrained(model).predict(TEXTS[:300], k=3)
    for row in rows:
        assert list(row["labels"]) == [label for label, _ in expected[row["id"]]]
        np.testing.assert_allclose(row["scores"], [score for _, score in expected[row["id"]]])


def test_the_code_of_the_page_runs(model: Path, cluster: None, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "my-model").symlink_to(model)
    code = next(code for _, language, code in blocks(ROOT / "docs" / "adapters" / "ray.md")
                if language == "python")  # fmt: skip
    names: dict[str, Any] = {}
    code = code.replace('"my-model"', repr(str(tmp_path / "my-model")))
    exec(code.replace("fold the dough and let it rise", TEXTS[0]), names)
    assert len(names["first"]) > 0
