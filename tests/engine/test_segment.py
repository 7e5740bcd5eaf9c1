"""Labels that join an engine: one engine of two parts answers as one that holds all in one part."""

from __future__ import annotations

import copy
import json
import pickle
import threading

import numpy as np
import pytest
import scipy.sparse as sp

from learned_index import IndexConfig, LearnedGraphIndex, TrainingConfig
from learned_index.engine.arrays import OF_LABELS
from learned_index.engine.config import EngineConfig
from learned_index.engine.search_engine import SearchEngine
from learned_index.errors import InputError, ModelFormatError

L, M, DIM = 200, 25, 32


def points(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors around the centres of L + M labels, and the label of each."""
    centres = np.random.default_rng(0).normal(size=(L + M, DIM))
    rng = np.random.default_rng(seed)
    owner = rng.integers(0, L + M, n)
    vectors = centres[owner] + 0.7 * rng.normal(size=(n, DIM))
    return (3.0 * vectors).astype(np.float32), owner


@pytest.fixture(scope="module")
def known() -> tuple[np.ndarray, sp.csr_matrix]:
    x, owner = points(3000, seed=1)
    x, owner = x[owner < L], owner[owner < L]
    truth = sp.csr_matrix((np.ones(len(x)), owner, np.arange(len(x) + 1)), (len(x), L))
    return x, truth.astype(np.float32)


@pytest.fixture(scope="module")
def examples() -> list[np.ndarray]:
    x, owner = points(3000, seed=2)
    return [x[owner == L + number][: 1 + number % 5] for number in range(M)]


@pytest.fixture(scope="module", params=["flat", "deep"])
def index(request, known) -> LearnedGraphIndex:
    shape = IndexConfig(
        n_clusters=20, edges_per_cluster=50, beam_width=4, hierarchy=request.param,
        n_regions=None if request.param == "flat" else 6,
    )  # fmt: skip
    return LearnedGraphIndex(shape, training=TrainingConfig(stage1_epochs=3, stage2_epochs=3)).fit(
        *known
    )


@pytest.fixture(scope="module", params=["int8", "float16", "float32"])
def engine(request, index) -> SearchEngine:
    config = EngineConfig(
        precision=request.param, beam_width=4, shortlist_size=60, walk_factor=1000
    )
    return index.to_engine(config)


@pytest.fixture(scope="module")
def grown(engine, examples, known) -> SearchEngine:
    return engine.add_labels(examples, known=known)


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    return points(150, seed=3)[0]


def same(first, second) -> None:
    np.testing.assert_array_equal(first.ids, second.ids)
    np.testing.assert_array_equal(first.scores, second.scores)


def test_new_labels_are_found_and_known_ones_keep_their_scores(engine, grown, known):
    assert (grown.n_labels, grown.n_new_labels, engine.n_labels) == (L + M, M, L)
    x, owner = points(600, seed=4)
    new = owner >= L
    found = grown.search(x[new], 1).ids[:, 0]
    assert (found == owner[new]).mean() > 0.8
    exhaustive = {"beam_width": 20, "shortlist_size": L + M}
    before, after = (part.search(x[:50], part.n_labels, **exhaustive) for part in (engine, grown))
    for row in range(50):
        old = after.ids[row] < L
        np.testing.assert_array_equal(after.ids[row][old], before.ids[row])
        np.testing.assert_array_equal(after.scores[row][old], before.scores[row])


def test_classifiers_are_those_that_the_index_would_get(index, examples, known):
    """The engine works in the space of the queries: the map is another, the labels are alike."""
    x, owner = points(600, seed=4)
    new = owner >= L
    direct = index.add_labels(examples, known=known).to_engine()
    side = index.to_engine().add_labels(examples, known=known)
    hits = [(part.search(x[new], 1).ids[:, 0] == owner[new]).mean() for part in (direct, side)]
    assert min(hits) > 0.8 and abs(hits[0] - hits[1]) < 0.08
    a, b = (part.score(x[:100], np.arange(L, L + M)) for part in (direct, side))
    assert np.corrcoef(a[np.isfinite(a)], b[np.isfinite(a)])[0, 1] > 0.9


@pytest.mark.parametrize("k", [1, 7, L + M])
def test_the_compacted_engine_answers_alike(grown, queries, k):
    whole = grown.compact()
    assert whole.n_labels == grown.n_labels and whole.n_new_labels == 0
    assert whole.arrays.segment is None and whole.compact() is whole
    for knobs in ({}, {"beam_width": 1}, {"beam_width": 20, "shortlist_size": L + M}):
        same(grown.search(queries, k, **knobs), whole.search(queries, k, **knobs))
        same(grown.search(queries[:1], k, **knobs), whole.search(queries[:1], k, **knobs))


def test_a_short_walk_may_differ_in_few_answers(index, examples, known, queries):
    config = EngineConfig(beam_width=4, shortlist_size=40, walk_factor=8)
    grown = index.to_engine(config).add_labels(examples, known=known)
    two, one = grown.search(queries, 5), grown.compact().search(queries, 5)
    assert (two.ids == one.ids).mean() > 0.95
    shared = two.ids == one.ids
    close = np.isclose(two.scores[shared], one.scores[shared], atol=1e-6)
    assert close.mean() > 0.99


def test_batches_and_threads_change_nothing(grown, queries):
    whole = grown.search(queries, 7)
    single = [grown.search(row[None], 7) for row in queries]
    np.testing.assert_array_equal(whole.ids, np.concatenate([r.ids for r in single]))
    np.testing.assert_array_equal(whole.scores, np.concatenate([r.scores for r in single]))
    wrong: list[int] = []

    def work(number: int) -> None:
        for i in range(40):
            row = (11 * number + i) % len(queries)
            grown.search(queries[row : row + 1], 1 + i % 9, beam_width=1 + i % 6)
            if not np.array_equal(grown.search(queries[row : row + 1], 7).ids[0], whole.ids[row]):
                wrong.append(row)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("seed", range(3))
def test_filters_see_both_parts(grown, queries, seed):
    whole, rng = grown.compact(), np.random.default_rng(seed)
    some = rng.permutation(L + M)[:40]
    few = np.array([L, L + M - 1, 3, int(grown.search(queries[:1], 1).ids[0, 0])])
    for filters in (
        {"allow": some},
        {"deny": some},
        {"deny": few},
        {"allow": some, "deny": some[:5]},
        {"allow": np.arange(L, L + M)},
        {"allow": np.arange(L)},
        {"allow": [some[i : i + 9].tolist() for i in range(len(queries))]},
        {"deny": [[L + i % M, i % L] for i in range(len(queries))]},
    ):
        two = grown.search(queries, 6, **filters)
        same(two, whole.search(queries, 6, **filters))
    assert not np.isin(grown.search(queries, 6, deny=few).ids, few).any()
    same(grown.search(queries, 6), whole.search(queries, 6))  # no trace of the deny-list
    with pytest.raises(InputError, match=f"expected 0 to {L + M - 1}"):
        grown.search(queries, 6, deny=[L + M])


def test_restricted_removed_and_scored_labels(grown, queries):
    whole = grown.compact()
    gone = np.arange(L - 5, L + M, 2)
    for change in (
        lambda e: e.remove_labels(gone),
        lambda e: e.restrict(deny=gone),
        lambda e: e.restrict(allow=gone),
        lambda e: e.remove_labels(np.arange(L, L + M)),
        lambda e: e.remove_labels(np.arange(L)),
        lambda e: e.with_knobs(beam_width=2, shortlist_size=30),
    ):
        part = change(grown)
        assert part.n_labels == L + M
        same(part.search(queries, 6), change(whole).search(queries, 6))
        same(part.search(queries, 6), part.compact().search(queries, 6))
    assert not np.isin(grown.remove_labels(gone).search(queries, 20).ids, gone).any()
    labels = np.array([0, L, L + 3, L - 1, L + M - 1])
    np.testing.assert_array_equal(grown.score(queries, labels), whole.score(queries, labels))


def test_a_label_joins_a_segment_that_is_there(engine, examples, known, queries):
    x, truth = known
    at_once = engine.add_labels(examples, known=known)
    wider = sp.csr_matrix((truth.data, truth.indices, truth.indptr), (len(x), L + 10))
    twice = engine.add_labels(examples[:10], known=known).add_labels(
        examples[10:], known=(x, wider)
    )
    assert twice.n_new_labels == M
    for name in OF_LABELS:
        first, second = (getattr(e.arrays.segment, name) for e in (at_once, twice))
        assert first.shape == second.shape, name
    # Products of matrices round by the number of labels that join at once.
    for found, expected in zip(twice.search(queries, 9), at_once.search(queries, 9), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    known_by_new = sp.csr_matrix(
        (np.ones(len(examples[0])), np.full(len(examples[0]), L), np.arange(len(examples[0]) + 1)),
        (len(examples[0]), L + M),
    )  # the classifiers of a segment can be known ones too
    more = twice.add_labels([examples[0]], known=(examples[0], known_by_new))
    assert more.n_labels == L + M + 1
    after = twice.compact().add_labels([examples[0]], known=(examples[0], known_by_new))
    same(more.search(queries, 9), after.search(queries, 9))


def test_the_engine_it_comes_from_is_as_it_was(engine, examples, known, queries):
    before = engine.search(queries, 5)
    arrays = engine.arrays
    grown = engine.add_labels(examples, known=known)
    assert engine.arrays is arrays and engine.n_labels == L
    same(engine.search(queries, 5), before)
    for name in EngineArraysNames:
        assert getattr(grown.arrays, name) is getattr(arrays, name)
        if name not in OF_LABELS:
            assert getattr(grown.arrays.segment, name) is getattr(arrays, name)
    same(grown.remove_labels(np.arange(L, L + M)).search(queries, 5), before)


EngineArraysNames = [
    "label_ids_L", "sketches_LB", "label_vectors_LP", "cluster_vectors_CP", "sketch_map_SP",
    "edge_labels_E", "region_vectors_RP",
]  # fmt: skip


def test_saved_copied_and_sent(grown, engine, queries, tmp_path):
    grown.save_pretrained(tmp_path / "grown")
    assert json.loads((tmp_path / "grown/manifest.json").read_text())["format_version"] == 2
    files = {path.stem for path in (tmp_path / "grown/segment").iterdir()}
    assert files == set(OF_LABELS)
    loaded = SearchEngine.from_pretrained(tmp_path / "grown", verify=True)
    assert loaded.nbytes == grown.nbytes > engine.nbytes
    assert isinstance(loaded.arrays.segment.label_vectors_LP, np.memmap)
    assert repr(loaded) == repr(grown) and f"({M} of them in a segment)" in repr(grown)
    expected = grown.search(queries, 9)
    sent = pickle.dumps(loaded)
    assert len(sent) < 3000
    for twin in (
        loaded, pickle.loads(sent), pickle.loads(pickle.dumps(grown)), copy.copy(grown),
        copy.deepcopy(loaded), loaded.compact(),
    ):  # fmt: skip
        same(twin.search(queries, 9), expected)
    mixed = pickle.loads(pickle.dumps(loaded.remove_labels([L, 0])))  # edges by value, the rest not
    same(mixed.search(queries, 9), grown.remove_labels([L, 0]).search(queries, 9))
    loaded.compact().save_pretrained(tmp_path / "compact")
    assert json.loads((tmp_path / "compact/manifest.json").read_text())["format_version"] == 1
    assert not (tmp_path / "compact/segment").exists()
    same(SearchEngine.from_pretrained(tmp_path / "compact").search(queries, 9), expected)
    engine.save_pretrained(tmp_path / "plain")
    assert json.loads((tmp_path / "plain/manifest.json").read_text())["format_version"] == 1


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("label_ids_L", 0, L + M),
        ("label_ids_L", 0, L - 1),
        ("label_ids_L", 0, L + 1),
        ("edge_labels_E", 0, M),
        ("edge_offsets_C1", 2, 2**40),
        ("edge_weights_E", 0, 0),
        ("edge_weights_E", 0, 0x7E00),
    ],
)
def test_a_damaged_segment_is_refused(grown, tmp_path, name, place, value):
    grown.save_pretrained(tmp_path / "grown")
    file = tmp_path / f"grown/segment/{name}.npy"
    array = np.load(file)
    array[place] = value
    np.save(file, array)
    with pytest.raises(ModelFormatError, match="segment of new labels"):
        SearchEngine.from_pretrained(tmp_path / "grown")


def test_a_segment_that_is_missing_is_refused(grown, tmp_path):
    grown.save_pretrained(tmp_path / "grown")
    (tmp_path / "grown/segment/sketches_LB.npy").unlink()
    with pytest.raises(ModelFormatError, match="sketches_LB"):
        SearchEngine.from_pretrained(tmp_path / "grown")


def test_what_cannot_join_is_refused(engine, index, examples, known):
    x, truth = known
    for part in (engine, index):
        for wrong, said in (
            ([], "expected those of one new label"),
            (5, "expected for each new label"),
            ([x[:0]], r"examples\[0\] has no vector"),
            ([x[:2], x[:2, :3]], r"examples\[1\] have dimension 3"),
            ([x[:1] * np.nan], "NaN"),
        ):
            with pytest.raises(InputError, match=said):
                part.add_labels(wrong, known=known)
        for wrong, said in (
            (x, "expected a pair"),
            ((x[:5], truth), "known labels have"),
            ((x, truth[:, :5]), "known labels have 5 columns"),
            ((x, sp.csr_matrix(truth.shape)), "no point has a label"),
        ):
            with pytest.raises(InputError, match=said):
                part.add_labels(examples, known=wrong)
        for wrong in (np.ones(L - 1, int), np.ones(L), np.full(L, -1)):
            with pytest.raises(InputError, match="whole numbers of 0 or more"):
                part.add_labels(examples, known=known, counts=wrong)
    one = engine.add_labels([x[0]], known=known)  # a vector alone is one example
    assert one.n_new_labels == 1
    assert engine.add_labels([x[:1]], known=(x, truth.tolil().rows.tolist())).n_labels == L + 1


def test_work_counts_both_parts(grown, queries):
    work = grown.work(queries, 5, beam_width=20, shortlist_size=70)
    assert work.edges == grown.arrays.n_edges
    assert work.edges > len(grown.arrays.edge_labels_E)
    reached = len(np.unique(grown.arrays.edge_labels_E))
    assert work.candidates == reached + M
