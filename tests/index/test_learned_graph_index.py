"""The index as its users meet it: fit, search, and bad input."""

from __future__ import annotations

import threading
import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from index_cases import QUICK, SMALL, D, L, planted

from learned_index import IndexConfig, LearnedGraphIndex, TrainingConfig
from learned_index.errors import InputError, LearnedIndexError, NotFittedError


@pytest.fixture(scope="module")
def fitted():
    X, Y = planted()
    return LearnedGraphIndex(SMALL, training=QUICK).fit(X, Y)


@pytest.fixture
def queries():
    return planted(50, seed=1)[0]


def recall(result, truth):
    hits = [np.isin(row, truth[i].indices).sum() for i, row in enumerate(result.ids)]
    return sum(hits) / truth.nnz


def test_it_learns_and_beats_its_fixed_tree():
    X, Y = planted(4000)
    Xt, Yt = planted(400, seed=1)
    training = TrainingConfig(stage1_epochs=4, stage2_epochs=6, batch_size=64)
    index = LearnedGraphIndex(SMALL, training=training).fit(X, Y)
    learned, tree = (recall(i.search(Xt, k=10), Yt) for i in (index, index.fixed_tree()))
    assert learned > 0.75
    assert learned > tree + 0.02


def test_results_are_sorted_distinct_and_probabilities(fitted, queries):
    ids, scores = fitted.search(queries, k=20)
    assert ids.dtype == np.int64
    assert scores.dtype == np.float32
    assert (np.diff(scores, axis=1) <= 0).all()
    assert ((scores >= 0) & (scores <= 1)).all()
    assert all(len(set(row)) == 20 for row in ids.tolist())


def test_dtype_memory_order_and_container_do_not_matter(fitted, queries):
    expected = fitted.search(queries, k=5)
    forms = [
        queries.astype(np.float64),
        np.asfortranarray(queries),
        queries[:, ::-1][:, ::-1],
        torch.from_numpy(queries),
        torch.from_numpy(queries).double(),
        queries.tolist(),
    ]
    for form in forms:
        got = fitted.search(form, k=5)
        assert np.array_equal(got.ids, expected.ids)
        assert np.array_equal(got.scores, expected.scores)
    half = fitted.search(queries.astype(np.float16), k=5)
    np.testing.assert_allclose(half.scores, expected.scores, atol=0.02)
    single = fitted.search(queries[0], k=5)
    assert np.array_equal(single.ids, expected.ids[:1])


def test_answers_do_not_depend_on_batch_or_threads(fitted, queries, with_threads):
    with with_threads(1):
        one = fitted.search(queries, k=30)
        singles = [fitted.search(q[None], k=30) for q in queries]
    with with_threads(2):
        two = fitted.search(queries, k=30)
    for field in ("ids", "scores"):
        assert np.array_equal(getattr(one, field), getattr(two, field))
        assert np.array_equal(getattr(one, field), np.vstack([getattr(s, field) for s in singles]))


def test_many_threads_may_search_at_once(fitted, queries):
    expected = fitted.search(queries, k=10)
    wrong = []

    def work():
        for _ in range(20):
            if not np.array_equal(fitted.search(queries, k=10).ids, expected.ids):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_more_results_than_labels_are_padded(fitted, queries):
    ids, scores = fitted.search(queries, k=L + 50, beam_width=10**6)
    assert ids.shape == (50, L + 50)
    assert (ids[:, :L] >= 0).all()  # every label is reachable
    assert (ids[:, L:] == -1).all()
    assert np.isneginf(scores[:, L:]).all()
    few = fitted.search(queries, k=10, shortlist_size=3)
    assert ((few.ids >= 0).sum(1) == 3).all()
    assert (few.ids[:, 3:] == -1).all()


def test_no_query_gives_no_result(fitted):
    ids, scores = fitted.search(np.empty((0, D), np.float32), k=4)
    assert ids.shape == scores.shape == (0, 4)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_queries_that_are_not_finite_are_refused(fitted, queries, bad):
    broken = queries.astype(np.float64)
    broken[3, 2] = bad
    with pytest.raises(InputError, match="row 3"):
        fitted.search(broken, k=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((2, D + 1), np.float32),), f"dimension {D + 1}, the index was built for {D}"),
        ((np.zeros((2, D), np.int64),), "int64, expected float16, float32 or float64"),
        ((np.zeros((2, 2, D), np.float32),), "expected two dimensions"),
        ((sp.csr_matrix((2, D)),), "sparse matrix, expected a dense array"),
        ((np.zeros((2, D), np.float32), 0), "k is 0, expected at least 1"),
    ],
)
def test_wrong_queries_get_a_clear_error(fitted, arguments, message):
    with pytest.raises(InputError, match=message):
        fitted.search(*arguments)


