"""Metrics against plain loops, scikit-learn, and figures of an independent implementation."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from learned_index.errors import InputError
from learned_index.metrics import (
    canonical_truth,
    evaluate,
    label_propensities,
    metric_names,
    neighbour_recall,
    propensities_from_counts,
    scores_of,
)
from learned_index.types import SearchResult

KEYS = [
    "P@1", "P@3", "P@5", "nDCG@1", "nDCG@3", "nDCG@5", "PSP@1", "PSP@3", "PSP@5", "R@10", "R@20",
    "R@100",
]  # fmt: skip


def arithmetic_case():
    """Truth, training labels and rankings from integer arithmetic: the same everywhere."""
    n, label = np.arange(40)[:, None], np.arange(127)[None, :]
    truth = (n * n + 3 * label + n * label) % (7 + label % 23) == 0
    truth[5] = False
    m = np.arange(90)[:, None]
    train = (m * (label + 1) + m * m) % (3 + label % 19) == 0
    ids = ((1 + n) * label + 11 * n) % 127
    return sp.csr_matrix(truth), sp.csr_matrix(train), ids[:, :100]


def loop_metrics(ids, truth, propensities, ks=(1, 3, 5), recall_ks=(10, 20, 100)):
    """The definitions, one point and one place at a time."""
    sets = [set(np.flatnonzero(row)) for row in truth.toarray()]
    values = {}
    for k in ks:
        precision, ndcg, reached, best = [], [], 0.0, 0.0
        for row, positives in zip(ids, sets, strict=True):
            hits = [int(i) in positives and i >= 0 for i in row[:k]]
            precision.append(sum(hits) / k)
            ideal = sum(1 / np.log2(j + 2) for j in range(min(k, len(positives))))
            gain = sum(hit / np.log2(j + 2) for j, hit in enumerate(hits))
            ndcg.append(gain / ideal if ideal else 0.0)
            reached += sum(1 / propensities[i] for i, hit in zip(row[:k], hits, strict=True) if hit)
            best += sum(sorted((1 / propensities[i] for i in positives), reverse=True)[:k])
        values[f"P@{k}"] = 100 * np.mean(precision)
        values[f"nDCG@{k}"] = 100 * np.mean(ndcg)
        values[f"PSP@{k}"] = 100 * reached / best if best else 0.0
    for k in recall_ks:
        recalls = [
            len(positives & {int(i) for i in row[:k]}) / len(positives)
            for row, positives in zip(ids, sets, strict=True)
            if positives
        ]
        values[f"R@{k}"] = 100 * np.mean(recalls) if recalls else 0.0
    return values


def test_keys_are_the_promised_ones_in_order():
    truth, train, ids = arithmetic_case()
    assert list(evaluate(ids, truth, propensities=label_propensities(train))) == KEYS
    assert metric_names() == KEYS


def test_agrees_with_napkinxc():
    """Figures of napkinXC 0.7.2 on the same case (recall over the points that have labels)."""
    truth, train, ids = arithmetic_case()
    expected = {
        "P@1": 7.5, "P@3": 7.5, "P@5": 9.5,
        "nDCG@1": 7.5, "nDCG@3": 7.65360637, "nDCG@5": 8.96022436,
        "PSP@1": 6.10739367, "PSP@3": 6.74370096, "PSP@5": 9.46752024,
        "R@10": 10.16463593, "R@20": 16.71919605, "R@100": 77.28574272,
    }  # fmt: skip
    got = evaluate(ids, truth, propensities=label_propensities(train))
    assert got == pytest.approx(expected, abs=1e-5)


def test_propensities_follow_the_formula():
    train = sp.csr_matrix(np.arange(60).reshape(20, 3) % 4 == 0)
    expected = 1 + (np.log(20) - 1) * 2.5**0.55 * (np.array([5, 5, 5]) + 1.5) ** -0.55
    np.testing.assert_allclose(1 / label_propensities(train), expected)
    np.testing.assert_allclose(
        label_propensities(train), propensities_from_counts([5, 5, 5], n_points=20)
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 8), st.integers(3, 30), st.floats(0.0, 0.6))
def test_agrees_with_plain_loops(seed, n_points, n_labels, density):
    generator = np.random.default_rng(seed)
    truth = sp.csr_matrix(generator.random((n_points, n_labels)) < density)
    ids = np.argsort(generator.random((n_points, n_labels)), axis=1)
    kept = generator.integers(0, n_labels + 1, n_points)
    ids[np.arange(n_labels)[None, :] >= kept[:, None]] = -1
    ids = np.pad(ids, ((0, 0), (0, 100 - n_labels)), constant_values=-1)
    propensities = generator.uniform(0.05, 1, n_labels)
    got = evaluate(ids, truth, propensities=propensities)
    assert got == pytest.approx(loop_metrics(ids, truth, propensities))


@pytest.mark.parametrize("k", [1, 3, 5])
def test_ndcg_agrees_with_scikit_learn(k):
    generator = np.random.default_rng(3)
    truth = generator.random((30, 12)) < 0.3
    truth[4] = False
    scores = generator.random((30, 12))
    ids = np.argsort(-scores, axis=1)
    got = evaluate(ids, sp.csr_matrix(truth), propensities=np.ones(12), ks=(k,), recall_ks=(10,))
    assert got[f"nDCG@{k}"] == pytest.approx(100 * ndcg_score(truth, scores, k=k))


def test_perfect_and_worthless_rankings():
    truth = sp.csr_matrix(np.eye(5, 8))
    perfect = np.full((5, 100), -1)
    perfect[:, 0] = np.arange(5)
    got = evaluate(perfect, truth, propensities=np.full(8, 0.5))
    assert {key: got[key] for key in ("P@1", "nDCG@5", "PSP@1", "PSP@5", "R@10", "R@100")} == {
        "P@1": 100, "nDCG@5": 100, "PSP@1": 100, "PSP@5": 100, "R@10": 100, "R@100": 100
    }  # fmt: skip
    nothing = evaluate(np.full((5, 100), -1), truth, propensities=np.full(8, 0.5))
    assert set(nothing.values()) == {0.0}


def test_points_without_labels_are_misses_in_precision_and_left_out_of_recall():
    truth = sp.csr_matrix(np.array([[1, 0], [0, 0]]))
    got = evaluate(
        np.array([[0, 1], [0, 1]]), truth, propensities=np.ones(2), ks=(1,), recall_ks=(1,)
    )
    assert (got["P@1"], got["nDCG@1"], got["R@1"]) == (50.0, 50.0, 100.0)


def test_unsorted_duplicated_and_zero_entries_of_the_truth_change_nothing():
    truth, train, ids = arithmetic_case()
    propensities = label_propensities(train)
    expected = evaluate(ids, truth, propensities=propensities)
    messy = truth.astype(np.float32)
    for row in range(messy.shape[0]):
        part = slice(messy.indptr[row], messy.indptr[row + 1])
        messy.indices[part] = messy.indices[part][::-1]
    messy.has_sorted_indices = False
    coo = messy.tocoo()
    first = np.flatnonzero(truth.getrow(0).toarray()[0] == 0)[0]
    doubled = sp.coo_matrix(
        (
            np.concatenate([coo.data, coo.data[:9], [0.0]]),
            (np.concatenate([coo.row, coo.row[:9], [0]]),
             np.concatenate([coo.col, coo.col[:9], [first]])),
        ),
        shape=coo.shape,
    )  # fmt: skip
    before = messy.indices.copy()
    assert evaluate(ids, messy, propensities=propensities) == expected
    assert evaluate(ids, doubled, propensities=propensities) == expected
    np.testing.assert_array_equal(messy.indices, before)


def test_accepts_a_search_result():
    truth, train, ids = arithmetic_case()
    result = SearchResult(ids, np.zeros(ids.shape, np.float32))
    propensities = label_propensities(train)
    assert evaluate(result, truth, propensities=propensities) == evaluate(
        ids, truth, propensities=propensities
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ids: ids.__setitem__((2, 1), ids[2, 0]), "row 2 names a label twice"),
        (lambda ids: ids.__setitem__((3, 4), 127), "expected -1 .* to 126"),
        (lambda ids: ids.__setitem__((3, 4), -2), "ids from -2"),
        (lambda ids: ids.__setitem__((7, 0), -1), "row 7 has padding"),
    ],
)
def test_wrong_answers_are_refused(change, message):
    truth, train, ids = arithmetic_case()
    ids = ids.copy()
    change(ids)
    with pytest.raises(InputError, match=message):
        evaluate(ids, truth, propensities=label_propensities(train))


def test_wrong_shapes_are_refused():
    truth, train, ids = arithmetic_case()
    propensities = label_propensities(train)
    with pytest.raises(InputError, match="search with k=100"):
        evaluate(ids[:, :50], truth, propensities=propensities)
    with pytest.raises(InputError, match="40 rows"):
        evaluate(ids[:9], truth, propensities=propensities)
    with pytest.raises(InputError, match=r"shape \(127,\)"):
        evaluate(ids, truth, propensities=propensities[:5])
    with pytest.raises(InputError, match="not its inverse"):
        evaluate(ids, truth, propensities=1 / propensities)
    with pytest.raises(InputError, match="integer"):
        evaluate(ids.astype(np.float32), truth, propensities=propensities)
    with pytest.raises(InputError, match="sparse"):
        canonical_truth(2 * truth.toarray())
    with pytest.raises(InputError, match="at least one training point"):
        label_propensities(sp.csr_matrix((0, 5)))
    with pytest.raises(InputError, match="positive"):
        label_propensities(train, a=-1)


def test_label_ids_out_of_range_in_the_truth_are_refused():
    truth = sp.csr_matrix(np.eye(3))
    truth.indices[1] = 7
    with pytest.raises(InputError, match="not a valid sparse matrix"):
        canonical_truth(truth)


def test_neighbour_recall_counts_ties_by_score():
    exact = np.array([[5.0, 3.0, 3.0]])
    # The second and third places could be any of many items that score 3.
    assert neighbour_recall(np.array([[5.0, 3.0, 3.0]]), exact, k=3) == 100.0
    assert neighbour_recall(np.array([[3.0, 3.0, 3.0]]), exact, k=3) == 100.0
    assert neighbour_recall(np.array([[5.0, 3.0, 2.9]]), exact, k=3) == pytest.approx(200 / 3)
    assert neighbour_recall(np.array([[5.0, -np.inf, -np.inf]]), exact, k=3) == pytest.approx(
        100 / 3
    )


def test_neighbour_recall_with_fewer_items_than_k():
    exact = np.array([[2.0, 1.0, -np.inf], [-np.inf, -np.inf, -np.inf]])
    found = np.array([[2.0, -np.inf, -np.inf], [-np.inf, -np.inf, -np.inf]])
    assert neighbour_recall(found, exact, k=3) == 50.0


def test_scores_of_equals_the_dense_product():
    generator = np.random.default_rng(0)
    items = generator.standard_normal((30, 7)).astype(np.float32)
    queries = generator.standard_normal((11, 7)).astype(np.float32)
    ids = np.argsort(generator.random((11, 30)), axis=1)[:, :6]
    ids[3, 4:] = -1
    expected = np.take_along_axis(queries @ items.T, np.maximum(ids, 0), axis=1)
    expected[3, 4:] = -np.inf
    np.testing.assert_allclose(
        scores_of(ids, queries, items, block=4), expected, rtol=1e-4, atol=1e-6
    )
