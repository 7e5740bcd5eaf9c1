"""The K best against sorts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learned_index.kernels.select.cpu import (
    best_rows,
    keep_k_largest,
    largest_of_rows,
    rank_best,
    select_largest,
)


@given(
    values=st.lists(
        st.floats(0, 1, width=32) | st.sampled_from([0.0, 0.25, 1.0]), min_size=1, max_size=200
    ),
    data=st.data(),
)
@settings(max_examples=150, deadline=None)
def test_the_largest_are_kept_in_their_order_with_ties(values, data):
    array = np.array(values, np.float32)
    k = data.draw(st.integers(0, len(array) + 1))
    items = np.arange(len(array), dtype=np.int32)
    best = np.sort(np.argsort(-array, kind="stable")[:k])  # of equal values the first
    kept = array.copy()
    assert keep_k_largest(kept, items, len(array), k) == len(best)
    assert items[: len(best)].tolist() == best.tolist()
    assert kept[: len(best)].tolist() == array[best].tolist()


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("n", "k"), [(1, 1), (5, 9), (40, 7), (1000, 100), (1500, 1499), (64, 64)])
def test_selection(n, k, ties):
    rng = np.random.default_rng(n + k)
    values = rng.random(n + 3).astype(np.float32)
    if ties:
        values = np.round(values, 1)
        values[values < 0.3] = 0
    chosen = np.full(min(n, k) + 2, -7, np.int32)
    kept = select_largest(values, n, k, chosen)
    assert kept == min(n, k)
    order = sorted(range(n), key=lambda i: (-values[i], i))[:k]
    assert chosen[:kept].tolist() == sorted(order)
    assert chosen[-1] == -7  # nothing is written beyond


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("n", "k"), [(1, 3), (30, 30), (200, 100), (90, 200), (1400, 1200)])
def test_ranking(n, k, ties):
    rng = np.random.default_rng(n * k)
    values = rng.random(n).astype(np.float32)
    if ties:
        values = np.round(values, 1)
    ids = rng.permutation(5 * n)[:n].astype(np.int32)
    best = sorted(zip(-values, ids, strict=True))[:k]
    out_ids, out_scores = np.full(k, -9, np.int64), np.zeros(k, np.float32)
    scratch = np.empty(n + 1, np.int32)
    rank_best(values.copy(), ids.copy(), n, out_ids, out_scores, scratch, scratch.copy())
    assert out_ids[: len(best)].tolist() == [label for _, label in best]
    assert out_scores[: len(best)].tolist() == [-score for score, _ in best]
    assert (out_ids[len(best) :] == -1).all()
    assert (out_scores[len(best) :] == -np.inf).all()


@pytest.mark.parametrize("width", [1, 5, 64, 65, 300])
def test_beam_is_the_best_rows_in_order(width):
    scores = np.round(np.random.default_rng(width).random(200), 2).astype(np.float32)
    beam, beam_scores = np.empty(300, np.int32), np.empty(300, np.float32)
    n = best_rows(scores, 200, width, beam, beam_scores)
    order = sorted(range(200), key=lambda c: (-scores[c], c))[:width]
    assert n == min(width, 200)
    assert beam[:n].tolist() == order
    np.testing.assert_array_equal(beam_scores[:n], scores[order])


@pytest.mark.parametrize("count", [1, 7, 29, 30])
def test_the_largest_of_a_row_are_the_first_of_equals(count):
    rng = np.random.default_rng(5)
    values = rng.integers(-4, 4, size=(40, 30)).astype(np.float32)
    values[::7] *= -0.0  # zeros of both signs are equal
    values[1::5] = rng.normal(size=values[1::5].shape) * 1e30
    expected = np.sort(np.argsort(-values, axis=1, kind="stable")[:, :count], axis=1)
    np.testing.assert_array_equal(largest_of_rows(values, count), expected)
