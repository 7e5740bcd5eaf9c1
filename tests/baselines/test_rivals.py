"""Adapters to other packages: each against brute force, where its package is installed."""

from __future__ import annotations

import importlib
import pickle  # only to check that a specification can be handed to another process
import sys

import numpy as np
import pytest
from test_baselines import brute_force, make_items, make_queries

from learned_index.baselines import parse_baselines
from learned_index.baselines.faiss_index import IvfProductSearch, IvfScalarSearch
from learned_index.baselines.hnswlib_index import HnswlibSearch
from learned_index.baselines.lorann_index import LorannSearch, QueryTrainedLorannSearch
from learned_index.baselines.scann_index import ScannSearch
from learned_index.baselines.usearch_index import UsearchSearch
from learned_index.baselines.vectors import NormCoordinate, exact_order
from learned_index.comparison.method import padded
from learned_index.errors import InputError, MissingExtraError, NotFittedError
from learned_index.system.threads import limit_threads

PACKAGES = {
    LorannSearch: "lorann", QueryTrainedLorannSearch: "lorann", ScannSearch: "scann",
    HnswlibSearch: "hnswlib", UsearchSearch: "usearch",
    IvfProductSearch: "faiss", IvfScalarSearch: "faiss",
}  # fmt: skip
RIVALS = [pytest.param(rival, id=rival.method) for rival in PACKAGES]
SMALL = make_items(700, 24, spread=1.0), make_queries(50, 24)


def built(rival, items=None, **options):
    pytest.importorskip(PACKAGES[rival])
    items = SMALL[0] if items is None else items
    adapter = rival(**options)
    with limit_threads(1):
        if rival is QueryTrainedLorannSearch:
            adapter.build(items, make_queries(len(items), items.shape[1], seed=7))
        else:
            adapter.build(items)
    return adapter


def found_by_one(answer):
    """Ids in what a package returns for one query."""
    if hasattr(answer, "keys"):  # usearch
        return np.asarray(answer.keys).ravel()
    if isinstance(answer, tuple):  # ScaNN and hnswlib: ids first; FAISS: scores first
        return np.asarray(next(p for p in answer if np.issubdtype(p.dtype, np.integer))).ravel()
    return np.asarray(answer).ravel()


