"""A model as a search model of MTEB: MTEB's own evaluation, beside ours."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from conftest import tiny_dataset
from document_cases import ROOT, blocks
from elias_cases import fitted, queries

from learned_index import ELIAS
from learned_index.adapters.mteb import LabelSearch, label_task
from learned_index.data import Dataset
from learned_index.errors import InputError, MissingExtraError
from learned_index.evaluation.evaluate import evaluate

try:
    import mteb
except ModuleNotFoundError:
    mteb = None
needs_mteb = pytest.mark.skipif(
    mteb is None, reason="needs MTEB: pip install 'learned-index[mteb]'"
)


@pytest.fixture(scope="module")
def model() -> ELIAS:
    return fitted()


@pytest.fixture(scope="module")
def test_points() -> Dataset:
    return tiny_dataset("test", 30, seed=2)


def corpus(model: ELIAS, labels: range | None = None) -> list[dict]:
    return [
        {"id": model.vocabulary.keys[i], "text": f"about {i}"}
        for i in labels or range(model.n_labels)
    ]


def asked(texts: list[str]) -> list[dict]:
    return [{"id": f"q{i}", "text": text} for i, text in enumerate(texts)]


def in_order(scores: dict[str, float]) -> list[str]:
    values = list(scores.values())
    assert values == sorted(values, reverse=True) and len(set(values)) == len(values)
    return list(scores)


def test_answers_are_those_of_the_model(model: ELIAS) -> None:
    adapter = LabelSearch(model)
    adapter.index(corpus(model), task_metadata=None, num_proc=None)
    found = adapter.search(asked(queries(5)), top_k=4, encode_kwargs={}, num_proc=None)
    result = model.search(queries(5), 4)
    for i, scores in enumerate(found.values()):
        assert in_order(scores) == [model.vocabulary.keys[each] for each in result.ids[i]]
        assert np.allclose(list(scores.values()), result.scores[i], atol=1e-6)
    assert list(found) == [f"q{i}" for i in range(5)]


def test_only_documents_are_answered_and_all_that_are_asked_for(model: ELIAS, caplog) -> None:
    adapter = LabelSearch(model)
    documents = [*corpus(model, range(3, 11)), {"id": "nobody", "text": "x"}]
    with caplog.at_level(logging.WARNING):
        adapter.index(documents)
    assert "1 of 9 documents are no labels of the model" in caplog.text
    (scores,) = adapter.search(asked(queries(1)), top_k=100).values()
    result = model.search(queries(1), 8, allow=np.arange(3, 11))
    expected = [model.vocabulary.keys[each] for each in result.ids[0] if each >= 0]
    assert in_order(scores) == expected
    # A task of reranking names the documents of each query.
    keys = model.vocabulary.keys
    ranked = {"q0": [keys[4], keys[9], "nobody", keys[5]]}
    (scores,) = adapter.search(asked(queries(1)), top_k=100, top_ranked=ranked).values()
    assert set(scores) == {keys[4], keys[5], keys[9]}
    values = model.score(queries(1), [4, 9, 5])[0]
    assert in_order(scores) == [keys[(4, 9, 5)[i]] for i in np.argsort(-values, kind="stable")]


def test_documents_can_be_told_by_their_texts(model: ELIAS) -> None:
    names = list(model.vocabulary)
    documents = [
        {"id": "a", "title": names[0], "text": "more"},
        {"id": "b", "text": names[1]},
    ]
    adapter = LabelSearch(model, match="text")
    adapter.index(documents)
    (scores,) = adapter.search(asked(queries(1)), top_k=5).values()
    assert set(scores) <= {"a", "b"} and scores
    with pytest.raises(InputError, match="'a' and 'c' are both the label"):
        adapter.index([*documents, {"id": "c", "text": names[0]}])


def test_what_cannot_be_is_said(model: ELIAS) -> None:
    with pytest.raises(InputError, match="expected 'key' or 'text'"):
        LabelSearch(model, match="name")
    adapter = LabelSearch(model)
    with pytest.raises(InputError, match="nothing is indexed"):
        adapter.search(asked(["a"]), top_k=1)
    with pytest.raises(InputError, match="none of the 1 documents is a label of the model"):
        adapter.index([{"id": "nobody", "text": "x"}])
    adapter.index(corpus(model))
    with pytest.raises(InputError, match="a query is a conversation"):
        adapter.search([{"id": "q", "text": ["a", "b"]}], top_k=1)


@pytest.mark.skipif(mteb is not None, reason="MTEB is installed")
def test_without_mteb_the_pip_command_is_named(model: ELIAS, test_points: Dataset) -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'learned-index\[mteb\]'"):
        label_task(test_points, "Tiny")
    with pytest.raises(MissingExtraError, match=r"pip install 'learned-index\[mteb\]'"):
        _ = LabelSearch(model).mteb_model_meta


@needs_mteb
def test_mteb_measures_what_we_measure(model: ELIAS, test_points: Dataset) -> None:
    adapter = LabelSearch(model, name="me/tiny")
    assert isinstance(adapter, mteb.SearchProtocol)
    task = label_task(test_points, "TinyLabels")
    result = mteb.evaluate(adapter, task, cache=None, show_progress_bar=False)
    assert result.model_name == "me/tiny"
    (scores,) = result.task_results[0].scores["test"]
    ours = evaluate(model, test_points)
    for theirs, own in (
        ("precision_at_1", "P@1"), ("precision_at_5", "P@5"), ("ndcg_at_5", "nDCG@5"),
        ("recall_at_10", "R@10"),
    ):  # fmt: skip
        assert 100 * scores[theirs] == pytest.approx(ours[own], abs=2e-3), theirs
    assert scores["main_score"] == scores["ndcg_at_5"]


@needs_mteb
def test_a_task_of_mteb_whose_documents_are_other_things_is_refused(model: ELIAS) -> None:
    from mteb.mocks.mock_tasks import MockRetrievalTask

    with pytest.raises(InputError, match="documents is a label of the model"):
        mteb.evaluate(LabelSearch(model), MockRetrievalTask(), cache=None, show_progress_bar=False)


@needs_mteb
def test_results_of_one_model_are_not_taken_for_another(model: ELIAS, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "my-model")
    saved = LabelSearch(tmp_path / "my-model").mteb_model_meta
    assert saved.name == "learned-index/my-model"
    assert saved.revision == LabelSearch(tmp_path / "my-model").mteb_model_meta.revision
    first, second = (LabelSearch(model).mteb_model_meta.revision for _ in range(2))
    assert len({saved.revision, first, second}) == 3


@needs_mteb
def test_the_page_runs(
    model: ELIAS, text_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MTEB_CACHE", str(tmp_path / "cache"))
    model.save_pretrained("my-model")
    Path("my-data").symlink_to(text_folder)
    page = blocks(ROOT / "docs" / "adapters" / "mteb.md")
    (code,) = [text for _, language, text in page if language == "python"]
    found: dict = {}
    exec(compile(code, "mteb.md", "exec"), found)
    assert found["result"].task_results[0].task_name == "MyLabels"
