"""Labels of an engine that become one: against a loop over its edges, and the recompiled index."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from index_cases import QUICK, SMALL, L, planted

from learned_index import LearnedGraphIndex
from learned_index.engine.config import EngineConfig
from learned_index.engine.search_engine import SearchEngine
from learned_index.engine.segment import edges_of_both, stored_classifiers
from learned_index.errors import InputError

TARGETS = {3: 7, 11: 7, 40: 2}
COUNTS = np.arange(1, L + 1)
EVERYTHING = {"beam_width": 12, "shortlist_size": L}


@pytest.fixture(scope="module")
def index() -> LearnedGraphIndex:
    return LearnedGraphIndex(SMALL, training=QUICK).fit(*planted())


@pytest.fixture(scope="module", params=["int8", "float16", "float32"])
def engine(request, index) -> SearchEngine:
    return index.to_engine(EngineConfig(precision=request.param))


def edges_of(engine: SearchEngine) -> dict[tuple[int, int], int]:
    clusters, places, bits = edges_of_both(engine.arrays)
    ids = engine.arrays.ids()[places]
    found = dict(zip(zip(clusters.tolist(), ids.tolist(), strict=True), bits.tolist(), strict=True))
    assert len(found) == len(ids)
    return found


def classifiers(engine: SearchEngine) -> np.ndarray:
    ids = np.arange(engine.n_labels)
    return stored_classifiers(engine.arrays, ids, engine.dim, engine.config.precision)


def same(first, second) -> None:
    np.testing.assert_array_equal(first.ids, second.ids)
    np.testing.assert_array_equal(first.scores, second.scores)


def test_edges_are_the_strongest_and_classifiers_the_weighted_means(engine) -> None:
    before, was, x = edges_of(engine), classifiers(engine), planted(60, seed=4)[0]
    answers = engine.search(x, 5)
    merged = engine.merge_labels(TARGETS, weights=COUNTS)
    wanted: dict[tuple[int, int], int] = {}
    for (cluster, label), bits in before.items():
        key = cluster, TARGETS.get(label, label)
        wanted[key] = max(bits, wanted.get(key, 0))
    assert edges_of(merged) == wanted
    assert edges_of(engine) == before
    same(engine.search(x, 5), answers)
    now = classifiers(merged)
    step = 2e-2 if engine.config.precision == "int8" else 2e-3
    for kept in (7, 2):
        own = [kept, *(gone for gone, target in TARGETS.items() if target == kept)]
        mean = np.average(was[own], axis=0, weights=COUNTS[own])
        np.testing.assert_allclose(now[kept], mean, atol=step * np.abs(mean[:-1]).max())
        assert not np.allclose(now[kept], was[kept], atol=2 * step)
    others = np.setdiff1d(np.arange(L), [7, 2])
    np.testing.assert_array_equal(now[others], was[others])


def test_answers_are_those_of_the_recompiled_index(index, engine) -> None:
    x = planted(200, seed=4)[0]
    merged = engine.merge_labels(TARGETS, weights=COUNTS)
    compiled = index.merge_labels(TARGETS, weights=COUNTS).to_engine(engine.config)
    assert edges_of(merged) == edges_of(compiled)
    mine, theirs = (part.search(x, 10, **EVERYTHING) for part in (merged, compiled))
    assert not np.isin(mine.ids, list(TARGETS)).any()
    if engine.config.precision == "int8":  # rounded twice, not once
        np.testing.assert_allclose(mine.scores, theirs.scores, atol=0.03)
        assert (mine.ids == theirs.ids).mean() > 0.97
    else:
        np.testing.assert_allclose(mine.scores, theirs.scores, atol=2e-3)
        assert (mine.ids == theirs.ids).mean() > 0.99


def test_labels_of_a_segment_merge_with_those_of_the_main_part(engine, tmp_path) -> None:
    x, y = planted(600, seed=5)
    grown = engine.add_labels([x[n : n + 2] for n in range(0, 8, 2)], known=(x, y))
    into = {L + 1: 7, 3: L, L + 2: L, 4: 2}
    counts = np.append(COUNTS, [9, 5, 7, 3])
    merged = grown.merge_labels(into, weights=counts)
    assert merged.n_new_labels == 4 and merged.n_labels == L + 4
    whole = grown.compact().merge_labels(into, weights=counts)
    assert edges_of(merged) == edges_of(whole)
    knobs = {**EVERYTHING, "shortlist_size": L + 4}
    same(merged.search(x[:50], 9, **knobs), whole.search(x[:50], 9, **knobs))
    same(merged.compact().search(x[:50], 9, **knobs), whole.search(x[:50], 9, **knobs))
    merged.save_pretrained(tmp_path / "engine")
    for again in (
        SearchEngine.from_pretrained(tmp_path / "engine", verify=True),
        pickle.loads(pickle.dumps(merged)),
    ):
        same(again.search(x[:50], 9), merged.search(x[:50], 9))


def test_a_mapped_engine_merges_and_its_files_stay(engine, tmp_path) -> None:
    engine.save_pretrained(tmp_path / "engine")
    mapped = SearchEngine.from_pretrained(tmp_path / "engine")
    x = planted(50, seed=4)[0]
    same(mapped.merge_labels(TARGETS).search(x, 5), engine.merge_labels(TARGETS).search(x, 5))
    same(SearchEngine.from_pretrained(tmp_path / "engine", verify=True).search(x, 5),
         engine.search(x, 5))  # fmt: skip


def test_what_cannot_merge_is_refused(engine) -> None:
    for targets, said in (({}, "expected {label"), ({0: 0}, "goes itself"), ({0: 999}, "label")):
        with pytest.raises(InputError, match=said):
            engine.merge_labels(targets)
    with pytest.raises(InputError, match="numbers"):
        engine.merge_labels({0: 1}, weights=[1])
