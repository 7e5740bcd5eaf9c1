"""The parts of the engine's compiled search against plain versions."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp

from learned_index.engine.building import (
    IndexParts,
    build_arrays,
    default_sketch_dim,
    quantised_rows,
    sketch_rows,
)
from learned_index.engine.config import EngineConfig
from learned_index.kernels.engine.filter import edges_to
from learned_index.kernels.engine.logits import (
    FINER,
    chosen_logits,
    group_logits,
    quantise,
    quantise_rest,
    row_logits,
    sketch_logits,
    whole_logits,
)
from learned_index.kernels.engine.steps import end_walks, walk


@pytest.mark.parametrize("n", [1, 4, 7, 30])
def test_logits_of_codes(n):
    rng = np.random.default_rng(n)
    rows = rng.integers(0, 256, (n, 64)).astype(np.uint8)
    codes = rng.integers(-127, 128, 64).astype(np.int8)
    scales = rng.random(n).astype(np.float32)
    correction = np.int32(128 * codes.astype(int).sum())
    expected = (rows.astype(int) - 128) @ codes.astype(int) * scales * 0.5
    out = np.empty(n, np.float32)
    address = np.uintp(rows.ctypes.data)
    row_logits(address, scales, n, 64, codes, np.float32(0.5), correction, out)
    np.testing.assert_allclose(out, expected, rtol=1e-5)
    order = rng.permutation(n).astype(np.int32)
    chosen = rng.permutation(n).astype(np.int32)
    chosen_logits(address, scales, order, chosen, n, 64, codes, np.float32(0.5), correction, out)
    np.testing.assert_allclose(out, expected[order[chosen]], rtol=1e-5)
    biases = rng.normal(size=n).astype(np.float32)
    codes[56:] = 0
    whole_scales = _bfloat16(rng.random(n))
    table = sketch_rows(rng.normal(size=(n, 56)).astype(np.float32), whole_scales, biases)
    scale = _tails(table)[0]
    correction = np.int32(128 * codes.astype(int).sum())
    sketch_logits(
        np.int64(table.ctypes.data), order, n, 64, codes, np.float32(0.1), correction, out
    )
    expected = (table[:, :56].astype(int) - 128) @ codes[:56].astype(int) * scale * 0.1 + biases
    np.testing.assert_allclose(out, expected[order], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("n", [1, 6, 40])
@pytest.mark.parametrize("n_queries", [1, 2, 5, 8])
def test_logits_of_a_group_are_those_of_its_queries(n, n_queries):
    rng = np.random.default_rng(10 * n + n_queries)
    rows = rng.integers(0, 256, (n, 64)).astype(np.uint8)
    codes = rng.integers(-127, 128, (n_queries, 64)).astype(np.int8)
    scales, query_scales = (rng.random(size).astype(np.float32) for size in (n, n_queries))
    corrections = (128 * codes.sum(axis=1, dtype=np.int32)).astype(np.int32)
    out = np.full(n_queries * n + 1, 7, np.float32)
    address = np.uintp(rows.ctypes.data)
    group_logits(address, scales, n, 64, codes.ravel(), query_scales, corrections, n_queries, out)
    alone = np.empty(n, np.float32)
    for g in range(n_queries):
        row_logits(address, scales, n, 64, codes[g], query_scales[g], corrections[g], alone)
        np.testing.assert_array_equal(out[g * n : (g + 1) * n], alone)
    assert out[-1] == 7


def _bfloat16(values):
    """Floats whose last 16 bits are 0."""
    return (np.float32(values).view(np.uint32) & 0xFFFF0000).view(np.float32)


def _tails(table):
    """Scales of the sketches, of the whole vectors, and biases of rows of the sketch table."""
    words = np.ascontiguousarray(table[:, -8:]).view(np.uint32)
    return (
        (words[:, 0] << 16).view(np.float32),
        (words[:, 0] & 0xFFFF0000).view(np.float32),
        np.ascontiguousarray(words[:, 1]).view(np.float32),
    )


@pytest.mark.parametrize("n", [1, 4, 7, 30, 50])
@pytest.mark.parametrize("dim", [50, 64, 384])
def test_logits_of_whole_vectors_are_those_of_the_float_query(n, dim):
    rng = np.random.default_rng(n)
    width = -(-dim // 64) * 64
    vectors = rng.normal(size=(60, dim)).astype(np.float32)
    codes, scales = quantised_rows(vectors, scales="bfloat16")
    rows = np.zeros((60, width), np.uint8)
    rows[:, :dim] = codes.view(np.uint8) ^ 128
    biases = rng.normal(size=60).astype(np.float32)
    table = sketch_rows(vectors[:, :32], scales, biases)
    x = np.zeros(width, np.float32)
    x[:dim] = rng.normal(size=dim)
    first, second = np.zeros(width, np.int8), np.zeros(width, np.int8)
    scale = quantise(x, dim, first)
    quantise_rest(x, dim, first, scale, second)
    rebuilt = float(scale) * (first.astype(float) + second / FINER)
    assert np.abs(rebuilt - x).max() <= np.abs(x).max() / 64_000
    labels = rng.permutation(60)[:n].astype(np.int32)
    out = np.empty(n, np.float32)
    whole_logits(
        np.int64(rows.ctypes.data), width, np.int64(table.ctypes.data), table.shape[1], labels, n,
        first, second, scale, np.int32(128 * first.astype(int).sum()),
        np.int32(128 * second.astype(int).sum()), out,
    )  # fmt: skip
    exact = (codes * scales[:, None].astype(float)) @ x[:dim] + biases
    np.testing.assert_allclose(out, exact[labels], atol=3e-3)  # one code: 0.2


def test_quantised_rows_of_rounded_scales_are_within_half_a_step():
    rows = np.random.default_rng(0).normal(size=(30, 100)).astype(np.float32)
    rows *= np.logspace(-9, 9, 30, dtype=np.float32)[:, None]
    rows[3] = 0
    codes, scales = quantised_rows(rows, scales="bfloat16")
    assert not (scales.view(np.uint32) & 0xFFFF).any()
    assert (np.abs(codes * scales[:, None] - rows) <= scales[:, None] * 0.5001).all()
    assert (scales <= quantised_rows(rows)[1] * 1.008).all()


def test_quantised_rows_are_within_half_a_step():
    rows = np.random.default_rng(0).normal(size=(30, 100)).astype(np.float32)
    rows[3] = 0
    codes, scales = quantised_rows(rows)
    assert (np.abs(codes * scales[:, None] - rows) <= scales[:, None] * 0.5001).all()
    assert np.abs(codes).max() == 127
    for row, scale in zip(rows, scales, strict=True):
        out = np.empty(100, np.int8)
        assert quantise(row, 100, out) == pytest.approx(scale, rel=1e-6)
        assert (np.abs(out * scale - row) <= scale * 0.5001).all()


def test_sketch_rows_hold_codes_scales_and_bias():
    coordinates = np.random.default_rng(1).normal(size=(9, 56)).astype(np.float32)
    biases = np.arange(9, dtype=np.float32) - 4
    whole_scales = _bfloat16(np.linspace(0, 3, 9))
    rows = sketch_rows(coordinates, whole_scales, biases)
    assert rows.shape == (9, 64)
    scales, *rest = _tails(rows)
    decoded = (rows[:, :56].astype(np.float32) - 128) * scales[:, None]
    np.testing.assert_allclose(decoded, coordinates, atol=0.02)
    np.testing.assert_array_equal(rest, [whole_scales, biases])
    assert [default_sketch_dim(dim) for dim in (20, 384, 512, 768)] == [20, 56, 56, 120]


@pytest.mark.parametrize("exponent", [1.0, 0.5, 0.3])
def test_walk_keeps_the_best_path_of_each_label(exponent):
    rng = np.random.default_rng(3)
    edges = sp.random(12, 40, density=0.3, format="csr", random_state=rng, dtype=np.float32)
    halves = edges.data.astype(np.float16)
    beam = np.array([7, 2, 11, 5], np.int32)
    scores = np.array([3.0, 0.8, 0.5, 0.0], np.float32)  # cut off at 1; never 0
    best, found, paths = np.zeros(40, np.float32), np.zeros(41, np.int32), np.zeros(41, np.float32)
    offsets, targets = edges.indptr.astype(np.int64), edges.indices.astype(np.int32)
    weights = halves.view(np.uint16)
    rows = np.zeros((40, 64), np.uint8)
    n = walk(
        beam, scores, 4, exponent, 12, np.uintp(offsets.ctypes.data),
        np.uintp(targets.ctypes.data), np.uintp(weights.ctypes.data), offsets[beam + 1],
        np.uintp(rows.ctypes.data), np.uintp(64), best, found, paths,
    )  # fmt: skip
    expected: dict[int, float] = {}
    for row, score in zip(beam, scores, strict=True):
        factor = max(min(float(score), 1.0), 1e-30) ** exponent
        for e in range(offsets[row], offsets[row + 1]):
            label = int(targets[e])
            expected[label] = max(expected.get(label, 0.0), factor * float(halves[e]))
    assert sorted(found[:n].tolist()) == sorted(expected)
    np.testing.assert_allclose(paths[:n], [expected[label] for label in found[:n]], rtol=1e-5)
    assert not best.any()


@pytest.mark.parametrize("budget", [10, 100, 700, 3000, 10**6])
def test_walks_end_where_the_weakest_paths_begin(budget):
    rng = np.random.default_rng(4)
    sizes = rng.integers(0, 500, 12)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    weights = rng.random(offsets[-1]).astype(np.float16)
    for c in range(12):
        part = slice(offsets[c], offsets[c + 1])
        weights[part] = -np.sort(-weights[part])
    beam = np.array([3, 8, 1, 0, 11], np.int32)
    scores = np.array([2.0, 0.9, 0.5, 0.2, 1e-9], np.float32)
    stops, samples = np.zeros(5, np.int64), np.zeros(4000, np.float32)
    bits = weights.view(np.uint16)
    total = end_walks(
        beam, scores, 5, 0.5, 12, np.uintp(offsets.ctypes.data), np.uintp(bits.ctypes.data),
        budget, stops, samples,
    )  # fmt: skip
    lengths = stops - offsets[beam]
    assert total == lengths.sum() and (lengths >= 0).all() and (stops <= offsets[beam + 1]).all()
    everything = sizes[beam].sum()
    if budget >= everything:
        assert total == everything
        return
    assert abs(total - budget) <= 16 * len(beam)
    factors = np.sqrt(np.clip(scores, 1e-30, 1))
    paths = [
        f * weights[offsets[c] : offsets[c + 1]].astype(np.float32)
        for c, f in zip(beam, factors, strict=True)
    ]
    walked = np.concatenate([p[:n] for p, n in zip(paths, lengths, strict=True)])
    left = np.concatenate([p[n:] for p, n in zip(paths, lengths, strict=True)])
    # Every 16th edge is looked at: but for some at the ends, all walked beat all left out.
    threshold = np.sort(np.concatenate([walked, left]))[-total] if total else np.inf
    assert (walked < threshold).sum() <= 16 * len(beam)
    assert (left > threshold).sum() <= 16 * len(beam)


def test_building_folds_orders_and_keeps_all(tmp_path):
    rng = np.random.default_rng(0)
    edges = sp.random(6, 50, density=0.3, format="csr", random_state=rng, dtype=np.float32)
    labels, fold = rng.normal(size=(50, 70)), rng.normal(size=(70, 70)) / 8
    parts = IndexParts(
        rng.normal(size=(6, 70)).astype(np.float32), edges, labels.astype(np.float32),
        rng.normal(size=50).astype(np.float32), fold.astype(np.float32), 10.0, 0.5,
    )  # fmt: skip
    arrays = build_arrays(parts, EngineConfig(precision="float32"))
    order = arrays.label_ids_L
    assert sorted(order.tolist()) == list(range(50))
    np.testing.assert_allclose(
        arrays.label_vectors_LP[:, :70], (labels @ fold)[order], rtol=1e-4, atol=1e-5
    )
    assert not arrays.label_vectors_LP[:, 70:].any()
    tails = np.ascontiguousarray(arrays.sketches_LB[:, -8:])
    np.testing.assert_array_equal(tails.view(np.float32)[:, 1], parts.label_biases_L[order])
    np.testing.assert_array_equal(tails.view(np.uint16)[:, 1], 0x3F80)  # scale 1 of float rows
    # Every edge is there, by descending weight in its cluster.
    for c in range(6):
        part = slice(arrays.edge_offsets_C1[c], arrays.edge_offsets_C1[c + 1])
        weights = arrays.edge_weights_E[part].view(np.float16).astype(np.float32)
        assert (np.diff(weights) <= 0).all()
        row = edges[c].toarray().ravel()
        np.testing.assert_allclose(
            weights, row[order[arrays.edge_labels_E[part]]] ** 0.5, rtol=1e-3
        )
    # Labels of one strongest cluster lie together.
    reached = np.asarray(edges.max(axis=0).todense()).ravel() > 0
    strongest = edges.toarray().argmax(axis=0)[order][reached[order]]
    assert (np.diff(strongest) >= 0).all()


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_edges_to_wanted_labels(share):
    rng = np.random.default_rng(3)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(0, 9, 20))]).astype(np.int64)
    labels = rng.integers(0, 30, offsets[-1]).astype(np.int32)
    weights = rng.integers(0, 999, offsets[-1]).astype(np.uint16)
    wanted = rng.random(30) < share
    rows = [
        [(labels[e], weights[e]) for e in range(start, stop) if wanted[labels[e]]]
        for start, stop in pairwise(offsets)
    ]
    found = edges_to(offsets, labels, weights, wanted)
    assert found[0].tolist() == [0, *np.cumsum([len(row) for row in rows])]
    assert list(zip(found[1], found[2], strict=True)) == [edge for row in rows for edge in row]
