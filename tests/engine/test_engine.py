"""The search engine against a plain exhaustive search of the same index."""

from __future__ import annotations

import copy
import json
import threading

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from learned_index import IndexConfig, LearnedGraphIndex, TrainingConfig
from learned_index.engine.config import EngineConfig
from learned_index.engine.search_engine import SearchEngine
from learned_index.engine.tuning import tune
from learned_index.errors import InputError, ModelFormatError
from learned_index.inputs.labels import label_mask

N_LABELS, DIM = 300, 40


def make_data(n_points: int, seed: int) -> tuple[np.ndarray, sp.csr_matrix]:
    centres = np.random.default_rng(0).normal(size=(N_LABELS, DIM))
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, N_LABELS, n_points)
    vectors = centres[labels] + 0.8 * rng.normal(size=(n_points, DIM))
    truth = sp.csr_matrix(
        (np.ones(n_points, np.float32), (np.arange(n_points), labels)), (n_points, N_LABELS)
    )
    return vectors.astype(np.float32) / np.sqrt(DIM, dtype=np.float32), truth


@pytest.fixture(scope="module", params=["flat", "deep"])
def index(request) -> LearnedGraphIndex:
    vectors, labels = make_data(3000, seed=1)
    config = IndexConfig(
        n_clusters=24, edges_per_cluster=60, beam_width=6, hierarchy=request.param,
        n_regions=None if request.param == "flat" else 8,
    )  # fmt: skip
    training = TrainingConfig(stage1_epochs=3, stage2_epochs=3)
    return LearnedGraphIndex(config, training=training).fit(vectors, labels)


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    return make_data(120, seed=2)[0]


def exhaustive_scores(index: LearnedGraphIndex, queries: np.ndarray) -> np.ndarray:
    """``path^a sigmoid(z)`` of all labels over all clusters, in float64."""
    with torch.no_grad():
        x = index.project(queries).astype(np.float64)
        logits = x @ index.router.weight_CD.numpy().T.astype(np.float64)
        softmax = np.exp(logits - logits.max(axis=1, keepdims=True))
        softmax /= softmax.sum(axis=1, keepdims=True)
        clusters = np.minimum(1.0, index.config.router_scale * softmax)
        weights = np.zeros((index.n_clusters, index.n_labels))
        targets = index.graph.edge_labels_CM.numpy()
        rows, columns = np.nonzero(targets >= 0)
        weights[rows, targets[rows, columns]] = index.graph.weights().numpy()[rows, columns]
    paths = np.stack([(row[:, None] * weights).max(axis=0) for row in clusters])
    vectors, bias = index.label_classifiers()
    return paths**index.config.path_exponent / (1 + np.exp(-(x @ vectors.T + bias)))


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_exhaustive_engine_gives_the_scores_of_the_formula(index, queries, precision):
    engine = index.to_engine(EngineConfig(precision=precision))
    expected = exhaustive_scores(index, queries)
    ids, scores = engine.search(queries, 20, beam_width=index.n_clusters, shortlist_size=N_LABELS)
    np.testing.assert_allclose(scores, np.take_along_axis(expected, ids, axis=1), atol=0.02)
    best = -np.sort(-expected, axis=1)[:, :20]
    np.testing.assert_allclose(scores, best, atol=0.02)
    assert np.mean(ids[:, 0] == expected.argmax(axis=1)) > 0.95
    assert (np.diff(scores, axis=1) <= 0).all()


def test_engine_finds_what_the_index_finds(index, queries):
    engine = index.to_engine(EngineConfig(precision="float32", walk_factor=100))
    of_index = index.search(queries, 10, beam_width=6, shortlist_size=N_LABELS)
    of_engine = engine.search(queries, 10, beam_width=6, shortlist_size=N_LABELS)
    common = [len(np.intersect1d(a, b)) for a, b in zip(of_index.ids, of_engine.ids, strict=True)]
    assert np.mean(common) > 9.5
    # The shortlist is chosen by sketches here; they hold all 40 dimensions, so little is lost.
    short = engine.search(queries, 10, beam_width=6, shortlist_size=30)
    common = [len(np.intersect1d(a, b)) for a, b in zip(short.ids, of_engine.ids, strict=True)]
    assert np.mean(common) > 9.5


