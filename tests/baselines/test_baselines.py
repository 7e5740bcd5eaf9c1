"""Baselines against brute force, and the traps that searchers fall into."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from learned_index.baselines import exact as exact_module
from learned_index.baselines.exact import ExactSearch, Int8ExactSearch
from learned_index.baselines.faiss_index import HnswSearch, IvfSearch
from learned_index.baselines.searchers import EngineSearch, LearnedSearch, TreeSearch
from learned_index.errors import InputError, NotFittedError
from learned_index.types import SearchResult

VECTOR_METHODS = [ExactSearch, Int8ExactSearch, HnswSearch, IvfSearch]
EXACT_METHODS = [ExactSearch, Int8ExactSearch]


def make_items(n_items=300, dim=13, seed=0, spread=2.0):
    """Items whose norms differ, as label classifiers' do."""
    generator = np.random.default_rng(seed)
    directions = generator.standard_normal((n_items, dim))
    return (directions * np.exp(spread * generator.random((n_items, 1)))).astype(np.float32)


def make_queries(n_queries=40, dim=13, seed=1):
    return np.random.default_rng(seed).standard_normal((n_queries, dim)).astype(np.float32)


def brute_force(queries, items, k):
    scores = queries.astype(np.float64) @ items.astype(np.float64).T
    ids = np.argsort(-scores, axis=1)[:, :k]
    return ids, np.take_along_axis(scores, ids, axis=1)


def built(method, items=None, **options):
    adapter = method(**options)
    adapter.build(make_items() if items is None else items)
    return adapter


