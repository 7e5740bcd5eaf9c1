"""The paired bootstrap against a plain loop, known variances, and how often it is right."""

from __future__ import annotations

import numpy as np
import pytest
from test_metrics import arithmetic_case

from learned_index.errors import InputError
from learned_index.evaluation.significance import paired_bootstrap
from learned_index.metrics import evaluate, label_propensities, metric_names, point_values


def loop_bootstrap(a_SN, b_SN, weights_N, *, n_resamples, seed):
    """The definition: draw points and runs, recompute both metrics, one resample at a time."""
    generator = np.random.default_rng(seed)
    n_runs, n_points = a_SN.shape
    drawn = []
    for _ in range(n_resamples):
        points = generator.integers(n_points, size=n_points)
        runs = generator.integers(n_runs, size=n_runs)
        metrics = []
        for values_SN in (a_SN, b_SN):
            per_run = [values_SN[run, points].sum() / weights_N[points].sum() for run in runs]
            metrics.append(np.mean(per_run))
        drawn.append(metrics[0] - metrics[1])
    return np.quantile(drawn, [0.025, 0.975])


def test_agrees_with_the_definition_for_means_and_ratios():
    rng = np.random.default_rng(0)
    a, b = rng.random((3, 50)), rng.random((3, 50))
    for weights in (np.ones(50), rng.random(50) + 0.1):
        got = paired_bootstrap(a, b, weights=weights, n_resamples=100, seed=7)
        low, high = loop_bootstrap(a, b, weights, n_resamples=100, seed=7)
        assert (got.low, got.high) == pytest.approx((low, high))
        expected = (a.sum(axis=1) - b.sum(axis=1)).mean() / weights.sum()
        assert got.difference == pytest.approx(expected)


def test_width_is_that_of_the_normal_interval_of_paired_values():
    rng = np.random.default_rng(1)
    shared = 10.0 * rng.normal(size=4000)  # what pairing takes away
    noise = rng.normal(size=4000)
    got = paired_bootstrap(shared + noise, shared)
    assert got.high - got.low == pytest.approx(2 * 1.96 / np.sqrt(4000), rel=0.1)


def test_runs_that_differ_widen_the_interval():
    rng = np.random.default_rng(2)
    points = rng.random(2000)
    same = np.tile(points, (5, 1)) + 0.01
    moved = same + 0.05 * np.array([-2, -1, 0, 1, 2])[:, None]
    assert not paired_bootstrap(same, points).is_tie
    assert paired_bootstrap(moved, points).is_tie
    assert paired_bootstrap(points, moved).difference == pytest.approx(-0.01)


def test_equal_methods_differ_in_about_one_of_twenty_cases():
    rng = np.random.default_rng(3)
    cases = [rng.random((2, 1, 200)) for _ in range(200)]
    differing = sum(not paired_bootstrap(a, b, n_resamples=300).is_tie for a, b in cases)
    assert 2 <= differing <= 22


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((np.ones(3), np.ones(4), {}), "expected equal points"),
        ((np.ones((2, 3)), np.ones((3, 3)), {}), "expected equal points and equal runs"),
        ((np.ones(0), np.ones(0), {}), "at least one of each"),
        ((np.array([1.0, np.nan]), np.ones(2), {}), "NaN"),
        ((np.ones(2), np.ones(2), {"weights": [0, 0]}), "not all 0"),
        ((np.ones(2), np.ones(2), {"weights": [1]}), "weights have shape"),
        ((np.ones(2), np.ones(2), {"level": 1.0}), "level"),
    ],
)
def test_what_cannot_be_compared_is_refused(arguments, text):
    a, b, options = arguments
    with pytest.raises(InputError, match=text):
        paired_bootstrap(a, b, **options)


def test_values_of_points_add_up_to_the_metrics():
    truth, train, ids = arithmetic_case()
    propensities = label_propensities(train)
    values = point_values(ids, truth, propensities=propensities)
    metrics = evaluate(ids, truth, propensities=propensities)
    assert list(values) == metric_names()
    for name, point in values.items():
        assert point.values_N.shape == point.weights_N.shape == (truth.shape[0],)
        assert np.all(point.values_N <= point.weights_N + 1e-12)
        assert 100 * point.values_N.sum() / point.weights_N.sum() == pytest.approx(metrics[name])
