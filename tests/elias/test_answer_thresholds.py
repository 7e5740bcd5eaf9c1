"""Answers above a threshold: against the same answers without one, filtered by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from elias_cases import queries

from learned_index import ELIAS
from learned_index.elias.label_scores import part_scores
from learned_index.elias.thresholds import scored_answers
from learned_index.errors import InputError

TEXTS = [*queries(20), "", "zzz unknown"]
GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "models" / "model"


@pytest.fixture(scope="module")
def model(calibrated_model: Path) -> ELIAS:
    return ELIAS.from_pretrained(calibrated_model)


@pytest.fixture(scope="module")
def golden() -> ELIAS:
    """Without a final ranker, and saved by a version that knew no thresholds."""
    return ELIAS.from_pretrained(GOLDEN)


def least(model: ELIAS) -> Any:
    return model.calibrator_.thresholds_.of_labels(model.label_counts)


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.7, 1.0])
def test_answers_below_a_number_are_left_out(model: ELIAS, threshold: float) -> None:
    for method in (model.predict, model.predict_proba):
        expected = [
            [(name, score) for name, score in row if score >= np.float32(threshold)]
            for row in method(TEXTS, 30)
        ]
        assert method(TEXTS, 30, threshold=threshold) == expected
    assert len({len(row) for row in model.predict(TEXTS, 30, threshold=0.2)}) > 1


def test_the_best_thresholds_are_those_of_the_labels(model: ELIAS) -> None:
    probable, ranked = model.predict_proba(TEXTS, 30), model.predict(TEXTS, 30)
    least_L = least(model)
    kept = [[p >= least_L[model.vocabulary.id(name)] for name, p in row] for row in probable]
    for rows, method in ((probable, model.predict_proba), (ranked, model.predict)):
        expected = [
            [pair for pair, is_kept in zip(*both, strict=True) if is_kept]
            for both in zip(rows, kept, strict=True)
        ]
        assert method(TEXTS, 30, threshold="best") == expected
    assert 0 < sum(map(sum, kept)) < sum(map(len, kept))


def test_filters_go_along(model: ELIAS) -> None:
    deny = ["algebra", "music"]
    found = model.predict_proba(TEXTS, 30, threshold=0.1, deny=deny)
    expected = model.predict_proba(TEXTS, 30, deny=deny)
    assert found == [[pair for pair in row if pair[1] >= np.float32(0.1)] for row in expected]
    assert not {"Algebra", "Music"} & {name for row in found for name, _ in row}


@pytest.mark.parametrize("name", ["model", "golden"])
def test_both_scores_at_once_are_those_of_two_searches(
    name: str, request: pytest.FixtureRequest
) -> None:
    one: ELIAS = request.getfixturevalue(name)
    for k in (3, 30):  # 30: beyond the shortlist
        found, p = scored_answers(one, TEXTS, k)
        ranked = one.search(TEXTS, k)
        np.testing.assert_array_equal(found.ids, ranked.ids)
        np.testing.assert_array_equal(found.scores, ranked.scores)
        np.testing.assert_array_equal(p, one.search(TEXTS, k, score="probability").scores)
    found, p = scored_answers(one, TEXTS, 30, threshold=0.3)
    inside = found.ids >= 0
    assert p is not None and (p[inside] >= 0.3).all() and np.isneginf(p[~inside]).all()
    assert not (~inside[:, :-1] & inside[:, 1:]).any()


@pytest.mark.parametrize("name", ["model", "golden"])
def test_parts_of_a_score_are_those_of_its_explanation(
    name: str, request: pytest.FixtureRequest
) -> None:
    one: ELIAS = request.getfixturevalue(name)
    texts = TEXTS[:4]
    ids = one.search(texts, 5).ids
    parts = part_scores(one, [*texts, ""], np.vstack([ids, np.full((1, 5), -1)]))
    assert parts.ranker_q is not None
    assert np.isnan(parts.index_p[-1]).all() and np.isnan(parts.ranker_q[-1]).all()
    for row, text in enumerate(texts):
        for place, why in enumerate(one.explain(text, ids[row])):
            assert why.ranker is not None
            assert parts.ranker_q[row, place] == pytest.approx(why.ranker.margin, abs=1e-4)
            assert parts.index_p[row, place] == pytest.approx(why.index[0].p, abs=1e-5)


def test_what_is_no_threshold_is_refused(model: ELIAS, golden: ELIAS, text_model: Path) -> None:
    for wrong, text in ((1.5, "0.0 to 1.0"), ("f1", "or 'best'"), (float("nan"), "finite")):
        with pytest.raises(InputError, match=text):
            model.predict(TEXTS, threshold=wrong)
    with pytest.raises(InputError, match="give a number"):
        model.search(TEXTS, score="index", threshold="best")
    with pytest.raises(InputError, match="earlier version"):
        golden.predict_proba(TEXTS, threshold="best")
    alone = ELIAS.from_pretrained(text_model)
    with pytest.raises(InputError, match="without calibration"):
        alone.predict(TEXTS, threshold="best")
    found = alone.predict(TEXTS, 30, threshold=0.4)
    assert found == [
        [p for p in row if p[1] >= np.float32(0.4)] for row in alone.predict(TEXTS, 30)
    ]
    assert scored_answers(alone, TEXTS, 3)[1] is None