def test_scores_of_a_narrow_beam_are_those_of_the_index(index, queries):
    index = copy.deepcopy(index)
    if index.hierarchy is not None:
        index.hierarchy.coverage.fill_(0.6)  # scales the scores of clusters among candidates
    engine = index.to_engine(EngineConfig(precision="float32"))
    expected = index.search(queries, 10, beam_width=3, shortlist_size=N_LABELS)
    found = engine.search(queries, 10, beam_width=3, shortlist_size=N_LABELS)
    same = expected.ids == found.ids
    assert same.mean() > 0.9
    # Codes of 8 bits may put another cluster at the edge of the beam: hence not all.
    close = np.isclose(found.scores[same], expected.scores[same], rtol=0.02, atol=0.005)
    assert close.mean() > 0.98


def test_recall_of_true_labels_is_the_index_s(index):
    vectors, truth = make_data(400, seed=3)
    wanted = truth.indices
    engine = index.to_engine()
    of_index = np.mean([w in r for w, r in zip(wanted, index.search(vectors, 5).ids, strict=True)])
    of_engine = np.mean(
        [w in r for w, r in zip(wanted, engine.search(vectors, 5).ids, strict=True)]
    )
    assert of_index > 0.9
    assert of_engine > of_index - 0.02


def test_answers_depend_on_neither_batch_nor_threads(index, queries):
    engine = index.to_engine()
    whole = engine.search(queries, 7)
    one_by_one = [engine.search(row[None], 7) for row in queries]
    np.testing.assert_array_equal(whole.ids, np.concatenate([r.ids for r in one_by_one]))
    np.testing.assert_array_equal(whole.scores, np.concatenate([r.scores for r in one_by_one]))
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            again = engine.search(queries, 7)
            np.testing.assert_array_equal(again.ids, whole.ids)
            np.testing.assert_array_equal(again.scores, whole.scores)
    finally:
        torch.set_num_threads(before)


def test_any_knobs_in_any_order_leave_no_trace(index, queries):
    engine = index.to_engine()
    first = engine.search(queries, 5)
    for k, width, size in ((1, 1, 1), (200, 24, 300), (3, 9, 4), (300, 2, 7)):
        engine.search(queries, k, beam_width=width, shortlist_size=size)
    again = engine.search(queries, 5)
    np.testing.assert_array_equal(again.ids, first.ids)
    np.testing.assert_array_equal(again.scores, first.scores)


def test_many_threads_search_one_engine(index, queries):
    engine = index.to_engine()
    expected = engine.search(queries, 5).ids
    wrong: list[int] = []

    def work(number: int) -> None:
        for i in range(60):
            row = (7 * number + i) % len(queries)
            width = 1 + (number + i) % 9  # sizes differ between the threads
            engine.search(queries[row : row + 1], 3 + i % 5, beam_width=width)
            if not np.array_equal(engine.search(queries[row : row + 1], 5).ids[0], expected[row]):
                wrong.append(row)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_k_results_are_found_where_there_are_so_many(index, queries):
    engine = index.to_engine()
    ids, scores = engine.search(queries[:5], N_LABELS + 10, beam_width=1)
    reachable = len(np.unique(engine.arrays.edge_labels_E))
    assert ((ids >= 0).sum(axis=1) == reachable).all()
    assert (ids[:, reachable:] == -1).all() and np.isneginf(scores[:, reachable:]).all()
    assert all(len(np.unique(row[row >= 0])) == reachable for row in ids)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
