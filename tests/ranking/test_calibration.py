"""Score combination and calibration: against scikit-learn, plain formulas and known truths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics, tree

from learned_index.errors import InputError, ModelFormatError, NotFittedError
from learned_index.ranking.calibration import Calibrator
from learned_index.ranking.calibration_methods import METHODS
from learned_index.ranking.combination import Combination
from learned_index.ranking.reliability import calibration_error, log_loss, reliability_bins

B, K, L = 400, 20, 60


def sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


@pytest.fixture
def pairs() -> dict[str, Any]:
    """Shortlists whose true probability is sigmoid(log p + 2 q)."""
    rng = np.random.default_rng(3)
    p = np.sort(rng.uniform(0.001, 1, (B, K)))[:, ::-1].astype(np.float32)
    q = rng.normal(-0.5, 1, (B, K)).astype(np.float32)
    ids = np.stack([rng.permutation(L)[:K] for _ in range(B)]).astype(np.int64)
    relevant = rng.random((B, K)) < sigmoid(np.log(p) + 2 * q - 0.5)
    ids[::3, -4:] = -1
    p[ids < 0], q[ids < 0], relevant[ids < 0] = 0, 0, False
    counts = rng.integers(1, 50, L)
    return {"p": p, "q": q, "ids": ids, "relevant": relevant, "counts": counts}


def fit(pairs: dict[str, Any], method: Any = "auto") -> Calibrator:
    return Calibrator(method).fit(
        pairs["p"], pairs["q"], pairs["ids"], pairs["relevant"], pairs["counts"]
    )


def probability(calibrator: Calibrator, pairs: dict[str, Any]) -> Any:
    return calibrator.probability(pairs["p"], pairs["q"], pairs["ids"], pairs["counts"])


@pytest.mark.parametrize("method", ["tree", "isotonic", "logistic"])
def test_calibration_mends_the_error(pairs: dict[str, Any], method: str) -> None:
    calibrator = fit(pairs, method)
    report = calibrator.report_
    assert report["calibration_error"] < 0.5 * report["calibration_error_before"]
    assert report["log_loss"][method] < report["log_loss_before"]
    p = probability(calibrator, pairs)
    assert p.shape == (B, K) and p.dtype == np.float32
    assert (p[pairs["ids"] < 0] == 0).all()
    inside = p[pairs["ids"] >= 0]
    assert ((inside > 0) & (inside < 1)).all()


def test_auto_takes_the_best_method(pairs: dict[str, Any]) -> None:
    calibrator = fit(pairs)
    losses = calibrator.report_["log_loss"]
    assert set(losses) == set(METHODS)
    assert calibrator.method_ == min(losses, key=losses.get) == "logistic"


def test_tree_evaluates_like_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(3000, 4))
    relevant = (rng.random(3000) < sigmoid(features.sum(1))).astype(float)
    arrays = METHODS["tree"].fit(features, relevant)
    fitted = tree.DecisionTreeClassifier(
        criterion="log_loss", max_leaf_nodes=128, min_samples_leaf=50, random_state=0
    ).fit(features.astype(np.float32), relevant)
    leaf = fitted.apply(features.astype(np.float32))
    expected = np.empty(3000)
    for node in np.unique(leaf):
        inside = leaf == node
        expected[inside] = (relevant[inside].sum() + relevant.mean()) / (inside.sum() + 1)
    np.testing.assert_allclose(METHODS["tree"].predict(arrays, features), expected, rtol=1e-6)


def test_measures_against_scikit_learn_and_a_loop() -> None:
    rng = np.random.default_rng(1)
    p, y = rng.random(500), rng.random(500) < 0.4
    assert log_loss(p, y) == pytest.approx(metrics.log_loss(y, p))
    total = 0.0
    for low in range(15):
        inside = [i for i in range(500) if low / 15 <= p[i] < (low + 1) / 15]
        if inside:
            gap = abs(np.mean([p[i] for i in inside]) - np.mean([y[i] for i in inside]))
            total += len(inside) / 500 * gap
    assert calibration_error(p, y) == pytest.approx(100 * total)
    assert sum(b["count"] for b in reliability_bins(p, y)) == 500
    assert np.isfinite(log_loss(np.array([0.0, 1.0]), np.array([1, 0])))


def test_saved_calibrator_answers_the_same(pairs: dict[str, Any], tmp_path: Path) -> None:
    for method in ("tree", "isotonic", "logistic"):
        directory = tmp_path / method
        directory.mkdir()
        calibrator = fit(pairs, method)
        calibrator.save_pretrained(directory)
        loaded = Calibrator.from_pretrained(directory)
        assert loaded.report_ == calibrator.report_
        np.testing.assert_array_equal(probability(loaded, pairs), probability(calibrator, pairs))


def test_damaged_calibrator_is_refused(pairs: dict[str, Any], tmp_path: Path) -> None:
    fit(pairs, "tree").save_pretrained(tmp_path)
    path = tmp_path / "calibration.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ModelFormatError, match="truncated"):
        Calibrator.from_pretrained(tmp_path)


def test_looping_tree_in_a_file_is_refused(pairs: dict[str, Any], tmp_path: Path) -> None:
    calibrator = fit(pairs, "tree")
    calibrator._arrays["left"][0] = 0
    calibrator.save_pretrained(tmp_path)
    with pytest.raises(ModelFormatError, match="broken"):
        Calibrator.from_pretrained(tmp_path)


def test_too_little_to_learn_from_is_refused(pairs: dict[str, Any]) -> None:
    few = {name: value[:5] if name != "counts" else value for name, value in pairs.items()}
    with pytest.raises(InputError, match="hold out more points"):
        fit(few)
    none = {**pairs, "relevant": np.zeros((B, K), bool)}
    with pytest.raises(InputError, match="both kinds"):
        fit(none)
    with pytest.raises(NotFittedError):
        probability(Calibrator(), pairs)
    with pytest.raises(InputError, match="expected auto"):
        Calibrator("forest")  # type: ignore[arg-type]


def test_default_combination_is_the_formula() -> None:
    p, q = np.array([[0.25, 0.0]], np.float32), np.array([[0.5, 3.0]], np.float32)
    np.testing.assert_allclose(Combination()(p, q), [[0.5 * sigmoid(1.0), 0.0]], rtol=1e-6)


def test_numbers_that_cannot_be_learned_from_are_refused() -> None:
    p, q = np.full((20, 3), 0.5, np.float32), np.zeros((20, 3), np.float32)
    ids, relevant = np.tile(np.arange(3), (20, 1)), np.tile([True, False, False], (20, 1))
    spoiled = np.where(relevant, np.nan, q)
    with pytest.raises(InputError, match="up to 2, expected label ids of 0 to 1"):
        Calibrator("logistic").fit(p, q, ids, relevant, np.ones(2, np.int64))
    with pytest.raises(InputError, match="NaN or infinity"):
        Calibrator("logistic").fit(p, spoiled, ids, relevant, np.ones(3, np.int64))
    for wrong in ({"method": ["tree"]}, {"seed": 1.5}, {"seed": -1}):
        with pytest.raises(InputError):
            Calibrator(**wrong)
