"""Thresholds of head, torso and tail: the best F1 against a try of every cut; saving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from learned_index.errors import InputError
from learned_index.ranking.bands import frequency_band
from learned_index.ranking.calibration import Calibrator
from learned_index.ranking.thresholds import (
    ENOUGH_PAIRS,
    BandThresholds,
    ChosenThreshold,
    best_threshold,
)


def pairs(n: int = 600, n_labels: int = 40, seed: int = 0) -> dict[str, Any]:
    """Pairs whose outcomes follow their probability, which is too high for rare labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(n_labels, size=n)
    counts = rng.choice([1, 3, 20, 40, 80, 300], n_labels)
    p = np.round(rng.random(n), 2)  # many pairs share one
    relevant = rng.random(n) < p * np.where(counts[labels] < 6, 0.5, 1.0)
    n_true = np.bincount(labels[relevant], minlength=n_labels) + rng.integers(3, size=n_labels)
    return {"p": p, "relevant": relevant, "labels": labels, "n_true": n_true, "counts": counts}


def tried_f1(p: Any, relevant: Any, n_missed: int, threshold: float) -> float:
    """F1 by scikit-learn; what no search found is true and not answered."""
    truth = np.concatenate([relevant, np.ones(n_missed, bool)])
    answered = np.concatenate([p >= threshold, np.zeros(n_missed, bool)])
    return 100.0 * float(f1_score(truth, answered, zero_division=0.0))


def test_the_threshold_is_the_best_of_all_cuts() -> None:
    for seed in range(5):
        case = pairs(seed=seed)
        p, relevant, n_true = case["p"], case["relevant"], int(case["n_true"].sum())
        found = best_threshold(p, relevant, n_true)
        missed = n_true - int(relevant.sum())
        tried = [tried_f1(p, relevant, missed, each) for each in np.unique(p)]
        assert found.f1 == pytest.approx(max(tried))
        assert tried_f1(p, relevant, missed, found.threshold) == pytest.approx(found.f1)
        # Rounding to the float32 of a search moves no pair across.
        assert (
            (p.astype(np.float32) >= np.float32(found.threshold)) == (p >= found.threshold)
        ).all()


def test_nothing_right_means_no_answers() -> None:
    assert best_threshold([0.3, 0.9], [False, False], 4) == ChosenThreshold(1.0, 0.0, 4)
    assert best_threshold([], [], 0) == ChosenThreshold(1.0, 0.0, 0)


def test_each_band_has_its_own_and_a_small_one_that_of_all() -> None:
    case = pairs(n=4000)
    found = BandThresholds.fit(*(case[k] for k in ("p", "relevant", "labels", "n_true", "counts")))
    band_L = frequency_band(case["counts"])
    for band, (name, chosen) in enumerate(found.bands.items()):
        inside = band_L[case["labels"]] == band
        n_true = int(case["n_true"][band_L == band].sum())
        expected = best_threshold(case["p"][inside], case["relevant"][inside], n_true)
        assert n_true >= ENOUGH_PAIRS and chosen == expected, name
    assert found.bands["tail"].threshold != found.bands["head"].threshold
    np.testing.assert_array_equal(
        found.of_labels(case["counts"]),
        np.array([list(found.bands.values())[b].threshold for b in band_L], np.float32),
    )
    relevant = case["relevant"] & (band_L[case["labels"]] == 0)
    rare = np.bincount(case["labels"][relevant], minlength=40)
    rare[np.flatnonzero(band_L == 2)[0]] = ENOUGH_PAIRS - 1
    few = BandThresholds.fit(case["p"], relevant, case["labels"], rare, case["counts"])
    overall = best_threshold(case["p"], relevant, int(rare.sum()))
    assert few.bands["tail"].threshold == few.bands["torso"].threshold == overall.threshold
    assert few.bands["head"].threshold != overall.threshold


def test_a_calibrator_keeps_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    p = rng.random((200, 8)).astype(np.float32)
    ids = np.stack([rng.permutation(30)[:8] for _ in range(200)])
    relevant, counts = rng.random((200, 8)) < p / 2, rng.integers(1, 90, 30)
    n_true = np.bincount(ids[relevant], minlength=30)
    fitted = Calibrator("logistic").fit(p, p * 0, ids, relevant, counts)
    again = Calibrator("logistic").fit(p, p * 0, ids, relevant, counts, n_true_L=n_true)
    more = Calibrator("logistic").fit(p, p * 0, ids, relevant, counts, n_true_L=n_true * 3)
    assert fitted.thresholds_ is not None and more.thresholds_ is not None
    assert fitted.thresholds_.bands == again.thresholds_.bands != more.thresholds_.bands
    # More true pairs that nobody finds: the more is answered, the better.
    assert more.thresholds_.bands["head"].threshold <= fitted.thresholds_.bands["head"].threshold
    fitted.save_pretrained(tmp_path / "c")
    loaded = Calibrator.from_pretrained(tmp_path / "c")
    assert loaded.thresholds_ is not None
    assert loaded.thresholds_.bands == fitted.thresholds_.bands


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"head": {"threshold": 0.5, "f1": 1.0, "n_true": 3}}, "expected head, torso, tail"),
        ([1], "not those of three bands"),
        ({"head": 3, "torso": 3, "tail": 3}, "not those of three bands"),
        (
            {n: {"threshold": 2.0, "f1": 1.0, "n_true": 3} for n in ("head", "torso", "tail")},
            "threshold of head is 2.0",
        ),
    ],
)
def test_thresholds_that_are_none_are_refused(values: Any, text: str) -> None:
    with pytest.raises(InputError, match=text):
        BandThresholds.from_dict(values)
