"""Router, beam with teacher forcing, cluster-label graph."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from learned_index.errors import InputError
from learned_index.index.graph import ClusterLabelGraph
from learned_index.index.router import ClusterRouter
from learned_index.kernels.beam import best_clusters


def test_router_scores_follow_equation_2():
    router = ClusterRouter(6, 3, scale=2.5)
    torch.nn.init.normal_(router.weight_CD, generator=torch.Generator().manual_seed(0))
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(1))
    logits = x.double() @ router.weight_CD.double().T
    e = torch.exp(logits)
    expected = torch.minimum(torch.ones(()), 2.5 * e / e.sum(1, keepdim=True))
    torch.testing.assert_close(router(x).double(), expected, rtol=1e-5, atol=1e-6)


def test_teacher_forcing_adds_each_missing_cluster_once():
    scores = torch.tensor([[0.9, 0.8, 0.1, 0.0], [0.1, 0.2, 0.3, 0.4]])
    teacher = torch.tensor([[1, 3, 3], [2, -1, -1]])
    beam = best_clusters(scores, 2, teacher)
    assert [sorted(c for c in row if c >= 0) for row in beam.tolist()] == [[0, 1, 3], [2, 3]]
    assert best_clusters(scores, 2, None).shape == (2, 2)
    assert best_clusters(scores, 99, None).shape == (2, 4)


def test_partition_graph_holds_each_label_once_with_weight_one():
    cluster = np.array([1, 0, 1, 2, 1])
    graph = ClusterLabelGraph.from_partition(cluster, 3)
    weights = graph.weights()
    for c in range(3):
        labels = graph.edge_labels_CM[c]
        assert sorted(labels[labels >= 0].tolist()) == np.flatnonzero(cluster == c).tolist()
        assert weights[c].tolist() == [1.0 if label >= 0 else 0.0 for label in labels]
    assert graph.strongest_cluster().tolist() == cluster.tolist()


def make(counts, cluster, **options):
    defaults = {"edges_per_cluster": 2, "scale": 1.0, "init": "counts", "seed": 0}
    return ClusterLabelGraph.from_counts(
        sp.csr_matrix(np.array(counts, np.float32)), np.array(cluster), **{**defaults, **options}
    )


def test_graph_keeps_the_strongest_counts_and_every_label():
    graph = make([[5, 3, 1, 0], [4, 2, 0, 0]], [0, 0, 0, 1])
    rows = [set(r) for r in graph.edge_labels_CM.tolist()]
    assert set.union(*rows) - {-1} == {0, 1, 2, 3}
    assert 3 in rows[1]  # never visited: back in its stage-1 cluster
    assert 2 in rows[0]  # visited cluster 0 only


def test_edges_start_proportional_to_the_counts():
    graph = make([[6, 2, 0], [0, 1, 1]], [0, 0, 1], edges_per_cluster=3)
    weights = graph.weights()[0]
    by_label = dict(zip(graph.edge_labels_CM[0].tolist(), weights.tolist(), strict=True))
    assert by_label[0] / by_label[1] == pytest.approx(3.0, rel=1e-3)


def test_edge_weights_follow_equation_4_with_pads():
    logits = torch.tensor([[0.3, -1.0, 2.0], [0.0, 0.0, 0.0]])
    labels = torch.tensor([[4, 1, -1], [-1, -1, -1]], dtype=torch.int32)
    graph = ClusterLabelGraph(labels, 5, edge_logits_CM=logits, scale=1.5)
    e = torch.exp(logits[0, :2])
    expected = torch.minimum(torch.ones(()), 1.5 * e / e.sum())
    torch.testing.assert_close(graph.weights()[0, :2], expected)
    assert graph.weights()[0, 2] == 0
    assert graph.weights()[1].tolist() == [0, 0, 0]
    graph.weights().sum().backward()
    assert torch.isfinite(graph.edge_logits_CM.grad).all()


def test_uniform_start_is_seeded_and_lies_in_the_unit_interval():
    a, b, c = (make([[1, 1], [1, 1]], [0, 1], init="uniform", seed=s) for s in (1, 1, 2))
    assert torch.equal(a.edge_logits_CM, b.edge_logits_CM)
    assert not torch.equal(a.edge_logits_CM, c.edge_logits_CM)
    assert 0 <= float(a.edge_logits_CM.min()) <= float(a.edge_logits_CM.max()) < 1


def test_a_graph_too_small_for_its_labels_is_refused():
    with pytest.raises(InputError, match="raise edges_per_cluster"):
        make([[1, 1, 1]], [0, 0, 0], edges_per_cluster=2)


def test_random_graphs_reach_every_label():
    rng = np.random.default_rng(0)
    for _ in range(20):
        counts = rng.random((5, 23)) * (rng.random((5, 23)) < 0.3)
        graph = make(counts, rng.integers(0, 5, 23), edges_per_cluster=5)
        ids = graph.edge_labels_CM
        assert set(ids[ids >= 0].tolist()) == set(range(23))
        for row in ids.tolist():
            kept = [label for label in row if label >= 0]
            assert len(kept) == len(set(kept))


def test_labels_that_are_put_back_start_at_their_counts():
    """Few edges, so that most labels are put back: with the count that the matrix has there."""
    rng = np.random.default_rng(4)
    counts = rng.integers(0, 4, (6, 30)).astype(np.float32)
    counts[:, ::7] = 0
    graph = make(counts, rng.integers(0, 6, 30), edges_per_cluster=6)
    labels, logits = graph.edge_labels_CM.numpy(), graph.edge_logits_CM.detach().numpy()
    assert set(labels[labels >= 0].tolist()) == set(range(30))
    there = np.take_along_axis(counts, np.maximum(labels, 0), 1)
    expected = np.log(np.maximum(there, 1e-3))
    np.testing.assert_allclose(logits[labels >= 0], expected[labels >= 0], rtol=1e-6)
