"""The analysis of an index: groups of labels, recall by group, edges; against plain Python."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.sparse as sp

from learned_index import IndexConfig, LearnedGraphIndex, TrainingConfig
from learned_index.errors import InputError
from learned_index.evaluation.analysis import analyse_index
from learned_index.evaluation.deciles import frequency_groups, mean_by_group, recall_by_group
from learned_index.evaluation.edges import (
    clusters_per_label,
    edge_distribution,
    partition_overlap,
)


def random_case(seed, *, n=40, n_labels=37, width=12):
    rng = np.random.default_rng(seed)
    truth = sp.random(n, n_labels, density=0.1, format="csr", random_state=seed) != 0
    ids = np.full((n, width), -1)
    for row in range(n):
        found = int(rng.integers(0, width + 1))
        ids[row, :found] = rng.permutation(n_labels)[:found]
    return ids, truth


def random_edges(seed, *, C=7, M=10, n_labels=37):
    rng = np.random.default_rng(seed)
    labels = np.full((C, M), -1, np.int32)
    for c in range(C):
        size = int(rng.integers(0, M + 1))
        labels[c, :size] = rng.permutation(n_labels - 3)[:size]
    weights = np.where(labels >= 0, np.minimum(1, 1.4 * rng.random((C, M))), 0)
    return labels, weights.astype(np.float32)


def listed(labels, weights):
    return [
        (c, int(label), float(weights[c, m]))
        for c, row in enumerate(labels)
        for m, label in enumerate(row)
        if label >= 0
    ]


# -- groups ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_groups", [1, 3, 10])
def test_groups_hold_equal_numbers_of_labels_by_falling_frequency(n_groups):
    counts = np.random.default_rng(0).integers(0, 6, size=37)
    groups = frequency_groups(counts, n_groups=n_groups)
    order = sorted(range(37), key=lambda label: (-counts[label], label))
    sizes = [37 // n_groups + (g < 37 % n_groups) for g in range(n_groups)]
    expected, start = [0] * 37, 0
    for group, size in enumerate(sizes):
        for label in order[start : start + size]:
            expected[label] = group
        start += size
    assert groups.tolist() == expected


def test_there_are_no_more_groups_than_labels():
    assert frequency_groups([5, 9, 1], n_groups=10).tolist() == [1, 0, 2]


@pytest.mark.parametrize(
    ("counts", "n_groups"), [([], 10), ([1.5, 2.0], 10), ([1, -1], 10), ([[1]], 10), ([1, 2], 0)]
)
def test_unusable_counts(counts, n_groups):
    with pytest.raises(InputError):
        frequency_groups(counts, n_groups=n_groups)


# -- recall ------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 5, 12])
def test_recall_by_group_counts_pairs(k):
    for seed in range(5):
        ids, truth = random_case(seed)
        groups = frequency_groups(np.random.default_rng(seed).integers(0, 9, 37), n_groups=4)
        groups[[3, 30]] = -1
        result = recall_by_group(ids, truth, groups, k=k)
        for group in range(4):
            pairs = hits = 0
            for row in range(truth.shape[0]):
                for label in truth[row].indices:
                    if groups[label] == group:
                        pairs += 1
                        hits += label in ids[row, :k]
            assert result.n_pairs_G[group] == pairs
            assert result.recall_G[group] == pytest.approx(100 * hits / pairs)


def test_a_group_without_a_true_label_has_no_recall():
    truth = sp.csr_matrix([[1, 0, 0], [1, 0, 0]])
    result = recall_by_group(np.array([[0], [1]]), truth, np.array([0, 1, 2]), k=1)
    assert result.recall_G[0] == 50.0 and np.isnan(result.recall_G[1:]).all()
    assert result.n_pairs_G.tolist() == [2, 0, 0]


def test_recall_needs_groups_of_all_labels_and_a_wide_enough_result():
    truth = sp.csr_matrix([[1, 0, 0]])
    with pytest.raises(InputError, match="groups of 2"):
        recall_by_group(np.array([[0]]), truth, np.array([0, 1]), k=1)
    with pytest.raises(InputError, match="cut-off"):
        recall_by_group(np.array([[0]]), truth, np.array([0, 1, 1]), k=2)


def test_mean_by_group():
    assert mean_by_group([1, 2, 3, 10], np.array([0, 1, 0, 1])).tolist() == [2.0, 6.0]
    with pytest.raises(InputError):
        mean_by_group([1, 2], np.array([0]))


# -- edges -------------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [None, 0.25, 0.999, 1.0])
def test_clusters_per_label(threshold):
    for seed in range(5):
        labels, weights = random_edges(seed)
        expected = [0] * 37
        for _, label, weight in listed(labels, weights):
            expected[label] += threshold is None or weight > threshold
        assert clusters_per_label(labels, weights, 37, threshold=threshold).tolist() == expected


def test_partition_overlap_against_plain_python():
    for seed in range(8):
        labels, weights = random_edges(seed)
        cluster = np.random.default_rng(seed).integers(0, 7, size=37).astype(np.int32)
        edges = listed(labels, weights)
        own = {label: w for c, label, w in edges if cluster[label] == c}
        best = {}
        for _, label, w in edges:
            best[label] = max(w, best.get(label, -1))
        found = partition_overlap(labels, weights, cluster, threshold=0.3)
        assert found.share_kept == pytest.approx(len(own) / 37)
        assert found.share_above == pytest.approx(sum(w > 0.3 for w in own.values()) / 37)
        assert found.share_strongest == pytest.approx(
            sum(own[label] == best[label] for label in own) / 37
        )
        total = sum(w for _, _, w in edges)
        assert found.weight_share == pytest.approx(sum(own.values()) / total)
        assert found.mean_weight == pytest.approx(sum(own.values()) / max(1, len(own)))


def test_edge_distribution_against_plain_python():
    for seed in range(5):
        labels, weights = random_edges(seed)
        values = sorted(w for _, _, w in listed(labels, weights))
        found = edge_distribution(labels, weights, n_bins=8)
        assert found.n_edges == len(values)
        assert found.mean == pytest.approx(sum(values) / len(values))
        assert found.share_at_1 == pytest.approx(sum(v == 1.0 for v in values) / len(values))
        bins = [0] * 8
        for value in values:
            bins[min(7, int(value * 8))] += 1
        assert found.bin_counts.tolist() == bins and len(found.bin_edges) == 9
        place = 0.5 * (len(values) - 1)
        low = int(place)
        median = values[low] + (place - low) * (values[min(low + 1, len(values) - 1)] - values[low])
        assert found.quantiles[0.5] == pytest.approx(median)
        for share, part in found.edges_for_weight.items():
            n = round(part * len(values))
            heavy = values[::-1]
            assert sum(heavy[:n]) >= share * sum(values) - 1e-6 > sum(heavy[: n - 1]) - 2e-6


def test_a_graph_without_edges_has_a_distribution():
    found = edge_distribution(np.full((2, 3), -1), np.zeros((2, 3), np.float32))
    assert found.n_edges == 0 and found.bin_counts.sum() == 0


def test_edges_that_do_not_fit():
    with pytest.raises(InputError, match="C x M"):
        edge_distribution(np.zeros((2, 3), int), np.zeros((2, 4), np.float32))
    with pytest.raises(InputError, match="label 9"):
        clusters_per_label(np.array([[9]]), np.array([[1.0]], np.float32), 9)


# -- the whole ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained():
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(50, 12))
    first = np.minimum(rng.geometric(0.06, size=800) - 1, 49)
    pairs = np.stack([first, rng.integers(0, 50, size=800)], axis=1)
    X = (centres[pairs].sum(1) + 0.3 * rng.normal(size=(800, 12))).astype(np.float32)
    Y = sp.csr_matrix((np.ones(1600), (np.repeat(np.arange(800), 2), pairs.ravel())), (800, 50))
    Y = (Y > 0).astype(np.float32).tocsr()
    config = IndexConfig(n_clusters=8, beam_width=2, edges_per_cluster=15)
    training = TrainingConfig(stage1_epochs=2, stage2_epochs=2, batch_size=64)
    index = LearnedGraphIndex(config, training=training).fit(X[:600], Y[:600])
    return index, X[600:], Y[600:], np.bincount(Y[:600].indices, minlength=50)


def test_analysis_of_an_index_fits_together(trained):
    index, X, Y, counts = trained
    result = index.search(X, k=20)
    found = analyse_index(index, result, Y, counts, k=20, edge_threshold=0.2)
    assert found.group_sizes == [5] * 10
    assert sum(found.n_pairs) == Y.nnz and found.n_pairs_untrained == 0
    hits = sum(np.isin(result.ids[row], Y[row].indices).sum() for row in range(len(X)))
    together = sum(r * n / 100 for r, n in zip(found.recall, found.n_pairs, strict=True) if n)
    assert together == pytest.approx(hits), "the groups add up to all hits"
    lows = [low for low, _ in found.group_counts]
    highs = [high for _, high in found.group_counts]
    assert lows == sorted(lows, reverse=True)
    assert all(high <= low for high, low in zip(highs[1:], lows[:-1], strict=True))
    (graph,) = found.graphs
    edges = int((index.graph.edge_labels_CM >= 0).sum())
    assert graph.distribution.n_edges == edges
    assert np.mean(graph.edges_per_label) * 50 == pytest.approx(edges)
    assert graph.n_unreachable == 0
    json.dumps(found.to_dict())
    assert [row["group"] for row in found.group_rows()] == list(range(1, 11))


def test_labels_that_the_model_does_not_know_are_counted_apart(trained):
    index, X, Y, counts = trained
    wide = sp.hstack([Y, np.ones((len(X), 2))]).tocsr()
    found = analyse_index(index, index.search(X, k=20), wide, counts, k=20)
    assert found.n_pairs_untrained == 2 * len(X) and sum(found.n_pairs) == Y.nnz


def test_a_pruned_index_and_a_partition(trained):
    index, X, Y, counts = trained
    pruned = index.prune(top_k=2, keep="none")
    tree = index.fixed_tree()
    found = analyse_index([pruned, tree], pruned.search(X, k=20), Y, counts, k=20)
    left, right = found.graphs
    assert left.n_unreachable == pruned.graph.pruning.n_unreachable > 0
    assert left.overlap is not None and left.overlap.share_kept < 1
    assert right.overlap is None, "a partition is not compared with itself"
    assert right.clusters_per_label == [1.0] * 10 and right.distribution.share_at_1 == 1.0
    assert {"clusters_per_label_1", "clusters_per_label_2"} < set(found.group_rows()[0])


def test_what_does_not_fit_is_refused(trained):
    index, X, Y, counts = trained
    result = index.search(X, k=20)
    with pytest.raises(InputError, match="49 labels"):
        analyse_index(index, result, Y, counts[:-1], k=20)
    with pytest.raises(InputError, match="as the model does"):
        analyse_index(index, result, Y[:, :-1], counts, k=20)
