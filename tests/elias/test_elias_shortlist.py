"""Shortlists of several members: their mean, and what follows behind the head."""

from __future__ import annotations

import numpy as np
import pytest

from learned_index.elias.ensemble import followed_by, merge
from learned_index.types import SearchResult


def random_results(seed: int, n_models: int) -> list[SearchResult]:
    rng = np.random.default_rng(seed)
    results = []
    for _ in range(n_models):
        ids = np.full((7, 6), -1, np.int64)
        scores = np.full((7, 6), -np.inf, np.float32)
        for row in range(7):
            found = int(rng.integers(0, 7))
            ids[row, :found] = rng.permutation(9)[:found]
            scores[row, :found] = np.sort(rng.integers(1, 5, found) / 4)[::-1]
        results.append(SearchResult(ids, scores))
    return results


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("n_models", [1, 2, 3, 5])
def test_merge_is_the_mean_of_the_members(seed: int, n_models: int) -> None:
    results = random_results(seed, n_models)
    width = 1 + seed
    merged = merge(results, width)
    assert merged.ids.shape == merged.p.shape == (7, width)
    for row in range(7):
        mean: dict[int, float] = {}
        for result in results:
            for label, score in zip(result.ids[row], result.scores[row], strict=True):
                if label >= 0:
                    mean[int(label)] = mean.get(int(label), 0.0) + float(score) / n_models
        found = [label for label in merged.ids[row].tolist() if label >= 0]
        assert len(found) == len(set(found)) == min(width, len(mean))
        assert merged.ids[row, len(found) :].tolist() == [-1] * (width - len(found))
        assert (merged.p[row, len(found) :] == 0).all()
        np.testing.assert_allclose(merged.p[row, : len(found)], [mean[x] for x in found], rtol=1e-6)
        best = sorted(mean.values(), reverse=True)[: len(found)]
        np.testing.assert_allclose(merged.p[row, : len(found)], best, rtol=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_labels_behind_the_head_follow_in_order(seed: int) -> None:
    wide = merge(random_results(seed, 2), 9)
    head = merge(random_results(seed, 2), 4).ids
    tail = followed_by(head, wide, 6)
    for row in range(7):
        rest = [
            (label, p)
            for label, p in zip(wide.ids[row].tolist(), wide.p[row].tolist(), strict=True)
            if label >= 0 and label not in head[row]
        ][:6]
        assert tail.ids[row].tolist() == [x for x, _ in rest] + [-1] * (6 - len(rest))
        assert tail.p[row].tolist() == [p for _, p in rest] + [0.0] * (6 - len(rest))


def test_a_missing_answer_stays_missing() -> None:
    empty = SearchResult(np.full((2, 3), -1, np.int64), np.full((2, 3), -np.inf, np.float32))
    merged = merge([empty, empty], 3)
    assert (merged.ids == -1).all() and (merged.p == 0).all()
