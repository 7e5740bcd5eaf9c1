"""Deep indexes: regions above the clusters."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from learned_index import IndexConfig, LearnedGraphIndex, TrainingConfig
from learned_index.errors import InputError, ModelFormatError, TrainingInterrupted
from learned_index.index.build.partition import default_n_clusters
from learned_index.index.hierarchy import DEEP_FROM_CLUSTERS, hierarchy_shape
from learned_index.index.search import Knobs, search_in_torch
from learned_index.kernels.search.routing import max_merge, take_best
from learned_index.training.checkpoint import CheckpointOptions

L, D, C, S = 240, 16, 40, 8
SHAPE = {
    "n_clusters": C,
    "edges_per_cluster": 30,
    "beam_width": 4,
    "shortlist_size": 60,
}
DEEP = IndexConfig(
    **SHAPE, hierarchy="deep", n_regions=S, region_beam_width=3, candidate_clusters=14
)
FLAT = IndexConfig(**SHAPE, hierarchy="flat")
QUICK = TrainingConfig(stage1_epochs=3, stage2_epochs=5, batch_size=64)


def points(n, *, seed):
    """Noisy prototypes of labels; two labels a point."""
    centres = np.random.default_rng(5).normal(size=(L, D))
    rng = np.random.default_rng(seed)
    pairs = rng.integers(0, L, size=n)
    X = centres[pairs] + 0.3 * rng.normal(size=(n, D))
    both = np.stack([pairs, (pairs + 1) % L], axis=1)
    Y = sp.csr_matrix(
        (np.ones(2 * n, np.float32), (np.repeat(np.arange(n), 2), both.ravel())), shape=(n, L)
    )
    return X.astype(np.float32), Y


@pytest.fixture(scope="module")
def deep():
    X, Y = points(2000, seed=0)
    return LearnedGraphIndex(DEEP, training=QUICK).fit(X, Y)


@pytest.fixture(scope="module")
def queries():
    return points(150, seed=1)


def recall(result, Y):
    hits = [np.isin(Y[b].indices, result.ids[b]).mean() for b in range(Y.shape[0])]
    return float(np.mean(hits))


# -- the compiled walk ------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 5, 40])
def test_max_merge_and_cut_equal_a_dictionary_of_paths(size):
    rng = np.random.default_rng(size)
    edges = np.stack([rng.permutation(40)[:12] for _ in range(9)]).astype(np.int32)
    edges[2, 4:] = -1
    weights = rng.random(edges.shape, np.float32)
    rows, scores = np.array([3, 2, -1, 8]), np.array([0.3, 1.7, 9.0, 0.9], np.float32)
    best, touched = np.full(40, -1.0, np.float32), np.empty(36, np.int32)
    values = np.empty(36, np.float32)
    n = max_merge(rows, scores, 4, edges, weights, best, touched)
    kept = take_best(best, touched, n, values, size)
    oracle = {}
    for row, score in zip(rows, scores, strict=True):
        if row >= 0:
            for target, weight in zip(edges[row], weights[row], strict=True):
                if target >= 0:
                    path = np.float32(min(score, np.float32(1))) * weight
                    oracle[target] = max(path, oracle.get(target, np.float32(-1)))
    expected = sorted(oracle.items(), key=lambda item: -item[1])[:size]
    assert n == len(oracle)
    assert dict(zip(touched[:kept].tolist(), values[:kept].tolist(), strict=True)) == {
        int(target): float(path) for target, path in expected
    }
    assert (best == -1).all()


def route_by_hand(index, x, beam_width):
    """Docs/method.md, "Deep routing", with dictionaries and float64."""
    hierarchy = index.hierarchy
    width, size = hierarchy.widths(beam_width)

    def softmax(z, alpha):
        return alpha * np.exp(z - z.max()) / np.exp(z - z.max()).sum()

    logits = hierarchy.router.vectors().astype(np.float64) @ x
    g = np.minimum(1, softmax(logits, hierarchy.router.scale))
    u = {}
    clusters, weights = hierarchy.graph.arrays()
    for s in np.argsort(-logits)[:width]:
        for c, e in zip(clusters[s], weights[s], strict=True):
            if c >= 0:
                u[int(c)] = max(u.get(int(c), -1.0), g[s] * e)
    candidates = sorted(u, key=lambda c: -u[c])[:size]
    logits = index.router.weight_CD.detach().double().numpy()[candidates] @ x
    share = float(hierarchy.coverage) ** (np.log(size / C) / np.log(14 / C))
    scores = np.minimum(1, softmax(logits, share * index.config.router_scale))
    order = np.argsort(-logits)[:beam_width]
    return [candidates[i] for i in order], scores[order]


@pytest.mark.parametrize("beam_width", [1, 3, 4, 9])
def test_the_beam_is_that_of_the_definition(deep, queries, beam_width):
    x_BD = torch.from_numpy(deep.project(queries[0][:40]))
    same = 0
    for implementation in ("auto", "torch"):
        scores, clusters = deep.beam(x_BD, beam_width, implementation=implementation)
        for b, x in enumerate(x_BD.double().numpy()):
            expected, expected_scores = route_by_hand(deep, x, beam_width)
            if clusters[b].tolist() == expected:
                same += 1
                np.testing.assert_allclose(scores[b], expected_scores, rtol=1e-4)
    assert same >= 76  # the rest: ties of paths at the cut to K0


@pytest.mark.parametrize("beam_width", [1, 4, 10, 1000])
def test_compiled_search_equals_plain_torch_search(deep, queries, beam_width):
    X, _ = queries
    fast = deep.search(X, k=8, beam_width=beam_width)
    slow = search_in_torch(deep, X, Knobs(8, beam_width, 60))
    agree = (fast.ids == slow.ids).all(axis=1)
    assert agree.mean() > 0.95
    np.testing.assert_allclose(fast.scores[agree], slow.scores[agree], rtol=1e-4)


def test_with_all_clusters_as_beam_a_deep_index_answers_as_a_flat_one(deep, queries, tmp_path):
    X, _ = queries
    deep.save_pretrained(tmp_path / "m")
    flat = LearnedGraphIndex.from_pretrained(tmp_path / "m")
    flat.hierarchy = None
    flat.parameters_changed()
    one, two = (index.search(X, k=10, beam_width=C) for index in (deep, flat))
    np.testing.assert_allclose(one.scores, two.scores, rtol=1e-5)
    assert (one.ids == two.ids).mean() > 0.99
    narrow = [index.search(X, k=10) for index in (deep, flat)]
    assert not np.array_equal(narrow[0].ids, narrow[1].ids) or deep.hierarchy.K0 == C


def test_answers_do_not_depend_on_batch_threads_or_other_searches(deep, queries, with_threads):
    X, _ = queries
    whole = deep.search(X, k=7)
    for b in range(0, len(X), 13):
        row = deep.search(X[b], k=7)
        np.testing.assert_array_equal(row.ids[0], whole.ids[b])
        np.testing.assert_array_equal(row.scores[0], whole.scores[b])
    with with_threads(3):
        again = deep.search(X, k=7)
    np.testing.assert_array_equal(again.ids, whole.ids)
    np.testing.assert_array_equal(again.scores, whole.scores)
    widths = [1, 4, 9, 40] * 6
    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(lambda w: deep.search(X, k=7, beam_width=w), widths))
    for width, result in zip(widths, results, strict=True):
        np.testing.assert_array_equal(result.ids, deep.search(X, k=7, beam_width=width).ids)


def test_regions_that_reach_too_few_clusters_give_padded_rows_not_errors(deep, queries, tmp_path):
    deep.save_pretrained(tmp_path / "m")
    index = LearnedGraphIndex.from_pretrained(tmp_path / "m")
    labels = index.hierarchy.graph.edge_labels_CM
    labels[:] = -1
    labels[0, 0] = 5  # one region leads to one cluster, the others nowhere
    index.parameters_changed()
    X, _ = queries
    fast = index.search(X, k=50)
    slow = search_in_torch(index, X, Knobs(50, 4, 60))
    np.testing.assert_array_equal((fast.ids >= 0).sum(axis=1), (slow.ids >= 0).sum(axis=1))
    assert np.isneginf(fast.scores[fast.ids < 0]).all()
    reached = set(index.graph.edge_labels_CM[5].tolist())
    assert set(np.unique(fast.ids).tolist()) <= reached | {-1}
    assert (fast.ids >= 0).any() and (fast.ids[:, 0] < 0).any()


# -- what is learned --------------------------------------------------------------------------


def test_a_deep_index_finds_what_a_flat_one_finds(deep, queries):
    X, Y = queries
    train, labels = points(2000, seed=0)
    flat = LearnedGraphIndex(FLAT, training=QUICK).fit(train, labels)
    found = recall(deep.search(X, k=10), Y)
    assert recall(flat.search(X, k=10), Y) > 0.8
    assert found > recall(flat.search(X, k=10), Y) - 0.05


def test_regions_are_trained_with_the_clusters(queries):
    train, labels = points(2000, seed=0)
    start = LearnedGraphIndex(DEEP, training=QUICK).build_partition(train, labels)
    vectors = start.hierarchy.router.vectors().copy()
    trained = LearnedGraphIndex(DEEP, training=QUICK).fit(train, labels)
    assert not np.allclose(vectors, trained.hierarchy.router.vectors())
    assert trained.hierarchy.graph.edge_logits_CM.requires_grad
    still = TrainingConfig(**{**QUICK.to_dict(), "region_loss_weight": 0.0})
    fixed = LearnedGraphIndex(DEEP, training=still).fit(train, labels)
    np.testing.assert_array_equal(vectors, fixed.hierarchy.router.vectors())


def test_training_on_candidates_alone_learns_as_well(deep, queries):
    X, Y = queries
    training = TrainingConfig(**{**QUICK.to_dict(), "cluster_softmax": "candidates"})
    index = LearnedGraphIndex(DEEP, training=training).fit(*points(2000, seed=0))
    assert recall(index.search(X, k=10), Y) > recall(deep.search(X, k=10), Y) - 0.03


def test_every_cluster_can_be_reached(deep):
    reached = np.unique(deep.hierarchy.graph.arrays()[0])
    assert set(range(C)) <= set(reached.tolist())


def test_the_same_seed_gives_the_same_deep_index(deep):
    again = LearnedGraphIndex(DEEP, training=QUICK).fit(*points(2000, seed=0))
    one, two = deep.state_dict(), again.state_dict()
    assert one.keys() == two.keys()
    assert not [name for name in one if not torch.equal(one[name], two[name])]


def test_an_interrupted_training_goes_on_bit_equal(deep, tmp_path):
    X, Y = points(2000, seed=0)
    calls = iter(range(10**6))
    stopping = CheckpointOptions(tmp_path / "c", stop=lambda: next(calls) > 130)
    with pytest.raises(TrainingInterrupted):
        LearnedGraphIndex(DEEP, training=QUICK).fit(X, Y, checkpoint=stopping)
    resumed = LearnedGraphIndex(DEEP, training=QUICK)
    resumed.fit(X, Y, checkpoint=CheckpointOptions(tmp_path / "c", resume=True))
    one, two = deep.state_dict(), resumed.state_dict()
    assert not [name for name in one if not torch.equal(one[name], two[name])]


def test_a_flat_index_becomes_deep_without_moving_its_other_parts(queries):
    X, Y = queries
    train, labels = points(2000, seed=0)
    config = IndexConfig(**{**DEEP.to_dict(), "hierarchy": "auto", "n_regions": None})
    index = LearnedGraphIndex(config, training=QUICK).fit(train, labels)
    assert index.hierarchy is None
    before = {name: t.clone() for name, t in index.state_dict().items()}
    flat = recall(index.search(X, k=10), Y)

    def beam_recall(epochs):
        index.build_hierarchy(train, epochs=epochs, batch_size=64)
        x_BD = torch.from_numpy(index.project(X))
        wanted, got = index.router.beam(x_BD, 4)[1], index.beam(x_BD, 4)[1]
        return float((wanted[:, :, None] == got[:, None, :]).any(dim=2).double().mean())

    start, trained = beam_recall(0), beam_recall(4)
    assert trained > start
    assert recall(index.search(X, k=10), Y) > flat - 0.06  # two of 100 by chance: 300 labels
    assert index.config.hierarchy == "deep"
    after = index.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    again = LearnedGraphIndex(config, training=QUICK).fit(train, labels)
    again.build_hierarchy(train, epochs=4, batch_size=64)
    np.testing.assert_array_equal(
        again.hierarchy.router.vectors(), index.hierarchy.router.vectors()
    )


def test_regions_need_vectors_of_the_index(deep):
    for wrong in (np.zeros((0, D), np.float32), np.zeros((3, D + 1), np.float32)):
        with pytest.raises(InputError):
            deep.build_hierarchy(wrong)
    with pytest.raises(InputError):
        deep.build_hierarchy(np.full((3, D), np.nan, np.float32))
    with pytest.raises(InputError):
        deep.build_hierarchy(np.zeros((3, D), np.float32), epochs=-1)
    assert deep.hierarchy.W0 == 3


# -- parts that know an index -----------------------------------------------------------------


def test_pruned_copy_and_fixed_tree(deep, queries):
    X, _ = queries
    pruned = deep.prune(top_k=30)
    np.testing.assert_array_equal(pruned.search(X, k=5).ids, deep.search(X, k=5).ids)
    assert pruned.hierarchy is not deep.hierarchy
    tree = deep.fixed_tree()
    assert tree.hierarchy is None
    assert (tree.search(X, k=5).ids[:, 0] >= 0).all()


def test_engines_read_the_arrays(deep):
    hierarchy = deep.hierarchy
    vectors, (edges, weights) = hierarchy.router.vectors(), hierarchy.graph.arrays()
    assert vectors.shape == (S, D) and vectors.dtype == np.float32
    assert edges.dtype == np.int32 and edges.shape == weights.shape
    assert weights.dtype == np.float32 and weights.flags.c_contiguous
    assert (weights[edges < 0] == 0).all()
    assert 0 <= weights.min() <= weights.max() <= 1
    assert (hierarchy.W0, hierarchy.K0) == (3, 14)


def test_coverage_is_the_part_of_the_softmax_that_candidates_hold(deep, queries):
    hierarchy, (train, _) = deep.hierarchy, points(2000, seed=0)
    x_BD = torch.from_numpy(deep.project(train))
    softmax = torch.softmax(deep.router.logits(x_BD), dim=1)
    ids = hierarchy.candidates(x_BD, 3, 14)
    held = [float(softmax[b, row[row >= 0]].sum()) for b, row in enumerate(ids)]
    assert float(hierarchy.coverage) == pytest.approx(np.mean(held), rel=1e-4)
    assert 0.3 < float(hierarchy.coverage) < 1
    assert hierarchy.coverage_at(14) == pytest.approx(float(hierarchy.coverage))
    shares = [hierarchy.coverage_at(k) for k in range(1, C + 1)]
    assert shares == sorted(shares) and shares[-1] == 1
    # Scores of the beam are on the scale of a softmax over all clusters, on average.
    scores, clusters = deep.beam(x_BD, 4)
    everything = (deep.config.router_scale * softmax.gather(1, clusters)).clamp(max=1)
    assert float(scores.sum() / everything.sum()) == pytest.approx(1, abs=0.05)
    candidates_only = TrainingConfig(**{**QUICK.to_dict(), "cluster_softmax": "candidates"})
    index = LearnedGraphIndex(DEEP, training=candidates_only).fit(*points(200, seed=0))
    assert float(index.hierarchy.coverage) == 1


def test_widths_grow_with_the_beam_and_stay_in_range(deep):
    widths = [deep.hierarchy.widths(w) for w in range(1, C + 3)]
    assert deep.hierarchy.widths(4) == (3, 14)
    assert widths[C - 1 :] == [(S, C)] * 3
    for w, (regions, candidates) in enumerate(widths[:C], start=1):
        assert 1 <= regions <= S and w <= candidates <= C
    assert [r for r, _ in widths] == sorted(r for r, _ in widths)
    assert [k for _, k in widths] == sorted(k for _, k in widths)


# -- saving -----------------------------------------------------------------------------------


def test_a_saved_deep_index_answers_the_same(deep, queries, tmp_path):
    X, _ = queries
    deep.save_pretrained(tmp_path / "m")
    loaded = LearnedGraphIndex.from_pretrained(tmp_path / "m")
    assert loaded.hierarchy.shape == deep.hierarchy.shape
    for width in (2, 4, 11):
        one, two = (i.search(X, k=9, beam_width=width) for i in (deep, loaded))
        np.testing.assert_array_equal(one.ids, two.ids)
        np.testing.assert_array_equal(one.scores, two.scores)
    x, Y = torch.from_numpy(X[:8]), queries[1][:8]
    assert float(deep(x, Y).loss.detach()) == float(loaded(x, Y).loss.detach())


def test_an_index_saved_before_there_were_hierarchies_is_loaded_flat(tmp_path):
    X, Y = points(300, seed=0)
    index = LearnedGraphIndex(FLAT, training=TrainingConfig(stage1_epochs=1, stage2_epochs=1))
    index.fit(X, Y).save_pretrained(tmp_path / "m")
    path = tmp_path / "m" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["config"]["hierarchy"]
    for section, names in (
        ("index", ["hierarchy", "n_regions", "edges_per_region", "region_beam_width"]),
        ("index", ["candidate_clusters", "region_scale"]),
        ("training", ["region_loss_weight", "cluster_softmax"]),
    ):
        for name in names:
            del manifest["config"][section][name]
    path.write_text(json.dumps(manifest))
    loaded = LearnedGraphIndex.from_pretrained(tmp_path / "m")
    assert loaded.hierarchy is None
    np.testing.assert_array_equal(loaded.search(X[:9]).ids, index.search(X[:9]).ids)


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_regions", 0), ("n_regions", S + 1), ("region_beam_width", 9), ("n_candidates", 0),
     ("n_candidates", C + 1), ("beam_width", 0), ("unknown", 1)],
)  # fmt: skip
def test_a_manifest_with_an_impossible_hierarchy_is_refused(deep, tmp_path, name, value):
    deep.save_pretrained(tmp_path / "m")
    path = tmp_path / "m" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["config"]["hierarchy"]["shape"][name] = value
    path.write_text(json.dumps(manifest))
    with pytest.raises(ModelFormatError):
        LearnedGraphIndex.from_pretrained(tmp_path / "m")


@pytest.mark.parametrize("bad", [C, -2])
def test_region_edges_out_of_range_are_refused(deep, tmp_path, bad):
    deep.save_pretrained(tmp_path / "whole")
    index = LearnedGraphIndex.from_pretrained(tmp_path / "whole")
    shutil.rmtree(tmp_path / "whole")
    index.hierarchy.graph.edge_labels_CM[1, 0] = bad
    index.save_pretrained(tmp_path / "m")
    with pytest.raises(ModelFormatError):
        LearnedGraphIndex.from_pretrained(tmp_path / "m")


# -- configuration ----------------------------------------------------------------------------


def test_auto_is_flat_for_few_clusters_and_deep_for_many():
    assert hierarchy_shape(IndexConfig(), DEEP_FROM_CLUSTERS - 1) is None
    shape = hierarchy_shape(IndexConfig(), DEEP_FROM_CLUSTERS)
    assert shape.n_regions == 128
    assert hierarchy_shape(IndexConfig(hierarchy="flat"), 10**6) is None
    assert hierarchy_shape(IndexConfig(n_regions=5), 100).n_regions == 5
    assert hierarchy_shape(IndexConfig(), 10_000).n_candidates == 600
    assert hierarchy_shape(IndexConfig(hierarchy="deep"), 1000).n_candidates == 320
    tiny = hierarchy_shape(IndexConfig(hierarchy="deep"), 1)
    assert tiny[:3] == (1, 1, 1)


def test_only_a_flat_index_has_a_bound_of_16384_clusters():
    assert default_n_clusters(10**6) == 16384
    assert default_n_clusters(10**6, "auto") == 25_000


@pytest.mark.parametrize(
    "values",
    [{"hierarchy": "steep"}, {"n_regions": 0}, {"edges_per_region": 0}, {"region_beam_width": 0},
     {"candidate_clusters": 0}, {"hierarchy": "flat", "n_regions": 4}],
)  # fmt: skip
def test_impossible_configurations_are_refused(values):
    with pytest.raises(InputError):
        IndexConfig(**values)


def test_more_regions_than_clusters_are_refused_before_the_training():
    config = IndexConfig(n_clusters=4, n_regions=5)
    with pytest.raises(InputError, match="n_regions is 5"):
        LearnedGraphIndex(config, training=QUICK).fit(*points(100, seed=0))


@pytest.mark.parametrize("values", [{"region_loss_weight": -1}, {"cluster_softmax": "some"}])
def test_impossible_training_configurations_are_refused(values):
    with pytest.raises(InputError):
        TrainingConfig(**values)