def test_an_unfitted_index_says_so():
    with pytest.raises(NotFittedError, match="call fit"):
        LearnedGraphIndex().search(np.zeros((1, 2), np.float32))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, Y: (np.where(np.arange(len(X))[:, None] == 9, np.nan, X), Y), "row 9"),
        (lambda X, Y: (X, Y[:-1]), "labels have 1499 rows, expected 1500"),
        (lambda X, Y: (X, sp.csr_matrix(Y.shape)), "no point has a label"),
        (lambda X, Y: (X, [[-1]] * len(X)), "row 0 has label id -1, expected 0"),
        (lambda X, Y: (X[0], Y), "expected two dimensions"),
    ],
)
def test_wrong_training_data_get_a_clear_error(change, message):
    with pytest.raises(InputError, match=message):
        LearnedGraphIndex(SMALL, training=QUICK).fit(*change(*planted()))


def test_unsorted_duplicated_csr_trains_the_same_index(fitted, queries):
    X, Y = planted()
    coo = Y.tocoo()
    order = np.random.default_rng(0).permutation(coo.nnz)
    rows = np.concatenate([coo.row[order], coo.row[:5]])
    cols = np.concatenate([coo.col[order], coo.col[:5]])
    by_row = np.argsort(rows, kind="stable")
    indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(X)))])
    messy = sp.csr_matrix((np.ones(len(rows)), cols[by_row], indptr), shape=Y.shape)
    assert not messy.has_canonical_format
    again = LearnedGraphIndex(SMALL, training=QUICK).fit(X, messy)
    assert np.array_equal(again.search(queries).scores, fitted.search(queries).scores)
    assert messy.nnz == len(rows)  # the caller's matrix is left alone


def test_lists_and_memory_mapped_vectors_train_the_same_index(fitted, queries, tmp_path):
    X, Y = planted()
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    lists = [Y[i].indices.tolist() for i in range(len(X))]
    lists[0] = [*lists[0], lists[0][0]]
    again = LearnedGraphIndex(SMALL, training=QUICK).fit(mapped, lists)
    assert np.array_equal(again.search(queries).scores, fitted.search(queries).scores)


def test_points_without_labels_change_nothing(fitted, queries):
    X, Y = planted()
    more = np.vstack([X, np.full((3, D), 5.0, np.float32)])
    labels = sp.vstack([Y, sp.csr_matrix((3, L))]).tocsr()
    again = LearnedGraphIndex(SMALL, training=QUICK).fit(more, labels)
    assert np.array_equal(again.search(queries).scores, fitted.search(queries).scores)


def test_tiny_data_work():
    index = LearnedGraphIndex(training=QUICK).fit(np.ones((2, 3), np.float32), [[0], [1]])
    assert sorted(index.search(np.ones((1, 3), np.float32), k=3).ids[0].tolist()) == [-1, 0, 1]
    one = LearnedGraphIndex(training=QUICK).fit(np.zeros((1, 3), np.float32), [[0]])
    assert one.search(np.zeros((1, 3), np.float32), k=1).ids.tolist() == [[0]]


def test_a_rate_that_explodes_stops_with_a_clear_error():
    X, Y = planted()
    training = TrainingConfig(stage1_epochs=3, projection_learning_rate=1e30, batch_size=64)
    with pytest.raises(LearnedIndexError, match="lower the learning rate"):
        LearnedGraphIndex(SMALL, training=training).fit(X, Y)


def test_progress_reports_all_stages_and_validation():
    X, Y = planted(300)
    events = []
    LearnedGraphIndex(SMALL, training=QUICK).fit(
        X, Y, validation=planted(50, seed=1), progress=events.append
    )
    stages = list(dict.fromkeys(e.stage for e in events))
    assert stages == ["clustering", "stage 1", "graph", "stage 2"]
    last = events[-1]
    assert (last.epoch, last.step) == (last.n_epochs, last.n_steps)
    assert 0 <= last.metrics["P@1"] <= 100
    assert last.loss is not None