def test_filtered_search_is_complete(index, queries, share):
    engine = index.to_engine(EngineConfig(precision="float32", shortlist_size=60))
    rng = np.random.default_rng(5)
    allowed = rng.permutation(N_LABELS)[: int(share * N_LABELS)]
    expected = exhaustive_scores(index, queries)
    mask = np.zeros(N_LABELS, bool)
    mask[allowed] = True
    expected[:, ~mask] = -1
    best = np.argsort(-expected, axis=1)[:, :3]
    ids = engine.search(queries, 3, allow=allowed).ids
    assert mask[ids].all()
    found = np.mean([len(np.intersect1d(a, b)) for a, b in zip(ids, best, strict=True)]) / 3
    unfiltered = engine.search(queries, 3).ids
    everything = np.argsort(-exhaustive_scores(index, queries), axis=1)[:, :3]
    usual = np.mean(
        [len(np.intersect1d(a, b)) for a, b in zip(unfiltered, everything, strict=True)]
    )
    assert found >= min(usual / 3, 0.99) - 0.02
    denied = engine.search(queries, 3, deny=np.flatnonzero(~mask))
    np.testing.assert_array_equal(denied.ids, ids)
    both = engine.search(queries, 3, allow=mask, deny=allowed[:1])
    assert not (both.ids == allowed[0]).any()