@pytest.mark.parametrize("method", VECTOR_METHODS)
@pytest.mark.parametrize("n_queries", [1, 3, 40])
def test_thorough_search_equals_brute_force(method, n_queries):
    items, queries = make_items(), make_queries(n_queries)
    adapter = built(method, items)
    found = adapter.search(queries, 10, **adapter.query_grid()[-1])
    ids, scores = brute_force(queries, items, 10)
    assert found.ids.dtype == np.int64 and found.scores.dtype == np.float32
    np.testing.assert_array_equal(found.ids, ids)
    np.testing.assert_allclose(found.scores, scores, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("method", VECTOR_METHODS)
def test_the_grid_goes_from_fast_to_thorough(method):
    items, queries = make_items(2000, 24, spread=1.0), make_queries(60, 24)
    exact, _ = brute_force(queries, items, 20)
    adapter = built(method, items)
    recalls = [
        np.mean(
            [
                np.isin(row, ids).mean()
                for row, ids in zip(
                    exact, adapter.search(queries, 20, **arguments).ids, strict=True
                )
            ]
        )
        for arguments in adapter.query_grid()
    ]
    assert recalls[-1] >= 0.99
    assert np.diff(recalls).min(initial=0.0) >= -0.01
    if method in (HnswSearch, IvfSearch):
        assert recalls[0] < recalls[-1]


@pytest.mark.parametrize("method", VECTOR_METHODS)
def test_fewer_items_than_k_pads(method):
    items, queries = make_items(7), make_queries(20)
    for batch in (queries, queries[:1]):
        found = built(method, items).search(batch, 12)
        assert found.ids.shape == found.scores.shape == (len(batch), 12)
        assert (found.ids[:, 7:] == -1).all() and np.isneginf(found.scores[:, 7:]).all()
        assert (np.sort(found.ids[:, :7], axis=1) == np.arange(7)).all()
        assert (np.diff(found.scores[:, :7], axis=1) <= 0).all()


def test_fewer_results_than_k_pad():
    """One probed list holds fewer items than asked for."""
    adapter = built(IvfSearch, make_items(400), factory="IVF100,Flat")
    found = adapter.search(make_queries(5), 50, nprobe=1)
    assert found.ids.shape == (5, 50)
    assert (found.ids == -1).any() and np.isneginf(found.scores[found.ids == -1]).all()
    assert np.isfinite(found.scores[found.ids >= 0]).all()


@pytest.mark.parametrize("method", VECTOR_METHODS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused(method, value):
    adapter = built(method)
    queries = make_queries(5)
    queries[3, 2] = value
    with pytest.raises(InputError, match="row 3"):
        adapter.search(queries, 5)
    items = make_items()
    items[9, 0] = value
    with pytest.raises(InputError, match="row 9"):
        method().build(items)


def test_finite_values_whose_products_would_overflow_are_refused_as_such():
    items = make_items()
    items[:, 0] = 3e38
    with pytest.raises(InputError, match="items hold numbers beyond 1e"):
        ExactSearch().build(items)
    with pytest.raises(InputError, match="queries hold numbers beyond 1e"):
        built(ExactSearch).search(np.full((2, 13), 1e30, np.float32), 3)
    assert built(ExactSearch).search(np.full((2, 13), 1e14, np.float32), 3).ids.shape == (2, 3)


@pytest.mark.parametrize("method", VECTOR_METHODS)
def test_accepts_any_float_layout(method):
    adapter = built(method)
    queries = make_queries(20).astype(np.float16).astype(np.float32)
    expected = adapter.search(queries, 5)
    for other in (
        queries.astype(np.float16),
        queries.astype(np.float64),
        np.asfortranarray(queries),
        torch.from_numpy(queries),
    ):
        found = adapter.search(other, 5)
        np.testing.assert_array_equal(found.ids, expected.ids)


@pytest.mark.parametrize("method", VECTOR_METHODS)
def test_wrong_arguments_are_refused(method):
    with pytest.raises(NotFittedError, match="build"):
        method().search(make_queries(), 5)
    adapter = built(method)
    with pytest.raises(InputError, match="13"):
        adapter.search(make_queries(dim=12), 5)
    with pytest.raises(InputError, match="two dimensions"):
        adapter.search(make_queries()[0], 5)
    with pytest.raises(InputError, match="k is 0"):
        adapter.search(make_queries(), 0)
    with pytest.raises(InputError, match="not know"):
        adapter.search(make_queries(), 5, beam_width=3)


@pytest.mark.parametrize("method", VECTOR_METHODS)
def test_no_queries_give_an_empty_result(method):
    found = built(method).search(np.empty((0, 13), np.float32), 4)
    assert found.ids.shape == (0, 4)


@pytest.mark.parametrize("method", VECTOR_METHODS)
def test_batches_and_single_queries_agree(method):
    adapter, queries = built(method), make_queries()
    arguments = adapter.query_grid()[-1]
    together = adapter.search(queries, 10, **arguments)
    alone = [adapter.search(queries[i : i + 1], 10, **arguments) for i in range(len(queries))]
    np.testing.assert_array_equal(together.ids, np.concatenate([one.ids for one in alone]))


@pytest.mark.parametrize("method", VECTOR_METHODS)
def test_one_thread_and_two_agree(method):
    from learned_index.system.threads import limit_threads

    with limit_threads(1):
        adapter = built(method)
        expected = adapter.search(make_queries(), 10)
    with limit_threads(2):
        found = adapter.search(make_queries(), 10)
    np.testing.assert_array_equal(found.ids, expected.ids)


@pytest.mark.parametrize("method", VECTOR_METHODS)
def test_disk_bytes_hold_at_least_the_codes(method):
    adapter = built(method)
    assert 300 * 13 <= adapter.disk_bytes() < 300 * 13 * 4 * 40


def reachable(metric):
    """Share of the items that an exhaustive beam over the graph ever returns."""
    items = make_items(1000, 6, spread=6.0)
    adapter = built(HnswSearch, items, metric=metric, factory="HNSW8")
    found = adapter.search(make_queries(50, 6), 1000, ef_search=1000)
    return np.unique(found.ids[found.ids >= 0]).size / 1000


def test_no_item_of_small_norm_is_unreachable_in_the_graph():
    """Raw inner products leave items of small norm without an edge that leads to them."""
    assert reachable("inner-product") < 0.9
    assert reachable("reduced") == 1.0


def test_the_reduction_keeps_scores_and_order():
    items, queries = make_items(200), make_queries(10)
    reduced = built(IvfSearch, items, factory="IVF4,Flat", metric="reduced")
    raw = built(IvfSearch, items, factory="IVF4,Flat", metric="inner-product")
    left, right = reduced.search(queries, 10, nprobe=4), raw.search(queries, 10, nprobe=4)
    np.testing.assert_array_equal(left.ids, right.ids)
    np.testing.assert_allclose(left.scores, right.scores, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize(
    ("method", "factory"),
    [(HnswSearch, "HNSW16"), (HnswSearch, "HNSW16,SQ8"), (IvfSearch, "IVF8,SQ8,RFlat"),
     (IvfSearch, "PCA8,IVF8,Flat"), (IvfSearch, "IVF16_HNSW8,Flat")],
)  # fmt: skip
def test_any_factory_string(method, factory):
    adapter = built(method, factory=factory)
    for arguments in adapter.query_grid():
        assert adapter.search(make_queries(3), 5, **arguments).ids.shape == (3, 5)


def test_wrong_factory_strings_are_refused():
    with pytest.raises(InputError, match="HNSW32"):
        HnswSearch(factory="IVF4,Flat")
    with pytest.raises(InputError, match="IVF512"):
        IvfSearch(factory="HNSW32")
    with pytest.raises(InputError, match="'IVF8,Nonsense'"):
        built(IvfSearch, factory="IVF8,Nonsense")
    with pytest.raises(InputError, match="PQ5"):  # 13 dimensions do not divide by 5
        built(IvfSearch, factory="IVF8,PQ5")
    with pytest.raises(InputError, match="metric"):
        HnswSearch(metric="cosine")
    with pytest.raises(InputError, match="nprobe is 0, expected at least 1"):
        built(IvfSearch).search(make_queries(), 5, nprobe=0)


@pytest.mark.parametrize("n_items", [1, 2, 5])
@pytest.mark.parametrize("method", VECTOR_METHODS)
def test_a_handful_of_items(method, n_items):
    items = make_items(n_items)
    adapter = built(method, items)
    for arguments in adapter.query_grid():
        found = adapter.search(make_queries(4), 3, **arguments)
        assert found.ids.shape == (4, 3) and (found.ids[:, 0] >= 0).all()


@pytest.mark.parametrize("works", [True, False])
def test_int8_scan_with_and_without_the_integer_product(works, monkeypatch):
    if not works:
        monkeypatch.setattr(exact_module, "_int_mm_works", lambda: False)
    adapter = built(Int8ExactSearch)
    assert adapter._integer_product in ([False] if not works else [True, False])
    queries = make_queries()
    ids, _ = brute_force(queries, make_items(), 10)
    np.testing.assert_array_equal(adapter.search(queries, 10, rescore=4).ids, ids)


def test_int8_codes_of_zero_rows_and_queries():
    items = make_items(50)
    items[7] = 0
    found = built(Int8ExactSearch, items).search(np.zeros((2, 13), np.float32), 50)
    assert (np.sort(found.ids, axis=1) == np.arange(50)).all() and (found.scores == 0).all()


def test_rescore_below_one_is_refused():
    with pytest.raises(InputError, match="rescore"):
        built(Int8ExactSearch).search(make_queries(), 5, rescore=0.5)


class FakeIndex:
    """Just enough of an index: answers with its beam width."""

    n_clusters = 30

    def search(self, queries, k, *, beam_width=20):
        ids = np.full((len(queries), k), beam_width)
        return SearchResult(ids, np.zeros(ids.shape, np.float32))

    def fixed_tree(self):
        tree = FakeIndex()
        tree.n_clusters = 4
        return tree

    def save_pretrained(self, directory):
        directory.mkdir()
        (directory / "a.bin").write_bytes(b"x" * self.n_clusters)


def test_learned_and_tree_wrap_a_searcher():
    learned, tree = LearnedSearch(), TreeSearch()
    learned.build(FakeIndex())
    tree.build(FakeIndex())
    widths = [arguments["beam_width"] for arguments in learned.query_grid()]
    assert widths == [1, 2, 3, 5, 8, 12, 20, 30]
    assert [arguments["beam_width"] for arguments in tree.query_grid()] == [1, 2, 3, 4]
    assert learned.search(make_queries(2), 3, beam_width=5).ids.tolist() == [[5] * 3] * 2
    assert (learned.disk_bytes(), tree.disk_bytes()) == (30, 4)


class FakeEngine(FakeIndex):
    """An engine tells its shape and takes two knobs."""

    n_labels = 700

    def search(self, queries, k, *, beam_width=20, shortlist_size=200):
        ids = np.full((len(queries), k), 1000 * beam_width + shortlist_size)
        return SearchResult(ids, np.zeros(ids.shape, np.float32))

    def save_pretrained(self, directory, overwrite=False):
        directory.mkdir()
        (directory / "a.npy").write_bytes(b"x" * 77)


class FakeCompiled(FakeIndex):
    configs: list = []  # noqa: RUF012

    def to_engine(self, config=None):
        self.configs.append(config)
        return FakeEngine()


def test_the_engine_is_made_from_the_index_and_swept_over_two_knobs():
    engine = EngineSearch()
    engine.build(FakeCompiled())
    assert FakeCompiled.configs[-1] is None and engine.disk_bytes() == 77
    grid = engine.query_grid()
    assert {tuple(point) for point in grid} == {("beam_width", "shortlist_size")}
    assert {point["beam_width"] for point in grid} == {1, 2, 3, 5, 8, 12, 20, 30}
    assert max(point["shortlist_size"] for point in grid) == 700  # no longer than the labels
    assert all(p["shortlist_size"] <= 400 * p["beam_width"] for p in grid)
    rows = engine.prepare_queries(make_queries(3))
    bound = engine.bind(2, beam_width=5, shortlist_size=300)
    assert bound.batch(rows).tolist() == [[5300] * 2] * 3
    assert bound.one(engine.split_queries(rows)[0]).ids.tolist() == [[5300] * 2]


@pytest.mark.parametrize("precision", ["int8", "float16", "float32"])
def test_the_precision_reaches_the_engine(precision):
    EngineSearch(variant=precision).build(FakeCompiled())
    assert FakeCompiled.configs[-1].precision == precision


def test_the_engine_may_rank_by_the_classifiers_alone():
    EngineSearch(variant="classifiers").build(FakeCompiled())
    assert FakeCompiled.configs[-1].ranking == "classifiers"
    with pytest.raises(InputError, match="variant"):
        EngineSearch(variant="int4")


def test_an_index_without_an_engine_is_refused():
    with pytest.raises(InputError, match="to_engine"):
        EngineSearch().build(FakeIndex())


def test_bound_searches_equal_search():
    """What is timed is what is tested."""
    queries = make_queries(30)
    for method in VECTOR_METHODS:
        adapter = built(method)
        arguments = adapter.query_grid()[-1]
        expected = adapter.search(queries, 10, **arguments).ids
        rows = adapter.prepare_queries(queries)
        bound = adapter.bind(10, **arguments)
        np.testing.assert_array_equal(bound.batch(rows), expected)
        for row, ids in zip(adapter.split_queries(rows), expected, strict=True):
            answer = bound.one(row)
            found = answer.ids if isinstance(answer, SearchResult) else answer[1]
            np.testing.assert_array_equal(found[0], ids)


def test_a_searcher_without_a_tree_is_refused():
    with pytest.raises(InputError, match="fixed_tree"):
        TreeSearch().build(ExactSearch())
