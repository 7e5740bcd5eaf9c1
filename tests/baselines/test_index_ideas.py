"""Indexes and shortlists that are trained for the comparison: partition, overlap, Slice, GLaS."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from compare_cases import labelled_points

from learned_index import IndexConfig, LearnedGraphIndex, TrainingConfig
from learned_index.baselines.glas import GlasSearch
from learned_index.baselines.ova import OneVsAll
from learned_index.baselines.shortlists.spreading import (
    SpreadingTerm,
    conditional_means,
    spreading_loss,
)
from learned_index.baselines.shortlists.training import ShortlistTraining, labels_to_score
from learned_index.baselines.slice_shortlist import SliceSearch
from learned_index.baselines.trained_index import (
    OverlappingClusters,
    TrainedGraph,
    TrainedTree,
)
from learned_index.errors import InputError, NotFittedError
from learned_index.index.build.partition import count_visits
from learned_index.index.graph import ClusterLabelGraph
from learned_index.kernels.update import RowGradients
from learned_index.metrics import evaluate

INDEX = {"n_clusters": 6, "beam_width": 3, "stage1_epochs": 4, "stage2_epochs": 6}
METHODS = [
    (TrainedGraph, INDEX),
    (TrainedTree, INDEX),
    (OverlappingClusters, INDEX),
    (SliceSearch, {"epochs": 10, "shortlist_size": 12}),
    (GlasSearch, {"epochs": 10, "shortlist_size": 12}),
]


def built(method, options, points, labels):
    made = method(**{"batch_size": 40, **options})
    made.build(points, labels)
    return made


@pytest.mark.parametrize(("method", "options"), METHODS)
def test_every_idea_learns_and_repeats_itself(method, options):
    points, labels = labelled_points()
    made, twin = (built(method, options, points, labels) for _ in range(2))
    queries, truth = labelled_points(seed=0)[0][:100], labels[:100]
    found = made.search(queries, 10)
    metrics = evaluate(found, truth, propensities=np.ones(30), ks=(1,), recall_ks=(10,))
    assert metrics["P@1"] > 80 and metrics["R@10"] > 90
    np.testing.assert_array_equal(found.ids, twin.search(queries, 10).ids)
    assert made.disk_bytes() > 4 * labels.shape[1] * points.shape[1]
    ids = made.ids_of(made.bind(10).batch(made.prepare_queries(queries)))
    assert np.mean(ids == found.ids) > 0.99


@pytest.mark.parametrize(("method", "options"), METHODS)
def test_wrong_input_is_refused(method, options):
    points, labels = labelled_points(60)
    with pytest.raises(NotFittedError):
        method(**options).search(points, 3)
    with pytest.raises(InputError, match="60 rows"):
        method(**options).build(points, labels[:10])
    with pytest.raises(InputError, match="sparse matrix"):
        method(**options).build(points, labels.toarray())
    with pytest.raises(InputError, match="non-empty"):
        method(**options).build(points[:0], labels[:0])
    broken = points.copy()
    broken[4, 1] = np.nan
    with pytest.raises(InputError, match="NaN"):
        method(**options).build(broken, labels)
    made = built(
        method, {**options, "epochs": 1} if "epochs" in options else options, points, labels
    )
    with pytest.raises(InputError, match="query arguments"):
        made.search(points, 3, nprobe=4)
    (knob,) = made.arguments
    with pytest.raises(InputError, match=knob):
        made.search(points, 3, **{knob: 0})
    assert all(set(setting) == {knob} for setting in made.query_grid())


# -- indexes: which edges stage 2 has ---------------------------------------------------------


def test_the_graph_is_what_the_index_trains_by_itself():
    points, labels = labelled_points()
    made = built(TrainedGraph, INDEX, points, labels)
    config = IndexConfig(n_clusters=6, beam_width=3)
    training = TrainingConfig(stage1_epochs=4, stage2_epochs=6, batch_size=40)
    index = LearnedGraphIndex(config, training=training).fit(points, labels)
    left, right = made.search(points[:50], 10), index.search(points[:50], 10)
    np.testing.assert_array_equal(left.ids, right.ids)
    np.testing.assert_array_equal(left.scores, right.scores)


def test_the_tree_keeps_its_partition_and_is_trained_in_both_stages():
    points, labels = labelled_points()
    index = built(TrainedTree, INDEX, points, labels)._index
    tree = index.fixed_tree()
    torch.testing.assert_close(index.graph.edge_labels_CM, tree.graph.edge_labels_CM)
    assert index.graph.edge_logits_CM is None and index.graph.edge_weights_CM is None
    assert not torch.equal(index.router.weight_CD, tree.router.weight_CD)
    labels_found = index.graph.edge_labels_CM[index.graph.edge_labels_CM >= 0]
    assert sorted(labels_found.tolist()) == list(range(30))


def best_assignment(counts, per_label):
    """By hand: the clusters with the largest positive counts of each label."""
    edges = set()
    for label in range(counts.shape[1]):
        order = sorted(range(counts.shape[0]), key=lambda c: (-counts[c, label], c))
        edges |= {(c, label) for c in order[:per_label] if counts[c, label] > 0}
    return edges


def edges_of(graph):
    rows = graph.edge_labels_CM.tolist()
    return {(c, label) for c, row in enumerate(rows) for label in row if label >= 0}


@pytest.mark.parametrize("per_label", [1, 2, 5, 9])
def test_labels_are_assigned_to_the_clusters_that_their_points_visit_most(per_label):
    rng = np.random.default_rng(per_label)
    counts = np.where(rng.random((5, 12)) < 0.5, 0, rng.integers(1, 4, (5, 12))).astype(np.float32)
    counts[:, 7] = 0  # nobody visits it: it stays where it was
    cluster_L = rng.integers(0, 5, 12)
    graph = ClusterLabelGraph.from_assignment(
        sp.csr_matrix(counts), cluster_L, clusters_per_label=per_label
    )
    expected = best_assignment(counts, per_label)
    orphans = set(range(12)) - {label for _, label in expected}
    assert 7 in orphans
    assert edges_of(graph) == expected | {(int(cluster_L[label]), label) for label in orphans}
    weights = graph.weights()
    assert torch.equal(weights, (graph.edge_labels_CM >= 0).float())


def test_overlapping_clusters_follow_the_beams_and_stay_fixed():
    points, labels = labelled_points()
    config = IndexConfig(n_clusters=6, beam_width=3)
    training = TrainingConfig(fixed_edges=2, stage1_epochs=1, stage2_epochs=1)
    index = LearnedGraphIndex(config, training=training).build_partition(points, labels)
    counts_CL, _ = count_visits(index, points, labels)
    index.build_graph(points, labels)
    assert edges_of(index.graph) == best_assignment(counts_CL.toarray(), 2)
    before = edges_of(index.graph)
    index.forward(torch.from_numpy(points[:8]), labels[:8]).loss.backward()
    assert edges_of(index.graph) == before and index.graph.edge_logits_CM is None
    trained = built(OverlappingClusters, INDEX, points, labels)._index
    degree = np.bincount([label for _, label in edges_of(trained.graph)], minlength=30)
    assert degree.min() >= 1 and degree.max() == 2


def test_an_overlapping_index_is_saved_and_compiled(tmp_path):
    points, labels = labelled_points()
    index = built(OverlappingClusters, INDEX, points, labels)._index
    index.save_pretrained(tmp_path / "index")
    again = LearnedGraphIndex.from_pretrained(tmp_path / "index")
    assert again.training_config.fixed_edges == 2
    expected = index.search(points[:40], 10)
    np.testing.assert_array_equal(again.search(points[:40], 10).ids, expected.ids)
    engine = index.to_engine().search(points[:40], 10)
    assert np.mean(engine.ids[:, :3] == expected.ids[:, :3]) > 0.95


def test_rounds_divide_the_epochs_of_stage_2():
    points, labels = labelled_points()
    events = []
    training = TrainingConfig(
        fixed_edges=1, assignment_rounds=3, stage1_epochs=1, stage2_epochs=5, batch_size=100
    )
    LearnedGraphIndex(IndexConfig(n_clusters=6, beam_width=3), training=training).fit(
        points, labels, progress=events.append
    )
    epochs = {event.stage: event.n_epochs for event in events if event.stage.startswith("stage 2")}
    assert epochs == {"stage 2": 1, "stage 2, round 2": 2, "stage 2, round 3": 2}
    assert sum(event.stage == "graph" and event.step == 0 for event in events) == 3


# -- classifiers on given negatives -------------------------------------------------------------


@pytest.mark.parametrize("averaging", [0.0, 0.5])
def test_with_all_labels_as_negatives_it_is_one_vs_all(averaging):
    points, labels = labelled_points(80)
    budget = {
        "epochs": 12, "batch_size": 80, "learning_rate": 0.05, "initial_bias": -3.0,
        "averaging_fraction": averaging,
    }  # fmt: skip
    ova = OneVsAll(**budget)
    ova.build(points, labels)
    everything = np.broadcast_to(np.arange(30), (80, 30))
    training = ShortlistTraining(
        SliceSearch(**budget), points, labels, negatives=lambda rows: everything[: len(rows)]
    )
    training.run()
    items = np.concatenate(
        [training.weight_LD.detach().numpy(), training.bias_L.detach().numpy()[:, None]], axis=1
    )
    np.testing.assert_allclose(items, ova._index._index, rtol=1e-3, atol=2e-4)
    np.testing.assert_allclose(
        training.projection_DD.detach().numpy(), ova._projection_DD, rtol=1e-3, atol=2e-4
    )


def test_positives_stand_before_negatives_and_none_is_scored_twice():
    rng = np.random.default_rng(0)
    labels = sp.random(20, 15, density=0.2, format="csr", random_state=1)
    labels.data[:] = 1
    labels.sort_indices()
    rows = np.sort(rng.choice(20, 8, replace=False))
    negatives = np.stack([rng.permutation(15)[:6] for _ in rows])
    negatives[2, 4:] = -1
    ids, n_positives = labels_to_score(labels, rows, negatives)
    for row, shown, count, drawn in zip(
        rows, ids.tolist(), n_positives.tolist(), negatives.tolist(), strict=True
    ):
        own = labels[row].indices.tolist()
        others = [label for label in drawn if label >= 0 and label not in own]
        assert shown == own + others + [-1] * (len(shown) - len(own) - len(others))
        assert count == len(own)


# -- Slice -----------------------------------------------------------------------------------------


def centroids_by_hand(points, labels):
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    sums = np.stack([unit[labels[:, label].nonzero()[0]].sum(axis=0) for label in range(30)])
    return sums / np.linalg.norm(sums, axis=1, keepdims=True)


def test_the_shortlist_of_a_wide_search_is_that_of_an_exact_scan():
    points, labels = labelled_points()
    points *= np.random.default_rng(4).uniform(0.1, 9, (len(points), 1)).astype(np.float32)
    made = built(SliceSearch, {"epochs": 1, "shortlist_size": 8}, points, labels)
    queries = points[:50]
    unit = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    cosines = unit @ centroids_by_hand(points, labels).T
    ids, found = made.shortlist(queries, 1000)
    expected = np.argsort(-cosines, axis=1)[:, :8]
    np.testing.assert_array_equal(ids, expected)
    np.testing.assert_allclose(found, np.take_along_axis(cosines, expected, 1), atol=1e-5)
    assert made.shortlist(queries, 3)[0].shape == (50, 3)


def test_a_score_is_the_mixture_of_classifier_and_centroid():
    points, labels = labelled_points()
    made = built(
        SliceSearch, {"epochs": 2, "shortlist_size": 8, "classifier_share": 0.3}, points, labels
    )
    found = made.search(points[:5], 8, ef_search=1000)
    cosines = points[:5] @ centroids_by_hand(points, labels).T
    x = points[:5] + points[:5] @ made._projection_DD.T
    logits = x @ made._weight_LD.numpy().T + made._bias_L.numpy()
    scores = 0.3 / (1 + np.exp(-logits)) + 0.7 / (1 + np.exp(-cosines))
    expected = np.take_along_axis(scores, found.ids, axis=1)
    np.testing.assert_allclose(found.scores, expected, atol=1e-4)
    assert (np.diff(found.scores, axis=1) <= 0).all()


# -- GLaS ------------------------------------------------------------------------------------------


def test_the_spreading_term_is_its_definition_and_its_gradient_the_slope():
    rng = np.random.default_rng(0)
    weights = torch.from_numpy(rng.standard_normal((5, 4)) * 3)
    target = rng.random((5, 5))
    target = torch.from_numpy((target + target.T) / 2)

    def by_hand(w):
        total = 0.0
        for i, j in product(range(5), range(5)):
            cosine = w[i] @ w[j] / (np.linalg.norm(w[i]) * np.linalg.norm(w[j]))
            total += (cosine - float(target[i, j])) ** 2
        return total / 25

    value, gradient = spreading_loss(weights, target)
    assert value == pytest.approx(by_hand(weights.numpy()))
    epsilon = 1e-6
    for i, d in product(range(5), range(4)):
        moved = [weights.numpy().copy() for _ in range(2)]
        moved[0][i, d] += epsilon
        moved[1][i, d] -= epsilon
        slope = (by_hand(moved[0]) - by_hand(moved[1])) / (2 * epsilon)
        assert float(gradient[i, d]) == pytest.approx(slope, abs=1e-8)


def test_a_classifier_of_zeros_gets_no_gradient():
    weights = torch.zeros(3, 4)
    weights[0, 0] = 2.0
    _, gradient = spreading_loss(weights, torch.eye(3))
    assert torch.isfinite(gradient).all() and not gradient[1:].any()


def test_targets_are_the_mean_of_both_conditional_frequencies():
    labels = sp.csr_matrix(np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 0, 0]], np.float32))
    targets = conditional_means((labels.T @ labels).tocsr()).toarray()
    sets = [{0, 1, 2}, {0, 2}, {1}, set()]
    for i, j in product(range(4), range(4)):
        both = len(sets[i] & sets[j])
        expected = (both / len(sets[i]) + both / len(sets[j])) / 2 if both else 0.0
        assert targets[i, j] == pytest.approx(expected)


def test_the_term_adds_its_gradient_to_the_labels_of_the_batch_and_draws_of_too_many():
    _, labels = labelled_points(50)
    weights = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    for most, expected in ((100, [2, 5, 9]), (2, None)):
        term = SpreadingTerm(labels, weight=3.0, most_labels=most, seed=0)
        collected = RowGradients(30, 4)
        value = term(weights, np.array([2, 5, 9]), collected)
        rows = collected.touched_L.nonzero().reshape(-1)
        assert rows.tolist() == expected if expected else len(rows) == 2
        one, gradient = spreading_loss(weights[rows], torch.from_numpy(term.targets(rows.numpy())))
        assert value == pytest.approx(3.0 * one, rel=1e-5)
        torch.testing.assert_close(collected.weight_LD[rows], 3.0 * gradient)


def test_spreading_brings_angles_nearer_to_how_labels_occur_together():
    points, labels = labelled_points()
    term = SpreadingTerm(labels, weight=1.0, most_labels=100, seed=0)
    target = torch.from_numpy(term.targets(np.arange(30)))
    values = []
    for weight in (0.0, 300.0):
        made = built(GlasSearch, {"epochs": 10, "spreading_weight": weight}, points, labels)
        items = torch.from_numpy(made._index._items_LE[:, :-1])
        values.append(spreading_loss(items, target)[0])
    assert values[1] < 0.8 * values[0]


def test_a_wide_search_finds_the_largest_inner_products():
    points, labels = labelled_points()
    made = built(GlasSearch, {"epochs": 3}, points, labels)
    items, queries = made._index._items_LE, made.projected(points[:50])
    scores = queries @ items.T
    found = made.search(points[:50], 8, ef_search=1000)
    expected = np.argsort(-scores, axis=1)[:, :8]
    np.testing.assert_array_equal(found.ids, expected)
    np.testing.assert_allclose(found.scores, np.take_along_axis(scores, expected, 1), atol=1e-3)
