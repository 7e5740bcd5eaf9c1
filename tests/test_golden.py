"""Stored models answer as they always did, and training makes the same models again.

``tests/golden/make.py`` made the files. Processors round differently, and training adds that up
over its steps. Beside a run with all of AVX-512, runs with AVX2 and with SSE alone (Numba's generic
code, the oldest paths of torch, NumPy and BLAS) moved the scores of stored models by 2.4e-7 at most
and those of models trained anew by 1.4e-6: well separated data and few small steps keep it low.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import golden_cases as cases
import numpy as np
import pytest

TOLERANCE = 1e-5
MODELS = cases.FOLDER / "models"


@pytest.fixture(scope="module")
def vectors() -> cases.VectorData:
    return cases.read_vectors()


@pytest.fixture(scope="module")
def texts() -> cases.TextData:
    return cases.read_texts()


@pytest.fixture(scope="module")
def answers() -> dict[str, np.ndarray]:
    with np.load(cases.FOLDER / "answers.npz") as file:
        return dict(file)


@pytest.fixture(params=cases.QUESTIONS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def asked(model: Any, name: str, vectors: cases.VectorData, texts: cases.TextData) -> dict:
    """Ids and scores of all queries for each question."""
    return {
        question: cases.answer(
            model, question, vectors.queries if question == "search" else texts.queries
        )
        for question in cases.QUESTIONS[name]
    }


def compare(found: dict, name: str, answers: dict[str, np.ndarray]) -> None:
    for question, (ids, scores) in found.items():
        key = f"{name}/{question}"
        rows = answers[f"{key}/rows"]
        np.testing.assert_array_equal(ids[rows], answers[f"{key}/ids"], err_msg=key)
        np.testing.assert_allclose(
            scores[rows], answers[f"{key}/scores"], rtol=0, atol=TOLERANCE, err_msg=key
        )
        assert ids.dtype == np.int64 and scores.dtype == np.float32


def test_there_are_enough_answers_without_near_ties(answers) -> None:
    keys = [key.removesuffix("/rows") for key in answers if key.endswith("/rows")]
    assert sorted(keys) == sorted(f"{n}/{q}" for n in cases.QUESTIONS for q in cases.QUESTIONS[n])
    assert sum(len(answers[f"{key}/ids"]) for key in keys) >= 200
    for key in keys:
        assert len(answers[f"{key}/ids"]) >= 20
        if key.endswith("/probability"):  # of the labels in the order of another score
            continue
        scores = answers[f"{key}/scores"]
        # Padded scores are -inf, and follow only scores above 0.
        steps = -np.diff(np.where(np.isfinite(scores), scores, -np.arange(1.0, cases.K + 1)))
        assert steps.min() > cases.GAP


def test_a_stored_model_answers_as_it_did(name, vectors, texts, answers) -> None:
    model = cases.load(name, MODELS / name)
    compare(asked(model, name, vectors, texts), name, answers)


def test_a_stored_model_saved_again_answers_the_same(name, vectors, texts, tmp_path: Path) -> None:
    model = cases.load(name, MODELS / name)
    cases.save(model, tmp_path / "again")
    again = asked(cases.load(name, tmp_path / "again"), name, vectors, texts)
    for question, both in asked(model, name, vectors, texts).items():
        for mine, theirs in zip(both, again[question], strict=True):
            assert mine.tobytes() == theirs.tobytes()


def test_labels_are_named_as_they_were(texts, answers) -> None:
    stored = json.loads((cases.FOLDER / "names.json").read_text(encoding="utf-8"))
    model = cases.load("model", MODELS / "model")
    rows = answers["model/ranking/rows"]
    found = cases.named_answers(model, [texts.queries[row] for row in rows])
    assert set(found) == set(stored)
    for method, lists in found.items():
        for mine, theirs in zip(lists, stored[method], strict=True):
            assert [label for label, _ in mine] == [label for label, _ in theirs]
            np.testing.assert_allclose(
                [score for _, score in mine], [score for _, score in theirs], rtol=0, atol=TOLERANCE
            )


@pytest.mark.parametrize("trained", cases.TRAINED)
def test_training_makes_the_model_that_is_stored(trained, vectors, texts, answers) -> None:
    model = cases.train(trained, vectors, texts)
    found = asked(model, trained, vectors, texts)
    compare(found, trained, answers)
