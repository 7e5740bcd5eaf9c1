"""One-vs-all on all points: against the primal problem minimised by scipy, label by label."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import minimize

from learned_index.ranking.one_vs_all import train_all_points
from learned_index.system.threads import limit_threads


def points(n=60, n_features=25, dim=4, n_labels=7):
    generator = np.random.default_rng(3)
    sparse = sp.random(n, n_features, density=0.3, format="csr", random_state=1, dtype=np.float32)
    dense = generator.standard_normal((n, dim)).astype(np.float32)
    labels = (generator.random((n, n_labels)) < 0.15).astype(np.float32)
    labels[:, -1] = 0  # a label without points
    return sparse, dense, sp.csr_matrix(labels)


def primal(x_ND, y_N, cost):
    def objective(w):
        slack = np.maximum(0.0, 1.0 - y_N * (x_ND @ w))
        gradient = w - 2.0 * cost * (x_ND.T @ (slack * y_N))
        return 0.5 * w @ w + cost * (slack**2).sum(), gradient

    found = minimize(objective, np.zeros(x_ND.shape[1]), jac=True, method="L-BFGS-B", tol=1e-12)
    return found.x


@pytest.mark.parametrize("cost", [0.25, 4.0])
@pytest.mark.parametrize("dense_part", [True, False])
def test_classifiers_minimise_the_problem_over_all_points(cost, dense_part):
    sparse, dense, labels = points()
    dense = dense if dense_part else dense[:, :0]
    found = train_all_points(
        sparse, dense, labels, cost=cost, threshold=0.0, max_iterations=5000, tolerance=1e-5
    )
    x = np.hstack([sparse.toarray(), dense, np.ones((60, 1))]).astype(np.float64)
    for label in range(labels.shape[1] - 1):
        y = 2.0 * labels[:, label].toarray()[:, 0] - 1.0
        expected = primal(x, y, cost)
        weights = [found.weight_LV[label].toarray()[0], found.weight_LD[label]]
        got = np.concatenate([*weights, found.bias_L[label : label + 1]])
        np.testing.assert_allclose(got, expected, atol=2e-3)
    assert found.bias_L[-1] == -1.0 and found.weight_LV[-1].nnz == 0
    assert not found.weight_LD[-1].any()


def test_small_weights_are_dropped_and_the_others_stay():
    sparse, dense, labels = points()
    all_of = train_all_points(sparse, dense, labels, threshold=0.0)
    kept = train_all_points(sparse, dense, labels, threshold=0.1)
    for got, whole in (
        (kept.weight_LV.toarray(), all_of.weight_LV.toarray()),
        (kept.weight_LD, all_of.weight_LD),
    ):
        np.testing.assert_array_equal(got, np.where(np.abs(whole) >= 0.1, whole, 0))
    np.testing.assert_array_equal(kept.bias_L, all_of.bias_L)


def test_threads_change_nothing():
    found = []
    for threads in (1, 2):
        with limit_threads(threads):
            found.append(train_all_points(*points()))
    np.testing.assert_array_equal(found[0].weight_LV.toarray(), found[1].weight_LV.toarray())
    np.testing.assert_array_equal(found[0].weight_LD, found[1].weight_LD)