@pytest.mark.parametrize("rival", RIVALS)
def test_the_grid_goes_from_quick_to_thorough(rival):
    items, queries = make_items(3000, 24, spread=1.0), make_queries(60, 24)
    exact, _ = brute_force(queries, items, 100)
    adapter = built(rival, items)
    grid = adapter.query_grid()
    recalls = []
    for arguments in (grid[0], grid[len(grid) // 2], grid[-1]):
        found = adapter.search(queries, 100, **arguments).ids
        recalls.append(np.mean([np.isin(a, b).mean() for a, b in zip(exact, found, strict=True)]))
    assert recalls[-1] >= 0.97 and recalls[0] <= recalls[1] + 0.01 <= recalls[2] + 0.02
    assert 5 <= len(grid) <= 80
    if rival not in (HnswlibSearch, UsearchSearch):  # a graph of 3000 nodes is always thorough
        assert recalls[0] < 0.5


@pytest.mark.parametrize("rival", RIVALS)
def test_what_is_timed_finds_what_search_finds_best_first(rival):
    """LoRANN returns results without order where it has no more candidates than results."""
    items, queries = SMALL
    adapter = built(rival)
    exact, _ = brute_force(queries, items, 20)
    grid = adapter.query_grid()
    for arguments in (grid[0], grid[-1]):
        expected = adapter.search(queries, 20, **arguments)
        rows = adapter.prepare_queries(queries)
        with limit_threads(1):
            bound = adapter.bind(20, **arguments)
            batch = np.asarray(bound.batch(rows))
            one = [found_by_one(bound.one(row)) for row in adapter.split_queries(rows)]
            one = [ids[ids >= 0] for ids in one]
        for row, alone in enumerate(one):
            assert set(batch[row][batch[row] >= 0]) == set(expected.ids[row]) - {-1}
            if rival is not ScannSearch or arguments is grid[-1]:  # ScaNN routes batches otherwise
                assert len(set(alone.tolist()) & set(expected.ids[row])) >= 0.9 * len(alone)
    assert np.mean(batch[:, 0] == exact[:, 0]) > 0.9
    assert np.mean([np.isin(a[:5], b[:6]).mean() for a, b in zip(exact, batch, strict=True)]) > 0.9


@pytest.mark.parametrize("rival", RIVALS)
def test_scores_are_exact_inner_products_of_unnormalised_vectors(rival):
    items, queries = SMALL
    adapter = built(rival)
    found = adapter.search(queries, 10, **adapter.query_grid()[-1])
    assert found.ids.dtype == np.int64 and found.scores.dtype == np.float32
    expected = np.einsum("be,bke->bk", queries, items[found.ids])
    rough = rival is IvfScalarSearch
    np.testing.assert_allclose(found.scores, expected, rtol=0.05 if rough else 1e-3, atol=0.2)
    assert (np.diff(found.scores, axis=1) <= 1e-3).all()


@pytest.mark.parametrize("n_items", [1, 3, 7, 40])
@pytest.mark.parametrize("rival", [r for r in RIVALS if r.id not in ("ivf-pq",)])
def test_fewer_items_than_k_pad(rival, n_items):
    adapter = built(rival, make_items(n_items, 24, spread=1.0))
    for queries in (make_queries(5, 24), make_queries(1, 24)):
        found = adapter.search(queries, 60, **adapter.query_grid()[-1])
        assert found.ids.shape == (len(queries), 60)
        assert (np.sort(found.ids[:, :n_items], axis=1) == np.arange(n_items)).all()
        assert (found.ids[:, n_items:] == -1).all()
        assert np.isneginf(found.scores[:, n_items:]).all()


@pytest.mark.parametrize("rival", RIVALS)
def test_wrong_arguments_are_refused(rival):
    pytest.importorskip(PACKAGES[rival])
    with pytest.raises(NotFittedError, match="build"):
        rival().search(SMALL[1], 5)
    adapter = built(rival)
    with pytest.raises(InputError, match="dimension 12"):
        adapter.search(make_queries(3, 12), 5)
    with pytest.raises(InputError, match="not know"):
        adapter.search(SMALL[1], 5, beam_width=3)
    knob = next(iter(adapter.query_grid()[0]))
    with pytest.raises(InputError, match=f"{knob} is 0"):
        adapter.search(SMALL[1], 5, **{knob: 0})
    queries = SMALL[1].copy()
    queries[2, 3] = np.nan
    with pytest.raises(InputError, match="row 2"):
        adapter.search(queries, 5)


@pytest.mark.parametrize("rival", RIVALS)
def test_disk_bytes_hold_the_codes_and_specifications_travel(rival):
    assert built(rival).disk_bytes() > 700 * 24 / 4
    (spec,) = parse_baselines(rival.method)
    assert pickle.loads(pickle.dumps(spec)).create().method == rival.method


@pytest.mark.parametrize("rival", [HnswlibSearch, UsearchSearch])
def test_no_item_of_small_norm_is_unreachable(rival):
    """Raw inner products leave items of small norm without an edge that leads to them."""
    items = make_items(800, 6, spread=6.0)
    shares = {}
    for metric in ("reduced", "inner-product"):
        adapter = built(rival, items, metric=metric, links=6)
        (knob,) = adapter.arguments
        found = adapter.search(make_queries(40, 6), 800, **{knob: 800})
        shares[metric] = np.unique(found.ids[found.ids >= 0]).size / 800
    assert shares["inner-product"] < 0.95 < 0.99 < shares["reduced"]


def test_a_row_with_few_results_does_not_fail_the_batch():
    """hnswlib raises for the whole batch where one row has fewer than k."""
    adapter = built(HnswlibSearch, make_items(800, 6, spread=6.0), metric="inner-product", links=2)
    with limit_threads(1):
        ids = np.asarray(adapter.bind(800, ef_search=800).batch(make_queries(3, 6)))
    assert ids.shape == (3, 800)
    counts = (ids >= 0).sum(axis=1)
    assert (counts > 0).all() and (counts < 800).any()
    for row, count in zip(ids, counts, strict=True):
        assert len(set(row[:count])) == count and (row[count:] == -1).all()


@pytest.mark.parametrize(
    ("text", "attribute", "value"),
    [
        ("hnswlib:links=48,metric=inner-product", "links", 48),
        ("lorann(n_clusters=512,bits=4)", "bits", 4),
        ("scann:soar=0.0", "soar", 0.0),
        ("scann:threshold=1", "threshold", 1),
        ("usearch:dtype=f16", "dtype", "f16"),
        ("hnsw:HNSW16,ef_construction=400", "ef_construction", 400),
        ("hnsw:HNSW16,ef_construction=400", "factory", "HNSW16"),
        ("ivf-pq:IVF64,PQ12x4fs,RFlat", "factory", "IVF64,PQ12x4fs,RFlat"),
        ("engine:float16", "variant", "float16"),
    ],
)
def test_options_reach_the_method(text, attribute, value):
    (spec,) = parse_baselines(text)
    assert spec.name == text and getattr(spec.create(), attribute) == value


def test_options_stand_in_lists():
    text = "exact,hnswlib:links=48,seed=3,ivf:IVF8,Flat,rescore=3.0,tree"
    assert [spec.name for spec in parse_baselines(text)] == [
        "exact", "hnswlib:links=48,seed=3", "ivf:IVF8,Flat,rescore=3.0", "tree",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hnswlib:link=48", "no option 'link'; it has: metric, links, ef_construction, seed"),
        ("hnswlib:links=many", "'many', expected a whole number"),
        ("hnswlib:metric=cosine", "metric is 'cosine', expected 'reduced' or 'inner-product'"),
        ("hnswlib:HNSW32", "takes no factory string"),
        ("lorann:bits=5", "bits must be 0, 4 or 8"),
        ("usearch:dtype=f64", "dtype is 'f64', expected 'f32'"),
        ("engine:int4", "variant is 'int4', expected 'int8', 'float16'"),
        ("links=48", "'links=48' is no method"),
    ],
)
def test_wrong_options_are_explained(text, message):
    with pytest.raises(InputError, match=message):
        parse_baselines(text)


@pytest.mark.parametrize("rival", [LorannSearch, ScannSearch, HnswlibSearch, UsearchSearch])
def test_a_missing_package_names_the_pip_command(rival, monkeypatch):
    monkeypatch.setitem(sys.modules, PACKAGES[rival], None)
    for name in [name for name in sys.modules if name.startswith(f"{PACKAGES[rival]}.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(MissingExtraError, match=f"pip install {PACKAGES[rival]}.*rivals"):
        rival().build(SMALL[0])


def test_importing_the_baselines_imports_no_rival():
    import subprocess

    code = (
        "import learned_index.baselines, sys; "
        "rivals = ('lorann', 'scann', 'hnswlib', 'usearch', 'omikuji', 'pecos'); "
        "print([m for m in rivals if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr


def test_the_norm_coordinate_turns_products_into_distances():
    items, queries = SMALL
    norms = NormCoordinate()
    lifted, asked = norms.lift_items(items), norms.lift_queries(queries)
    np.testing.assert_allclose(np.linalg.norm(lifted, axis=1), norms.largest_norm, rtol=1e-4)
    distances = ((asked[:, None] - lifted[None]) ** 2).sum(axis=2)
    products = queries @ items.T
    np.testing.assert_allclose(norms.products(queries, distances), products, atol=2e-3)
    np.testing.assert_array_equal(distances.argmin(axis=1), products.argmax(axis=1))


def test_exact_order_scores_and_pads():
    items, queries = SMALL
    result = padded(*exact_order(np.array([[3, -1, 9, 5]]), queries[:1], items), 6)
    scores = items[[3, 9, 5]] @ queries[0]
    assert result.ids[0].tolist() == [*np.array([3, 9, 5])[np.argsort(-scores)], -1, -1, -1]
    np.testing.assert_allclose(result.scores[0, :3], np.sort(scores)[::-1], rtol=1e-5)


def test_the_names_of_the_packages_are_right():
    for package in set(PACKAGES.values()):
        pytest.importorskip(package)
        assert importlib.import_module(package)
