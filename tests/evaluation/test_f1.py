"""F1, bands of frequency, intervals and comparisons against scikit-learn and plain loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.metrics import f1_score, precision_score, recall_score

from learned_index.errors import InputError
from learned_index.evaluation.by_frequency import band_sizes, band_values
from learned_index.evaluation.f1 import MarkedAnswers, f1_at, f1_by_threshold, f1_names
from learned_index.evaluation.significance import bootstrap_intervals, compare_metrics
from learned_index.metrics import hit_matrix, point_values
from learned_index.ranking.bands import frequency_band

N, L, K = 60, 25, 100


def judged(seed=0, quality=2.0):
    """Answers that lean to the true labels; some rows are short, some points have no label."""
    rng = np.random.default_rng(seed)
    truth = np.random.default_rng(9).random((N, L)) < 0.12
    truth[7] = False
    order = np.argsort(-(rng.random((N, L)) + quality * truth * rng.random((N, L))), axis=1)
    ids = np.full((N, K), -1)
    ids[:, :L] = order
    ids[3], ids[4, 2:] = -1, -1
    p = np.where(ids >= 0, np.sort(rng.random((N, K)), axis=1)[:, ::-1], -np.inf)
    truth_NL = sp.csr_matrix(truth.astype(np.float32))
    return MarkedAnswers(ids, hit_matrix(ids, truth_NL), truth_NL), p.astype(np.float32)


def indicator(ids, kept):
    found = np.zeros((N, L), bool)
    for row, place in zip(*np.nonzero(kept & (ids >= 0)), strict=True):
        found[row, ids[row, place]] = True
    return found


def sklearn_f1(found, truth, average):
    used = (found | truth).any(axis=0)
    return 100 * f1_score(truth[:, used], found[:, used], average=average, zero_division=0)


def test_f1_of_the_first_k_is_that_of_scikit_learn():
    case, _ = judged()
    truth = case.truth_NL.toarray() > 0
    values = f1_at(case)
    assert list(values) == f1_names()
    for k in (1, 3, 5):
        found = indicator(case.ids_NK, np.arange(K)[None] < k)
        assert values[f"F1@{k}"].rate == pytest.approx(sklearn_f1(found, truth, "micro"))
        assert values[f"macro-F1@{k}"].rate == pytest.approx(sklearn_f1(found, truth, "macro"))


def test_f1_by_threshold_is_that_of_scikit_learn():
    case, p = judged()
    truth = case.truth_NL.toarray() > 0
    best_L = np.random.default_rng(1).random(L).astype(np.float32)
    rows = f1_by_threshold(case, p, thresholds=(0.3, 0.9), best_L=best_L)
    assert [row.threshold for row in rows] == [0.3, 0.9, "best"]
    least = [0.3, 0.9, best_L[case.ids_NK]]
    for row, limit in zip(rows, least, strict=True):
        found = indicator(case.ids_NK, p >= limit)
        assert row.f1 == pytest.approx(sklearn_f1(found, truth, "micro"))
        assert row.macro_f1 == pytest.approx(sklearn_f1(found, truth, "macro"))
        assert row.precision == pytest.approx(100 * precision_score(truth, found, average="micro"))
        assert row.recall == pytest.approx(100 * recall_score(truth, found, average="micro"))
        assert row.answers == pytest.approx(found.sum() / N)


def test_no_answers_and_no_labels_are_zero():
    none = np.full((2, 5), -1)
    truth = sp.csr_matrix((2, 4), dtype=np.float32)
    case = MarkedAnswers(none, np.zeros((2, 5), bool), truth)
    assert {value.rate for value in f1_at(case).values()} == {0.0}
    assert f1_by_threshold(case, none, thresholds=(0.5,))[0].precision == 0.0


def test_bands_are_those_of_plain_loops():
    case, _ = judged()
    rng = np.random.default_rng(2)
    counts = rng.choice([0, 3, 6, 50, 51, 200], L)
    propensities = rng.random(L) * 0.9 + 0.1
    found = band_values(case, counts, propensities=propensities)
    sizes = band_sizes(case.truth_NL, counts)
    truth, band_L = case.truth_NL.toarray() > 0, frequency_band(counts)
    for band, name in enumerate(("head", "torso", "tail")):
        inside = band_L == band
        assert sizes[name] == {
            "n_labels": (truth & inside).any(axis=0).sum(),
            "n_pairs": (truth & inside).sum(),
        }
        for k in (1, 3, 5):
            answers = [(n, i) for n in range(N) for i in case.ids_NK[n, :k] if i >= 0 and inside[i]]
            right = sum(truth[n, i] for n, i in answers)
            assert found[name][f"P@{k}"].rate == pytest.approx(100 * right / len(answers))
            reached = sum(truth[n, i] / propensities[i] for n, i in answers)
            best = sum(
                sum(sorted((1 / propensities[truth[n] & inside]).tolist())[::-1][:k])
                for n in range(N)
            )
            assert found[name][f"PSP@{k}"].rate == pytest.approx(100 * reached / best)
        for k in (10, 20, 100):
            shares = [
                sum(truth[n, i] for i in case.ids_NK[n, :k] if i >= 0 and inside[i])
                / (truth[n] & inside).sum()
                for n in range(N)
                if (truth[n] & inside).any()
            ]
            assert found[name][f"R@{k}"].rate == pytest.approx(100 * np.mean(shares))


def test_a_band_without_true_labels_is_left_out():
    case, _ = judged()
    found = band_values(case, np.full(L, 60), propensities=np.ones(L))
    assert list(found) == ["head"]


def both(seed=0, quality=2.0):
    """A ratio of sums with unequal weights, and a mean over labels."""
    case, _ = judged(seed, quality)
    propensities = np.random.default_rng(2).random(L) * 0.9 + 0.1
    points = point_values(case.ids_NK, case.truth_NL, propensities=propensities)
    return case, {"PSP@3": points["PSP@3"], "macro-F1@3": f1_at(case)["macro-F1@3"]}


def plain_rate(metric, rows):
    """The metric of points that may come several times."""
    if len(metric) == 2:
        return 100 * metric.values_N[rows].sum() / metric.weights_N[rows].sum()
    values, weights = (m.toarray()[rows].sum(axis=0) for m in metric[:2])
    return 100 * np.mean(values[weights > 0] / weights[weights > 0])


def centred(drawn, name, observed):
    return np.array(drawn) + (observed - np.mean(drawn) if name.startswith("macro") else 0)


def test_intervals_are_quantiles_of_recomputed_metrics():
    _, metrics = both()
    found = bootstrap_intervals(metrics, n_resamples=300, seed=5)
    draw = np.random.default_rng(5).integers(N, size=(300, N))
    for name, metric in metrics.items():
        drawn = centred([plain_rate(metric, rows) for rows in draw], name, metric.rate)
        assert found[name] == pytest.approx(np.quantile(drawn, [0.025, 0.975]))
        assert found[name].low < metric.rate < found[name].high


def test_a_comparison_is_a_loop_over_resamples_and_exchanges():
    (one, a), (other, b) = both(0), both(1, 1.0)
    found = compare_metrics(a, b, n_resamples=200, seed=3)
    draw = np.random.default_rng(3).integers(N, size=(200, N))
    swaps = np.random.default_rng(3).integers(2, size=(200, N)).astype(bool)
    for name in a:
        metric = found[name]
        assert (metric.a, metric.b) == pytest.approx((a[name].rate, b[name].rate))
        assert metric.difference == pytest.approx(metric.b - metric.a)
        drawn = [plain_rate(b[name], rows) - plain_rate(a[name], rows) for rows in draw]
        drawn = centred(drawn, name, metric.difference)
        assert (metric.low, metric.high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]))
        as_large = 0
        for swapped in swaps:
            rates = []
            for first, second in ((one, other), (other, one)):
                ids = np.where(swapped[:, None], second.ids_NK, first.ids_NK)
                mixed = MarkedAnswers(ids, hit_matrix(ids, one.truth_NL), one.truth_NL)
                if name == "PSP@3":
                    propensities = np.random.default_rng(2).random(L) * 0.9 + 0.1
                    values = point_values(ids, one.truth_NL, propensities=propensities)
                else:
                    values = f1_at(mixed)
                rates.append(values[name].rate)
            as_large += abs(rates[1] - rates[0]) >= abs(metric.difference) - 1e-9
        assert metric.p == pytest.approx((1 + as_large) / 201)


def test_the_test_agrees_with_all_exchanges_of_few_points():
    rng = np.random.default_rng(0)
    from learned_index.metrics import PointValues

    ones = np.ones(8)
    a, b = PointValues(rng.random(8), ones), PointValues(rng.random(8) + 0.2, ones)
    deltas = b.values_N - a.values_N
    exact = np.mean(
        [
            abs(np.dot(signs, deltas)) >= abs(deltas.sum()) - 1e-12
            for signs in itertools.product((-1, 1), repeat=8)
        ]
    )
    found = compare_metrics({"m": a}, {"m": b}, n_resamples=5000)["m"]
    assert found.p == pytest.approx(exact, abs=0.03)


def test_equal_answers_do_not_differ_and_better_ones_do():
    _, a = both()
    same = compare_metrics(a, a, n_resamples=100)
    assert all((m.difference, m.low, m.high, m.p) == (0, 0, 0, 1) for m in same.values())
    _, worse = both(1, 0.0)
    differing = compare_metrics(a, worse, n_resamples=500)
    assert all(m.p < 0.01 and m.high < 0 for m in differing.values())
    back = compare_metrics(worse, a, n_resamples=500)
    assert all(back[n].low == pytest.approx(-differing[n].high) for n in a)


def test_what_cannot_be_compared_is_refused():
    _, a = both()
    short = {"PSP@3": type(a["PSP@3"])(np.ones(3), np.ones(3))}
    with pytest.raises(InputError, match="same points"):
        compare_metrics(a, short)
    with pytest.raises(InputError, match="level"):
        bootstrap_intervals(a, level=1.0, n_resamples=3)
    with pytest.raises(InputError, match="n_resamples"):
        bootstrap_intervals(a, n_resamples=0)
