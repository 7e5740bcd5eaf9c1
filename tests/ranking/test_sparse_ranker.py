"""The sparse ranker against scikit-learn's LIBLINEAR and a plain loop."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.svm import LinearSVC

from learned_index.errors import InputError, ModelFormatError, NotFittedError
from learned_index.ranking.config import RankerConfig
from learned_index.ranking.sparse_ranker import SparseRanker

N, V, D, L = 120, 40, 6, 9


@pytest.fixture
def problem() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    sparse = sp.random(N, V, density=0.2, random_state=1, dtype=np.float32, format="csr")
    sparse.data += 0.1
    dense = rng.normal(size=(N, D)).astype(np.float32)
    dense /= np.linalg.norm(dense, axis=1, keepdims=True)
    scores = sparse @ rng.normal(size=(V, L)) + dense @ rng.normal(size=(D, L))
    labels = sp.csr_matrix((scores > np.quantile(scores, 0.8, axis=0)).astype(np.float32))
    shortlist = np.argsort(-scores, axis=1)[:, :5].astype(np.int64)
    return {"sparse": sparse, "dense": dense, "labels": labels, "shortlist": shortlist}


def fit(problem: dict[str, Any], **config: Any) -> SparseRanker:
    return SparseRanker(RankerConfig(**config)).fit(
        problem["sparse"], problem["dense"], problem["labels"], problem["shortlist"]
    )


EXACT = {"dense_scale": 0.7, "tolerance": 1e-5, "max_iterations": 5000, "weight_threshold": 0.0}


@pytest.mark.parametrize("cost", [0.3, 1.0, 4.0])
def test_weights_are_those_of_liblinear(problem: dict[str, Any], cost: float) -> None:
    ranker = fit(problem, cost=cost, **EXACT)
    features = np.hstack([problem["sparse"].toarray(), 0.7 * problem["dense"]])
    truth = problem["labels"].toarray() > 0
    listed = np.zeros((N, L), bool)
    np.put_along_axis(listed, problem["shortlist"], True, axis=1)
    everything = np.tile(np.arange(L), (N, 1))
    margins = ranker.score(problem["sparse"], problem["dense"], everything)
    for label in range(L):
        points = listed[:, label] | truth[:, label]
        svm = LinearSVC(C=cost, tol=1e-8, max_iter=100_000, loss="squared_hinge", dual=True)
        svm.fit(features[points], truth[points, label])
        np.testing.assert_allclose(margins[:, label], svm.decision_function(features), atol=2e-3)


def test_default_tolerance_ranks_like_the_exact_solution(problem: dict[str, Any]) -> None:
    everything = np.tile(np.arange(L), (N, 1))
    arguments = (problem["sparse"], problem["dense"], everything)
    exact = fit(problem, **EXACT).score(*arguments)
    default = fit(problem, dense_scale=0.7).score(*arguments)
    assert np.corrcoef(exact.ravel(), default.ravel())[0, 1] > 0.99


def test_a_training_goes_on_from_dual_variables_to_the_same_optimum(
    problem: dict[str, Any],
) -> None:
    x, dense, labels, ids = problem.values()
    cold = SparseRanker(RankerConfig(**EXACT)).fit(x, dense, labels, ids)
    part = len(dense) - len(dense) // 5
    fewer_labels, fewer_ids = labels.copy(), ids.copy()
    fewer_labels.data[fewer_labels.indptr[part] :] = 0
    fewer_labels.eliminate_zeros()
    fewer_ids[part:] = -1
    first = SparseRanker(RankerConfig(**EXACT)).fit(x, dense, fewer_labels, fewer_ids)
    assert first.dual_ is not None and cold.dual_ is not None
    assert len(first.dual_.points) < len(cold.dual_.points)
    warm = SparseRanker(RankerConfig(**EXACT)).fit(x, dense, labels, ids, start=first.dual_)
    np.testing.assert_allclose(
        warm.score(x, dense, ids), cold.score(x, dense, ids), rtol=1e-3, atol=1e-3
    )
    assert np.abs(first.score(x, dense, ids) - cold.score(x, dense, ids)).max() > 0.01
    # Begun at the optimum, one pass leaves it there; begun at 0 it does not get there.
    once = RankerConfig(**(EXACT | {"max_iterations": 1}))
    stays = SparseRanker(once).fit(x, dense, labels, ids, start=cold.dual_)
    np.testing.assert_allclose(stays.score(x, dense, ids), cold.score(x, dense, ids), atol=1e-3)
    begun = SparseRanker(once).fit(x, dense, labels, ids).score(x, dense, ids)
    assert np.abs(begun - cold.score(x, dense, ids)).max() > 0.01


def test_only_shortlisted_labels_are_scored_and_pads_are_zero(problem: dict[str, Any]) -> None:
    ranker = fit(problem)
    ids = problem["shortlist"].copy()
    ids[::2, 3:] = -1
    some = ranker.score(problem["sparse"], problem["dense"], ids)
    everything = np.tile(np.arange(L), (N, 1))
    whole = ranker.score(problem["sparse"], problem["dense"], everything)
    expected = np.where(ids >= 0, np.take_along_axis(whole, np.maximum(ids, 0), 1), 0.0)
    np.testing.assert_array_equal(some, expected)


def test_threads_and_batches_change_nothing(problem: dict[str, Any]) -> None:
    before = torch.get_num_threads()
    rankers, scores = [], []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            rankers.append(fit(problem))
            scores.append(
                rankers[-1].score(problem["sparse"], problem["dense"], problem["shortlist"])
            )
    finally:
        torch.set_num_threads(before)
    for name, array in rankers[0]._weights._asdict().items():
        np.testing.assert_array_equal(array, getattr(rankers[1]._weights, name))
    np.testing.assert_array_equal(scores[0], scores[1])
    single = rankers[0].score(
        problem["sparse"][7], problem["dense"][7:8], problem["shortlist"][7:8]
    )
    np.testing.assert_array_equal(single[0], scores[0][7])


def test_many_threads_score_at_once(problem: dict[str, Any]) -> None:
    ranker = fit(problem)
    arguments = (problem["sparse"], problem["dense"], problem["shortlist"])
    expected, wrong = ranker.score(*arguments), []

    def work() -> None:
        for _ in range(20):
            if not np.array_equal(ranker.score(*arguments), expected):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_threshold_drops_small_weights_only(problem: dict[str, Any]) -> None:
    whole, pruned = fit(problem, weight_threshold=0.0), fit(problem, weight_threshold=0.1)
    assert 0 < pruned.n_weights < whole.n_weights
    assert np.abs(pruned._weights.values).min() >= 0.1
    assert np.isin(pruned._weights.values, whole._weights.values).all()
    assert pruned.nbytes < whole.nbytes


def test_negatives_are_limited_and_positives_kept(problem: dict[str, Any]) -> None:
    from learned_index.ranking.hard_points import label_points, listed_labels

    listed = listed_labels(problem["shortlist"], L)
    indptr, points, positive = label_points(problem["labels"], listed, max_negatives=4, seed=0)
    truth = problem["labels"].toarray() > 0
    for label in range(L):
        mine = slice(indptr[label], indptr[label + 1])
        assert set(points[mine][positive[mine]]) == set(np.flatnonzero(truth[:, label]))
        assert (~positive[mine]).sum() <= 16  # drawn at random around 4


def test_labels_without_points_say_no(problem: dict[str, Any]) -> None:
    labels = sp.hstack([problem["labels"], sp.csr_matrix((N, 1), dtype=np.float32)]).tocsr()
    ranker = SparseRanker().fit(problem["sparse"], problem["dense"], labels, problem["shortlist"])
    ids = np.full((N, 1), L, np.int64)
    assert (ranker.score(problem["sparse"], problem["dense"], ids) < 0).all()


def test_unsorted_rows_give_the_same_scores(problem: dict[str, Any]) -> None:
    ranker = fit(problem)
    matrix = problem["sparse"].copy()
    for row in range(N):
        a, b = matrix.indptr[row], matrix.indptr[row + 1]
        matrix.indices[a:b] = matrix.indices[a:b][::-1]
        matrix.data[a:b] = matrix.data[a:b][::-1]
    matrix.has_sorted_indices = False
    np.testing.assert_allclose(
        ranker.score(matrix, problem["dense"], problem["shortlist"]),
        ranker.score(problem["sparse"], problem["dense"], problem["shortlist"]),
        atol=1e-5,
    )


def test_saved_ranker_answers_the_same(problem: dict[str, Any], tmp_path: Path) -> None:
    ranker = fit(problem, dense_scale=0.7)
    ranker.save_pretrained(tmp_path)
    loaded = SparseRanker.from_pretrained(tmp_path)
    assert loaded.config == ranker.config
    arguments = (problem["sparse"], problem["dense"], problem["shortlist"])
    np.testing.assert_array_equal(loaded.score(*arguments), ranker.score(*arguments))


def test_damaged_ranker_is_refused(problem: dict[str, Any], tmp_path: Path) -> None:
    fit(problem).save_pretrained(tmp_path)
    path = tmp_path / "ranker.safetensors"
    data = bytearray(path.read_bytes())
    data[-9] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ModelFormatError, match="checksum"):
        SparseRanker.from_pretrained(tmp_path)
    path.write_bytes(bytes(data)[:-20])
    with pytest.raises(ModelFormatError, match="truncated"):
        SparseRanker.from_pretrained(tmp_path)


def test_ids_beyond_the_features_in_a_file_are_refused(
    problem: dict[str, Any], tmp_path: Path
) -> None:
    ranker = fit(problem)
    ranker._weights = ranker._weights._replace(features=ranker._weights.features + V)
    ranker.save_pretrained(tmp_path)
    with pytest.raises(ModelFormatError, match="features runs"):
        SparseRanker.from_pretrained(tmp_path)


def test_bad_input_is_refused(problem: dict[str, Any]) -> None:
    with pytest.raises(NotFittedError):
        SparseRanker().score(problem["sparse"], problem["dense"], problem["shortlist"])
    ranker = fit(problem)
    with pytest.raises(InputError, match="trained on 40"):
        ranker.score(problem["sparse"][:, :39], problem["dense"], problem["shortlist"])
    with pytest.raises(InputError, match="expected -1 to 8"):
        ranker.score(problem["sparse"], problem["dense"], problem["shortlist"] + 5)
    with pytest.raises(InputError, match="expected 120 rows"):
        ranker.score(problem["sparse"], problem["dense"], problem["shortlist"][:5])
    with pytest.raises(InputError, match="NaN"):
        ranker.score(problem["sparse"], problem["dense"] * np.nan, problem["shortlist"])
    with pytest.raises(InputError, match="expected a scipy sparse matrix"):
        ranker.score(problem["dense"], problem["dense"], problem["shortlist"])
    with pytest.raises(InputError, match="cost is 0"):
        RankerConfig(cost=0)


def test_more_points_are_learned_near_what_was_known(problem: dict[str, Any]) -> None:
    """Against a general minimiser of 1/2 |w - w0|^2 + C sum hinge^2, a label after the other."""
    from scipy.optimize import minimize

    ranker = fit(problem, cost=0.8, **EXACT)
    rng = np.random.default_rng(3)
    n = 10
    sparse = sp.random(n, V, density=0.3, random_state=2, dtype=np.float32, format="csr")
    dense = rng.normal(size=(n, D)).astype(np.float32) / 3
    truth = np.zeros((n, L), np.float32)
    truth[np.arange(n), rng.integers(0, 4, n)] = 1  # labels 4 to 8 get no positive
    shortlist = np.array([rng.permutation(L)[:4] for _ in range(n)])
    learned = ranker.with_points(sparse, dense, sp.csr_matrix(truth), shortlist, also=np.array([5]))
    features = np.hstack([sparse.toarray(), 0.7 * dense, np.ones((n, 1))])

    def weights(model: SparseRanker) -> Any:
        found = model._fitted()
        sparse_LV = model.sparse_weights().toarray()
        return np.hstack([sparse_LV, found.weight_LD, found.bias_L[:, None]]).astype(np.float64)

    before, after = weights(ranker), weights(learned)
    for label in range(L):
        if label > 3 and label != 5:
            np.testing.assert_array_equal(after[label], before[label])
            continue
        mine = truth[:, label].astype(bool) | (shortlist == label).any(axis=1)
        x, y = features[mine], np.where(truth[mine, label] > 0, 1.0, -1.0)

        def loss(w: Any, x: Any = x, y: Any = y, prior: Any = before[label]) -> float:
            hinge = np.maximum(0, 1 - y * (x @ w))
            return float(0.5 * np.sum((w - prior) ** 2) + 0.8 * np.sum(hinge**2))

        best = minimize(loss, before[label], method="BFGS", options={"gtol": 1e-7}).x
        np.testing.assert_allclose(after[label], best, atol=2e-3)
        assert mine.any()
        assert np.abs(after[label] - before[label]).max() > 1e-3


def test_a_ranker_that_learns_more_leaves_the_old_one(problem: dict[str, Any]) -> None:
    ranker = fit(problem)
    before = [array.copy() for array in ranker._fitted()]
    ranker.with_points(*(problem[name][:7] for name in ("sparse", "dense", "labels", "shortlist")))
    for old, new in zip(before, ranker._fitted(), strict=True):
        np.testing.assert_array_equal(old, new)
