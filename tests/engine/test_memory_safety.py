"""No contents of a saved model lead compiled code out of its arrays, whoever wrote them.

The wide net is ``benchmarks/hostile/models.py``; here stand the faults that were found, each with
the right answer, and a small sample of that net.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from benchmarks.hostile.campaign import run_campaign
from benchmarks.hostile.models import GROUPS, make_models, make_trial
from learned_index import IndexConfig, LearnedGraphIndex, SearchEngine, TrainingConfig
from learned_index.engine.arrays import EngineArrays, aligned_zeros, padded
from learned_index.engine.building import sketch_rows
from learned_index.engine.config import EngineConfig
from learned_index.engine.constants import Constants
from learned_index.errors import InputError, ModelFormatError
from learned_index.kernels.engine.steps import NEVER_FOUND, walk
from learned_index.kernels.search.routing import NOT_FOUND, max_merge
from tests.index_cases import QUICK, SMALL, D, L, planted

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def index():
    X, Y = planted(400)
    return LearnedGraphIndex(SMALL, training=QUICK).fit(X, Y)


@pytest.fixture(scope="module")
def deep_engine():
    X, Y = planted(400)
    shape = IndexConfig(
        n_clusters=12, beam_width=3, edges_per_cluster=40, hierarchy="deep", n_regions=4
    )
    return LearnedGraphIndex(shape, training=QUICK).fit(X, Y).to_engine()


def sound(result, n_labels=L):
    """No label twice in a row, every id in range, no NaN, best first."""
    for ids, scores in zip(*result, strict=True):
        found = ids[ids >= 0]
        assert len(set(found.tolist())) == len(found) and ids.min() >= -1 and ids.max() < n_labels
        assert not np.isnan(scores).any() and (np.diff(scores[: len(found)]) <= 0).all()
    return True


# -- edges whose weight is 0 ---------------------------------------------------------------------


def test_a_large_path_exponent_compiles_to_an_engine_that_finds_each_label_once():
    rng = np.random.default_rng(0)
    rows = [np.unique(rng.zipf(1.3, size=3) % L).tolist() for _ in range(600)]
    centres = rng.normal(size=(L, D))
    vectors = np.stack([centres[row].sum(0) + 0.3 * rng.normal(size=D) for row in rows])
    shape = IndexConfig(
        n_clusters=10, edges_per_cluster=100, edge_scale=1.0, path_exponent=3.0, beam_width=3
    )
    training = TrainingConfig(stage1_epochs=2, stage2_epochs=4)
    engine = LearnedGraphIndex(shape, training=training).fit(vectors, rows).to_engine()
    assert engine.arrays.edge_weights_E.min() >= 1  # some were rounded to 0 before
    assert sound(engine.search(vectors[:50], 10, beam_width=10**6))
    assert engine.tune(vectors[:60], k=10).knobs["beam_width"] >= 1


@pytest.mark.parametrize("bits", [0x0000, 0x8000, 0x7E00, 0xFE00, 0xFC00, 0x3C00])
def test_the_walk_finds_each_target_once_whatever_the_weights_are(bits):
    """0, -0, NaN, -NaN, -infinity, 1: three rows that lead to the same five targets."""
    weights = np.full(15, bits, np.uint16)
    targets = np.tile(np.arange(5, dtype=np.int32), 3)
    offsets = np.array([0, 5, 10, 15], np.int64)
    best, found, paths = np.zeros(5, np.float32), np.full(6, -1, np.int32), np.zeros(6, np.float32)
    best[2] = NEVER_FOUND
    rows = np.zeros((5, 64), np.uint8)
    n = walk(
        np.arange(3, dtype=np.int32), np.ones(3, np.float32), 3, 1.0, 3,
        np.uintp(offsets.ctypes.data), np.uintp(targets.ctypes.data),
        np.uintp(weights.ctypes.data), offsets[1:].copy(), np.uintp(rows.ctypes.data),
        np.uintp(64), best, found, paths,
    )  # fmt: skip
    assert found[:n].tolist() == [0, 1, 3, 4]
    assert best.tolist() == [0, 0, NEVER_FOUND, 0, 0]


@pytest.mark.parametrize("weight", [-0.5, -0.9, 0.0, np.nan, np.inf])
def test_max_merge_touches_each_target_once_whatever_the_weights_are(weight):
    targets = np.tile(np.arange(5, dtype=np.int32), (3, 1))
    weights = np.full((3, 5), weight, np.float32) * np.array([[1.0], [0.5], [0.1]], np.float32)
    best, touched = np.full(5, NOT_FOUND, np.float32), np.full(5, -1, np.int32)
    n = max_merge(np.arange(3), np.ones(3, np.float32), 3, targets, weights, best, touched)
    assert n <= 5 and len(set(touched[:n].tolist())) == n


# -- contents of an engine -----------------------------------------------------------------------


def _at(place, value):
    def change(array):
        array.reshape(-1)[place] = value
        return array

    return change


def _tail(column, bits):
    """Change a number at the end of a sketch: 0 the scales, 1 the bias."""

    def change(sketches):
        sketches[:, -8:].view("<u4")[3, column] = bits
        return sketches

    return change


def _repeated(ids):
    ids[1] = ids[0]
    return ids


NAN_BITS = 0x7FC00000
ENGINE_DAMAGE = {
    "an offset beyond the edges": ("edge_offsets_C1", _at(2, 2**40)),
    "a negative offset": ("edge_offsets_C1", _at(2, -5)),
    "offsets whose difference wraps": ("edge_offsets_C1", _at(2, -(2**63))),
    "an offset of the regions": ("region_edge_offsets_R1", _at(1, 2**62)),
    "a label twice": ("label_ids_L", _repeated),
    "a negative label": ("label_ids_L", _at(0, -1)),
    "a label beyond the last": ("label_ids_L", _at(0, L)),
    "an edge to no label": ("edge_labels_E", _at(0, L)),
    "an edge to no cluster": ("region_edge_clusters_F", _at(0, 12)),
    "an edge of weight 0": ("edge_weights_E", _at(0, 0)),
    "an edge of weight -1": ("edge_weights_E", _at(0, 0xBC00)),
    "an edge of weight NaN": ("edge_weights_E", _at(0, 0x7E00)),
    "an edge of weight 2": ("edge_weights_E", _at(0, 0x4000)),
    "a region's edge of weight 0": ("region_edge_weights_F", _at(0, 0)),
    "an infinite scale of a cluster": ("cluster_scales_C", _at(0, np.inf)),
    "a scale of a region that is NaN": ("region_scales_R", _at(0, np.nan)),
    "a negative scale of an axis": ("sketch_map_scales_S", _at(0, -1.0)),
    "a bias that is NaN": ("sketches_LB", _tail(1, NAN_BITS)),
    "an infinite bias": ("sketches_LB", _tail(1, 0x7F800000)),
    "a scale of a label that is NaN": ("sketches_LB", _tail(0, NAN_BITS)),
    "a scale of a sketch that is NaN": ("sketches_LB", _tail(0, NAN_BITS >> 16)),
    "scales with which scores overflow": ("cluster_scales_C", lambda a: np.full_like(a, 1e38)),
    "other integers": ("edge_labels_E", lambda a: a.astype(np.int64)),
    "one edge less": ("edge_labels_E", lambda a: a[:-1]),
}


@pytest.mark.parametrize("case", ENGINE_DAMAGE)
@pytest.mark.parametrize("verify", [False, True])
def test_an_engine_of_unsound_contents_is_refused(case, verify, deep_engine, tmp_path):
    """Also where its author wrote the right checksums, and where nobody looks at them."""
    name, change = ENGINE_DAMAGE[case]
    deep_engine.save_pretrained(tmp_path / "engine")
    np.save(
        tmp_path / "engine" / f"{name}.npy", change(np.array(getattr(deep_engine.arrays, name)))
    )
    _sign(tmp_path / "engine")
    with pytest.raises(
        ModelFormatError, match=r"engine.*(expected|does not cut|more than once|over)"
    ):
        SearchEngine.from_pretrained(tmp_path / "engine", verify=verify)


def test_more_regions_than_clusters_are_refused(deep_engine, tmp_path):
    """The scratch memory of the beam has a place for each cluster."""
    arrays = {name: np.array(array) for name, array in deep_engine.arrays.named().items()}
    arrays["region_vectors_RP"] = np.repeat(arrays["region_vectors_RP"], 5, axis=0)
    arrays["region_scales_R"] = np.repeat(arrays["region_scales_R"], 5)
    n = int(arrays["region_edge_offsets_R1"][-1])
    steps = np.r_[arrays["region_edge_offsets_R1"], np.full(16, n)]
    arrays["region_edge_offsets_R1"] = steps.astype(np.int64)
    with pytest.raises(InputError, match="20 regions above 12 clusters"):
        SearchEngine(EngineArrays(**arrays), deep_engine.config, deep_engine.constants)


CONSTANTS = {
    "reference_width": [0, -1, 2.0, True, 2**40, "1", None],
    "region_beam_width": [0, 1.5],
    "n_candidates": [0, -3],
    "dim": [0, 2**31, D + 64],
    "coverage": [0.0, -0.5, 1.5, float("nan"), "1"],
    "router_scale": [0.0, -1.0, float("inf"), float("nan"), True],
    "region_scale": [0.0, 1e300],
    "path_exponent": [-1.0, float("inf"), float("nan"), 1e6, None],
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_that_no_search_can_use_are_refused(name, deep_engine, tmp_path):
    for number, value in enumerate(CONSTANTS[name]):
        directory = tmp_path / str(number)
        deep_engine.save_pretrained(directory)
        manifest = json.loads((directory / "manifest.json").read_text())
        manifest["config"]["constants"][name] = value
        (directory / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(ModelFormatError):
            SearchEngine.from_pretrained(directory)


@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_a_label_vector_that_holds_no_numbers_is_ranked_last(precision, index, tmp_path):
    """Whole vectors of floats are not read when an engine is opened."""
    X, _ = planted(30, seed=3)
    engine = index.to_engine(EngineConfig(precision=precision))
    place = 5
    engine.arrays.label_vectors_LP[place, 1] = 0x7E00 if precision == "float16" else np.nan
    result = engine.search(X, L, beam_width=10**6, shortlist_size=10**6)
    assert sound(result)
    bad = int(engine.arrays.label_ids_L[place])
    for row in result.ids:
        assert bad not in row[:5].tolist()


# -- contents of an index ------------------------------------------------------------------------


INDEX_DAMAGE = {
    "a negative weight of an edge": ("graph.edge_weights_CM", _at(0, -1.0)),
    "a weight that is NaN": ("graph.edge_weights_CM", _at(0, np.nan)),
    "a weight above 1": ("graph.edge_weights_CM", _at(0, 7.0)),
    "a label that does not exist": ("graph.edge_labels_CM", _at(0, L)),
    "a label below the pads": ("graph.edge_labels_CM", _at(0, -2)),
    "a cluster that does not exist": ("cluster_of_label_L", _at(0, 12)),
    "a negative cluster": ("cluster_of_label_L", _at(0, -1)),
    "an infinite classifier": ("label_weight_LD", _at(0, np.inf)),
    "a bias that is NaN": ("label_bias_L", _at(0, np.nan)),
    "a scale of 0": ("input_scale", _at(0, 0.0)),
    "a negative scale": ("input_scale", _at(0, -1.0)),
    "a router of other numbers": ("router.weight_CD", lambda a: a.astype(np.float64)),
    "fewer labels": ("label_bias_L", lambda a: a[:-1]),
}


@pytest.mark.parametrize("case", INDEX_DAMAGE)
def test_an_index_of_unsound_contents_is_refused(case, index, tmp_path):
    from safetensors.numpy import load_file, save_file

    name, change = INDEX_DAMAGE[case]
    index.prune(top_k=30).save_pretrained(tmp_path / "index")
    file = tmp_path / "index" / "index.safetensors"
    arrays = dict(load_file(file))
    arrays[name] = np.ascontiguousarray(change(np.array(arrays[name])))
    save_file(arrays, file)
    _sign(tmp_path / "index")
    with pytest.raises(ModelFormatError, match=name.split(".")[-1]):
        LearnedGraphIndex.from_pretrained(tmp_path / "index")


@pytest.mark.parametrize("name", ["n_clusters", "n_labels", "dim"])
@pytest.mark.parametrize("value", [50_000_000, 0, -1, True, 3.5, "12", None, 10**30])
def test_sizes_are_compared_with_the_arrays_before_memory_is_taken(name, value, index, tmp_path):
    index.save_pretrained(tmp_path / "index")
    file = tmp_path / "index" / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["config"][name] = value
    file.write_text(json.dumps(manifest))
    started = time.process_time()
    with pytest.raises(ModelFormatError):
        LearnedGraphIndex.from_pretrained(tmp_path / "index")
    assert time.process_time() - started < 2  # tens of gigabytes are not cleared in that time


def test_an_index_whose_training_diverged_is_not_saved(index, tmp_path):
    broken = LearnedGraphIndex(SMALL, training=QUICK).fit(*planted(200))
    broken.label_bias_L.data[3] = float("nan")
    with pytest.raises(InputError, match=r"label_bias_L.*diverged"):
        broken.save_pretrained(tmp_path / "index")
    assert not (tmp_path / "index").exists()


# -- queries -------------------------------------------------------------------------------------


def test_queries_with_which_scores_would_overflow_are_refused(index):
    engine = index.to_engine()
    X, _ = planted(4, seed=2)
    huge = np.where(X > 0, np.float32(3e38), np.float32(-3e38))
    for rows in (huge, huge[:1]):
        with pytest.raises(InputError, match="queries hold numbers beyond 1e\\+15, first in row 0"):
            engine.search(rows, 5)
    assert sound(engine.search(X * np.float32(1e14), 5))
    # What cannot be told from 0 is 0.
    tiny = engine.search(np.full((2, D), 1e-40, np.float32), 5)
    np.testing.assert_array_equal(tiny.ids, engine.search(np.zeros((2, D), np.float32), 5).ids)


def test_row_pointers_whose_differences_wrap_are_refused():
    """[0, 2^31 - 1, -2^31, -1, 5] rises by 1 or more each time, in 32 bits."""
    labels = sp.csr_matrix((np.ones(5, np.float32), (np.arange(5) % 4, np.arange(5))), (4, 8))
    labels.indptr = np.array([0, 2**31 - 1, -(2**31), -1, 5], np.int32)
    X = np.random.default_rng(0).normal(size=(4, D)).astype(np.float32)
    with pytest.raises(InputError, match="indptr goes back"):
        LearnedGraphIndex().fit(X, labels)


# -- time to open --------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_engine_of_a_million_labels_opens_within_a_tenth_of_a_second(tmp_path):
    n, clusters, dim, edges = 1 << 20, 4096, 128, 10 << 20
    rng = np.random.default_rng(0)
    S, P = 56, padded(dim)
    offsets = np.linspace(0, edges, clusters + 1).astype(np.int64)
    vectors = aligned_zeros((n, P), np.uint8)
    block = rng.normal(size=(n, S)).astype(np.float32)
    arrays = EngineArrays(
        label_ids_L=rng.permutation(n).astype(np.int32),
        sketches_LB=sketch_rows(block, np.ones(n, np.float32), np.zeros(n, np.float32)),
        label_vectors_LP=vectors,
        cluster_vectors_CP=np.zeros((clusters, P), np.uint8),
        cluster_scales_C=np.ones(clusters, np.float32),
        edge_offsets_C1=offsets,
        edge_labels_E=rng.integers(0, n, edges).astype(np.int32),
        edge_weights_E=np.full(edges, 0x3800, np.uint16),
        sketch_map_SP=np.zeros((S, P), np.uint8),
        sketch_map_scales_S=np.ones(S, np.float32),
        region_vectors_RP=np.zeros((0, P), np.uint8),
        region_scales_R=np.zeros(0, np.float32),
        region_edge_offsets_R1=np.zeros(1, np.int64),
        region_edge_clusters_F=np.zeros(0, np.int32),
        region_edge_weights_F=np.zeros(0, np.uint16),
    )
    constants = Constants(dim, 10.0, 1.0, 0.5, 1, 1, 1, 1.0)
    SearchEngine(arrays, EngineConfig(), constants).save_pretrained(tmp_path / "engine")
    times = []
    for _ in range(5):
        started = time.process_time()  # other work on the machine does not count
        SearchEngine.from_pretrained(tmp_path / "engine")
        times.append(time.process_time() - started)
    assert sorted(times)[2] < 0.1, times


# -- the wide net --------------------------------------------------------------------------------


def _campaign(n, *options, environment=None):
    command = [sys.executable, "-m", "benchmarks.hostile.models", "--n", str(n), *options]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=3600, check=False, cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]


def test_a_sample_of_hostile_models(tmp_path):
    # As the command does, with the models made here; they are tried in a process of its own.
    make_models(tmp_path)
    tally = run_campaign(
        partial(make_trial, tmp_path), groups=GROUPS, n=150, jobs=1, memory_gb=8.0, seconds=30.0
    )
    assert sum(tally.counts.values()) == 150
    assert tally.faults == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_twenty_thousand_hostile_models_with_checked_indices(tmp_path):
    """Compiled code that checks every index of an array, in a cache of its own."""
    environment = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    _campaign(20_000, environment=environment)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_kernels_pass_their_tests_with_checked_indices(tmp_path):
    names = ["kernels", "engine/test_engine.py", "index/test_hierarchy.py",
             "ranking/test_sparse_ranker.py"]  # fmt: skip
    environment = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
               *[str(ROOT / "tests" / name) for name in names]]  # fmt: skip
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]


def _sign(directory):
    """Write the right sizes and checksums, as a hostile author would."""
    from learned_index.persistence import write_manifest

    manifest = json.loads((directory / "manifest.json").read_text())
    write_manifest(directory, kind=manifest["kind"], config=manifest["config"])