@pytest.mark.parametrize("n_denied", [1, 5, N_LABELS // 8])
def test_a_short_deny_list_answers_as_the_restricted_engine(index, queries, n_denied):
    engine = index.to_engine(EngineConfig(shortlist_size=60))
    before = engine.search(queries, 7)
    deny = np.unique(before.ids[:, 0])[:n_denied]  # the best answers of some queries
    deny = np.concatenate([deny, deny])  # an id may come twice
    exhaustive = {"beam_width": engine.n_clusters, "shortlist_size": N_LABELS}
    part = engine.restrict(deny=deny)
    for knobs in ({}, exhaustive):
        found = engine.search(queries, 7, deny=deny, **knobs)
        assert not np.isin(found.ids, deny).any()
        expected = part.search(queries, 7, **knobs)
        np.testing.assert_array_equal(found.ids, expected.ids)
        np.testing.assert_array_equal(found.scores, expected.scores)
    mask = np.zeros(N_LABELS, bool)
    mask[deny] = True
    alone = engine.search(queries[3:4], 7, deny=mask)  # a mask, one query
    np.testing.assert_array_equal(alone.ids[0], engine.search(queries, 7, deny=deny).ids[3])
    spoiled = queries[:6].copy()
    spoiled[4, 0] = np.nan
    with pytest.raises(InputError, match="queries hold NaN or infinity, first in row 4"):
        engine.search(spoiled, 7, deny=deny)
    after = engine.search(queries, 7)
    np.testing.assert_array_equal(after.ids, before.ids)  # nothing is left of the list
    np.testing.assert_array_equal(engine.search(queries, 7, deny=[]).ids, before.ids)
    with pytest.raises(InputError, match="deny holds ids from -1 to -1, expected 0"):
        engine.search(queries, 7, deny=[-1])
    with pytest.raises(InputError, match="expected a list of label ids"):
        engine.search(queries, 7, deny=[0.5])


def test_restricted_engine_of_nothing_answers_with_padding(index, queries):
    empty = index.to_engine().restrict(allow=[])
    ids, scores = empty.search(queries[:4], 3)
    assert (ids == -1).all() and np.isneginf(scores).all()
    with pytest.raises(InputError, match="300"):
        index.to_engine().restrict(allow=[N_LABELS])
    with pytest.raises(InputError, match="mask of shape"):
        label_mask(np.ones(4, bool), 5, name="deny")
    with pytest.raises(InputError, match="list of label ids"):
        label_mask(np.ones(4), 5, name="deny")


@pytest.mark.parametrize("precision", ["int8", "float16", "float32"])
def test_save_and_load(index, queries, tmp_path, precision):
    engine = index.to_engine(EngineConfig(precision=precision, beam_width=5, shortlist_size=40))
    engine.save_pretrained(tmp_path / "engine")
    loaded = SearchEngine.from_pretrained(tmp_path / "engine", verify=True)
    assert loaded.config == engine.config and loaded.nbytes == engine.nbytes
    assert isinstance(loaded.arrays.label_vectors_LP, np.memmap)
    for part in (engine, loaded):
        np.testing.assert_array_equal(part.search(queries, 9).ids, engine.search(queries, 9).ids)
    np.testing.assert_array_equal(
        loaded.search(queries, 9).scores, engine.search(queries, 9).scores
    )
    restricted = engine.restrict(allow=range(50))
    restricted.save_pretrained(tmp_path / "part")
    again = SearchEngine.from_pretrained(tmp_path / "part")
    assert again.is_partial
    np.testing.assert_array_equal(again.search(queries, 9).ids, restricted.search(queries, 9).ids)
    with pytest.raises(InputError):
        engine.save_pretrained(tmp_path / "engine")


def test_damaged_engines_are_refused(index, tmp_path):
    engine = index.to_engine()
    for number, damage in enumerate(
        (
            lambda d: (d / "edge_labels_E.npy").unlink(),
            lambda d: (d / "sketches_LB.npy").write_bytes(
                (d / "sketches_LB.npy").read_bytes()[:-10]
            ),
            lambda d: (d / "manifest.json").write_text("{}"),
        )
    ):
        directory = tmp_path / str(number)
        engine.save_pretrained(directory)
        damage(directory)
        with pytest.raises(ModelFormatError):
            SearchEngine.from_pretrained(directory)
    # An edge to a label that does not exist would be read out of bounds: refused without
    # checksums too.
    directory = tmp_path / "edges"
    engine.save_pretrained(directory)
    edges = np.array(engine.arrays.edge_labels_E)
    edges[3] = N_LABELS
    np.save(directory / "edge_labels_E.npy", edges)
    with pytest.raises(ModelFormatError, match="edge_labels_E runs"):
        SearchEngine.from_pretrained(directory)
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest["config"]["engine"]["precision"] = "int4"
    (directory / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelFormatError, match="precision"):
        SearchEngine.from_pretrained(directory)


def test_input_is_checked(index, queries):
    engine = index.to_engine()
    np.testing.assert_array_equal(
        engine.search(queries[0], 3).ids, engine.search(queries[:1], 3).ids
    )
    for same in (np.asfortranarray(queries), queries.astype(np.float64), torch.tensor(queries)):
        np.testing.assert_array_equal(engine.search(same, 3).ids, engine.search(queries, 3).ids)
    bad = queries.copy()
    bad[2, 1] = np.nan
    with pytest.raises(InputError, match="first in row 2"):
        engine.search(bad, 3)
    bad[0, 0] = np.inf
    with pytest.raises(InputError, match="first in row 0"):
        engine.search(bad[:1], 3)
    with pytest.raises(InputError, match="dimension"):
        engine.search(queries[:, :-1], 3)
    for knobs in ({"k": 0}, {"beam_width": 0}, {"shortlist_size": -1}):
        with pytest.raises(InputError, match="at least 1"):
            engine.search(queries, **knobs)
    assert engine.search(np.zeros((2, DIM), np.float32), 3).ids.shape == (2, 3)
    assert engine.search(queries[:0], 3).ids.shape == (0, 3)


def test_pruned_edges_leave_every_label_reachable(index):
    all_edges = index.to_engine()
    pruned = index.to_engine(EngineConfig(edge_threshold=0.3))
    assert len(pruned.arrays.edge_labels_E) < len(all_edges.arrays.edge_labels_E)
    assert len(np.unique(pruned.arrays.edge_labels_E)) == len(
        np.unique(all_edges.arrays.edge_labels_E)
    )


def test_tuned_knobs_reach_the_recall(index):
    vectors, truth = make_data(300, seed=4)
    for searcher in (index, index.to_engine()):
        tuning = tune(searcher, vectors, truth, recall=0.97, k=5)
        everything = searcher.search(
            vectors, 5, beam_width=index.n_clusters, shortlist_size=N_LABELS
        ).ids
        found = searcher.search(vectors, 5, **tuning.knobs).ids
        hits = [np.mean((ids == truth.indices[:, None]).any(axis=1)) for ids in (found, everything)]
        assert hits[0] >= 0.97 * hits[1] - 1e-9
        assert tuning.recall == pytest.approx(hits[0] / hits[1])
        assert tuning.exhaustive_recall == pytest.approx(hits[1])
        cheap = [p for p in tuning.points if p["recall"] >= 0.97]
        assert tuning.latency_us == min(p["latency_us"] for p in cheap)
    neighbours = index.tune(vectors, recall=1.0, k=5)
    assert neighbours.recall == pytest.approx(1.0) and neighbours.exhaustive_recall is None
    with pytest.raises(InputError, match="recall"):
        index.tune(vectors, recall=1.5)
    with pytest.raises(InputError, match="truth"):
        index.tune(vectors, truth[:5])
    with pytest.raises(InputError, match="queries"):
        index.tune(vectors[:0])


def test_ranking_by_classifiers_alone(index, queries):
    engine = index.to_engine(EngineConfig(ranking="classifiers", precision="float32"))
    vectors, bias = index.label_classifiers()
    logits = index.project(queries) @ vectors.T + bias
    ids, scores = engine.search(queries, 5, beam_width=index.n_clusters, shortlist_size=N_LABELS)
    best = np.argsort(-logits, axis=1)[:, :5]
    assert np.mean(ids == best) > 0.98
    expected = 1 / (1 + np.exp(-np.take_along_axis(logits, ids, axis=1)))
    np.testing.assert_allclose(scores, expected, rtol=1e-4)


def test_work_counts_what_a_search_touches(index, queries):
    engine = index.to_engine()
    arrays = engine.arrays
    work = engine.work(queries, 5, beam_width=index.n_clusters, shortlist_size=70)
    assert work.clusters == index.n_clusters
    assert work.edges == len(arrays.edge_labels_E)
    assert work.candidates == len(np.unique(arrays.edge_labels_E))
    assert work.rescored == 70
    assert 0.5 * engine.nbytes < work.n_bytes < 1.2 * engine.nbytes
    small = engine.work(queries, 5, beam_width=2, shortlist_size=20)
    sizes = np.diff(arrays.edge_offsets_C1)
    assert 2 * sizes.min() <= small.edges <= 2 * sizes.max()
    assert small.rescored == 20 and small.n_bytes < work.n_bytes


def test_a_walk_budget_keeps_the_strongest_paths(index, queries):
    whole = index.to_engine(EngineConfig(walk_factor=1000))
    short = index.to_engine(EngineConfig(walk_factor=5))
    knobs = {"beam_width": 10, "shortlist_size": 60}
    works = [engine.work(queries, 5, **knobs) for engine in (whole, short)]
    assert works[1].edges < 0.8 * works[0].edges and works[1].edges < 5 * 60 + 160
    found = [engine.search(queries, 5, **knobs).ids for engine in (whole, short)]
    assert np.mean(found[0][:, 0] == found[1][:, 0]) > 0.9
    # An exhaustive search leaves nothing out, whatever the factor.
    every = {"beam_width": index.n_clusters, "shortlist_size": N_LABELS}
    results = [engine.search(queries, 50, **every).ids for engine in (whole, short)]
    np.testing.assert_array_equal(*results)


def test_with_knobs_changes_the_defaults_only(index, queries):
    engine = index.to_engine()
    other = engine.with_knobs(beam_width=2, shortlist_size=31)
    np.testing.assert_array_equal(
        other.search(queries, 5).ids,
        engine.search(queries, 5, beam_width=2, shortlist_size=31).ids,
    )
    assert other.arrays is engine.arrays


def test_config_is_checked(index):
    for wrong in (
        {"precision": "int4"},
        {"ranking": "x"},
        {"beam_width": 0},
        {"edge_threshold": 2.0},
    ):
        with pytest.raises(InputError):
            EngineConfig(**wrong)
    with pytest.raises(InputError, match="sketch_dim"):
        index.to_engine(EngineConfig(sketch_dim=DIM + 1))