@pytest.mark.parametrize(
    ("cls", "values"),
    [
        (IndexConfig, {"beam_width": 0}),
        (IndexConfig, {"projection": "cubic"}),
        (TrainingConfig, {"dropout": 1.5}),
        (TrainingConfig, {"edge_init": "zero"}),
    ],
)
def test_configurations_are_checked(cls, values):
    with pytest.raises(InputError, match=next(iter(values))):
        cls(**values)
    with pytest.raises(InputError, match="unknown"):
        cls.from_dict({"beam": 3})


def test_memory_does_not_grow_with_mapped_points(tmp_path):
    n, dim = 100_000, 64
    mapped = np.lib.format.open_memmap(
        tmp_path / "x.npy", mode="w+", dtype=np.float32, shape=(n, dim)
    )
    rng = np.random.default_rng(0)
    for start in range(0, n, 10_000):
        mapped[start : start + 10_000] = rng.normal(size=(10_000, dim))
    mapped.flush()
    labels = sp.csr_matrix((np.ones(n), np.arange(n) % 50, np.arange(n + 1)), shape=(n, 50))
    training = TrainingConfig(stage1_epochs=1, stage2_epochs=1, batch_size=4096)
    reader = np.load(tmp_path / "x.npy", mmap_mode="r")
    tracemalloc.start()
    try:
        LearnedGraphIndex(IndexConfig(n_clusters=5), training=training).fit(reader, labels)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The vectors are 25.6 MB; a chunk of them is held at a time, and the labels' three arrays.
    assert peak < 21e6


def test_labels_without_training_points_are_reachable_and_rank_last():
    X, Y = planted(600)
    wider = sp.csr_matrix((Y.data, Y.indices, Y.indptr), shape=(len(X), L + 4))
    index = LearnedGraphIndex(SMALL, training=QUICK).fit(X, wider)
    ids = index.search(X[:20], k=L + 4, beam_width=100).ids
    assert (ids >= 0).all()
    assert not (ids[:, :5] >= L).any()


@pytest.mark.parametrize("scale", [0.01, 1.0, 30.0])
def test_vectors_of_any_length_can_be_learned(scale):
    X, Y = planted(2000)
    Xt, Yt = planted(200, seed=1)
    index = LearnedGraphIndex(SMALL).fit(X * scale, Y)
    assert recall(index.search(Xt * scale, k=10), Yt) > 0.6


@pytest.mark.parametrize("exponent", [0.0, 0.5, 0.7, 1.0])
def test_labels_are_ranked_by_the_power_of_their_path(fitted, queries, exponent):
    index = LearnedGraphIndex(IndexConfig(**{**SMALL.to_dict(), "path_exponent": exponent}))
    index.allocate(dim=D, n_labels=L, n_clusters=12)
    index.graph = fitted.graph
    index.load_state_dict(fitted.state_dict())
    weights_CM, labels_CM = fitted.graph.weights().detach().numpy(), fitted.graph.edge_labels_CM
    weight_LD, bias_L = fitted.label_classifiers()
    x_BD = fitted.project(queries)
    result = index.search(queries, k=10)
    for row, x in enumerate(x_BD.astype(np.float64)):
        logits = fitted.router.weight_CD.detach().numpy().astype(np.float64) @ x
        scores = (
            SMALL.router_scale * np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        )
        best: dict[int, float] = {}
        for c in np.argsort(-scores)[:3]:
            for label, weight in zip(labels_CM[c].tolist(), weights_CM[c], strict=True):
                if label >= 0:
                    best[label] = max(best.get(label, 0.0), min(1.0, scores[c]) * float(weight))
        expected = {
            label: path**exponent / (1 + np.exp(-(weight_LD[label] @ x + bias_L[label])))
            for label, path in best.items()
        }
        top = sorted(expected.values(), reverse=True)[:10]
        np.testing.assert_allclose(result.scores[row], top, rtol=2e-4)
        for label, score in zip(result.ids[row].tolist(), result.scores[row], strict=True):
            assert score == pytest.approx(expected[label], rel=2e-4)


@pytest.mark.parametrize(
    ("n_points", "stages"),
    [(50, (10, 10)), (3_000, (10, 10)), (9_000, (5, 7)), (36_000, (2, 4)), (10**6, (2, 4))],
)
def test_small_data_sets_have_more_epochs_but_not_many(n_points, stages):
    found = TrainingConfig().resolve_epochs(n_points)
    assert (found.stage1_epochs, found.stage2_epochs) == stages
    given = TrainingConfig(stage1_epochs=30, stage2_epochs=50).resolve_epochs(n_points)
    assert (given.stage1_epochs, given.stage2_epochs) == (30, 50)
