"""Pruning of learned edges, against a slow version in plain Python."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from learned_index import IndexConfig, LearnedGraphIndex, TrainingConfig
from learned_index.errors import InputError, ModelFormatError
from learned_index.index.graph import ClusterLabelGraph
from learned_index.index.pruning import prune_graph
from learned_index.index.search import Knobs, search_in_torch
from learned_index.persistence import load_arrays, save_arrays, write_manifest

N, L, D = 600, 60, 12


def planted(n=N, seed=0):
    centres = np.random.default_rng(7).normal(size=(L, D))
    rng = np.random.default_rng(seed)
    pairs = rng.integers(0, L, size=(n, 2))
    X = centres[pairs].sum(1) + 0.2 * rng.normal(size=(n, D))
    Y = sp.csr_matrix((np.ones(2 * n), (np.repeat(np.arange(n), 2), pairs.ravel())), shape=(n, L))
    return X.astype(np.float32), (Y > 0).astype(np.float32).tocsr()


@pytest.fixture(scope="module")
def fitted():
    X, Y = planted()
    config = IndexConfig(n_clusters=8, beam_width=3, edges_per_cluster=20)
    training = TrainingConfig(stage1_epochs=2, stage2_epochs=2, batch_size=64)
    return LearnedGraphIndex(config, training=training).fit(X, Y)


@pytest.fixture
def queries():
    return planted(40, seed=1)[0]


def random_graph(seed, *, C=6, M=9, n_labels=15, ties=False):
    """Rows of different lengths; some labels hang from no cluster at all."""
    rng = np.random.default_rng(seed)
    labels = np.full((C, M), -1, np.int32)
    for c in range(C):
        size = int(rng.integers(0, M + 1))
        labels[c, :size] = rng.permutation(n_labels - 2)[:size]
    logits = rng.normal(size=(C, M)).astype(np.float32) * 2
    if ties:
        logits = np.round(logits)
    return ClusterLabelGraph(
        torch.from_numpy(labels), n_labels, edge_logits_CM=torch.from_numpy(logits), scale=3.0
    )


def edges_of(graph):
    """{(cluster, label): weight} in plain Python."""
    weights = graph.weights().detach().numpy()
    found = {}
    for c, row in enumerate(graph.edge_labels_CM.tolist()):
        for m, label in enumerate(row):
            if label >= 0:
                assert (c, label) not in found
                found[c, label] = weights[c, m]
    return found


def pruned_slowly(graph, threshold, top_k, keep):
    edges = edges_of(graph)
    labels, logits = graph.edge_labels_CM.tolist(), graph.edge_logits_CM.detach().double().numpy()
    strength = {}
    for c, row in enumerate(labels):
        present = [m for m, label in enumerate(row) if label >= 0]
        total = sum(np.exp(logits[c, m]) for m in present)
        for m in present:
            strength[c, row[m]] = round(float(np.exp(logits[c, m]) / total), 6)
    chosen = set(edges)
    if threshold is not None:
        chosen = {edge for edge in chosen if edges[edge] >= np.float32(threshold)}
    if top_k is not None:
        for c in range(len(labels)):
            order = sorted((e for e in edges if e[0] == c), key=lambda e: (-strength[e], e[1]))
            chosen -= set(order[top_k:])
    if keep == "reachable":
        for label in {edge[1] for edge in edges} - {edge[1] for edge in chosen}:
            candidates = [edge for edge in edges if edge[1] == label]
            chosen.add(min(candidates, key=lambda e: (-strength[e], e[0])))
    return {edge: edges[edge] for edge in chosen}


@pytest.mark.parametrize("keep", ["reachable", "none"])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(
    ("threshold", "top_k"),
    [(0.3, None), (1.0, None), (0.0, None), (None, 1), (None, 3), (None, 99), (0.5, 2)],
)
def test_pruned_edges_are_those_of_the_slow_version(threshold, top_k, ties, keep):
    for seed in range(8):
        graph = random_graph(seed, ties=ties)
        before = edges_of(graph)
        pruned, report = prune_graph(graph, threshold=threshold, top_k=top_k, keep=keep)
        expected = pruned_slowly(graph, threshold, top_k, keep)
        found = edges_of(pruned)
        assert found == expected, "the edges, and their weights bit for bit"
        assert edges_of(graph) == before, "the graph itself is as it was"
        # what the report says
        assert (report.n_edges_before, report.n_edges) == (len(before), len(expected))
        assert report.dropped_share == pytest.approx(1 - len(expected) / max(1, len(before)))
        assert report.weight_share == pytest.approx(
            sum(map(float, expected.values())) / sum(map(float, before.values()))
        )
        rows = [sum(edge[0] == c for edge in expected) for c in range(len(graph.edge_labels_CM))]
        assert report.width == pruned.edge_labels_CM.shape[1] == max(1, *rows)
        assert report.n_unreachable_before == 15 - len({label for _, label in before})
        assert report.n_unreachable == 15 - len({label for _, label in expected})
        bare = pruned_slowly(graph, threshold, top_k, "none")
        lost = {label for _, label in before} - {label for _, label in bare}
        assert report.n_rescued == (len(lost) if keep == "reachable" else 0)


def test_top_k_tells_edges_apart_whose_weights_are_both_cut_at_1():
    graph = ClusterLabelGraph(
        torch.tensor([[0, 1, 2]]), 3, edge_logits_CM=torch.tensor([[1.0, 2.0, 0.0]]), scale=50.0
    )
    assert graph.weights().tolist() == [[1.0, 1.0, 1.0]]
    pruned, _ = prune_graph(graph, top_k=1, keep="none")
    assert pruned.edge_labels_CM.tolist() == [[1]]


def test_a_fixed_graph_stays_one():
    graph = ClusterLabelGraph.from_partition(np.array([0, 0, 1, 1, 1]), 2)
    pruned, report = prune_graph(graph, top_k=1, keep="none")
    assert pruned.edge_weights_CM is None and edges_of(pruned) == {(0, 0): 1.0, (1, 2): 1.0}
    assert report.n_unreachable == 3
    whole, report = prune_graph(graph, top_k=1)
    assert edges_of(whole) == edges_of(graph) and report.n_rescued == 3


def test_a_label_that_is_still_reached_has_the_score_it_had(fitted, queries):
    pruned = fitted.prune(threshold=0.5)
    assert 0 < pruned.graph.pruning.n_edges < pruned.graph.pruning.n_edges_before
    wide = {"k": L, "beam_width": 8, "shortlist_size": L}
    before, after = fitted.search(queries, **wide), pruned.search(queries, **wide)
    same = 0
    assert (before.ids[:, 0] == after.ids[:, 0]).mean() > 0.8
    for old_ids, old, new_ids, new in zip(
        before.ids, before.scores, after.ids, after.scores, strict=True
    ):
        scores = dict(zip(old_ids.tolist(), old.tolist(), strict=True))
        for label, score in zip(new_ids.tolist(), new.tolist(), strict=True):
            if label >= 0:
                assert score <= scores[label], "fewer paths never score more"
                same += score == scores[label]
    assert same > 0.5 * (after.ids >= 0).sum()


def test_pruning_nothing_changes_no_answer(fitted, queries):
    for arguments in ({"threshold": 0.0}, {"top_k": 20}):
        pruned = fitted.prune(**arguments)
        left, right = fitted.search(queries, k=10), pruned.search(queries, k=10)
        np.testing.assert_array_equal(left.ids, right.ids)
        np.testing.assert_array_equal(left.scores, right.scores)
        assert pruned.graph.pruning.dropped_share == 0.0
        assert pruned.graph.pruning.weight_share == 1.0


def test_both_searches_agree_on_a_pruned_index(fitted, queries):
    pruned = fitted.prune(top_k=4, keep="none")
    assert pruned.graph.edge_labels_CM.shape == (8, 4)
    fast = pruned.search(queries, k=15)
    slow = search_in_torch(pruned, queries, Knobs(15, 3, 2000))
    np.testing.assert_array_equal(fast.ids, slow.ids)
    np.testing.assert_allclose(fast.scores, slow.scores, rtol=1e-5)


def test_labels_without_edges_are_never_found_and_rows_are_padded(fitted, queries):
    pruned = fitted.prune(top_k=1, keep="none")
    ids = pruned.search(queries, k=L, beam_width=8).ids
    assert set(ids[ids >= 0].tolist()) <= set(pruned.graph.edge_labels_CM.ravel().tolist())
    assert pruned.graph.pruning.n_unreachable >= L - 8 and (ids[:, -1] == -1).all()


def test_the_original_is_untouched_also_when_the_copy_is_trained(fitted, queries):
    before = {name: tensor.clone() for name, tensor in fitted.state_dict().items()}
    pruned = fitted.prune(top_k=5)
    weights = pruned.graph.edge_weights_CM.clone()
    X, Y = planted(64, seed=2)
    optimiser = torch.optim.SGD(pruned.parameters(), lr=0.1)
    losses = []
    for _ in range(4):
        loss = pruned(torch.from_numpy(X), Y).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0], "clusters and classifiers go on training"
    assert torch.equal(pruned.graph.edge_weights_CM, weights), "its edges do not"
    for name, tensor in fitted.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    pruned.search(queries, k=3)


def test_an_untrained_label_does_not_break_training():
    """A positive that no edge reaches has no teacher; its point still trains."""
    X, Y = planted(200)
    config = IndexConfig(n_clusters=8, beam_width=3, edges_per_cluster=20)
    index = LearnedGraphIndex(config).build_partition(X, Y).build_graph(X, Y)
    loss = index.prune(top_k=1, keep="none")(torch.from_numpy(X[:32]), Y[:32]).loss
    loss.backward()
    assert torch.isfinite(loss)


def test_fit_and_build_graph_make_new_edges(fitted):
    X, Y = planted()
    again = fitted.prune(top_k=2).build_graph(X, Y)
    assert again.graph.pruning is None and again.graph.edge_logits_CM is not None
    refitted = fitted.prune(top_k=2).fit(X, Y)
    np.testing.assert_array_equal(refitted.search(X[:9]).ids, fitted.search(X[:9]).ids)
    assert refitted.graph.pruning is None


def test_pruning_again_starts_from_what_is_left(fitted):
    once = fitted.prune(threshold=0.02, keep="none")
    twice = once.prune(top_k=3, keep="none")
    direct = fitted.prune(threshold=0.02, top_k=3, keep="none")
    assert edges_of(twice.graph) == edges_of(direct.graph)
    assert twice.is_graph_learned and twice.fixed_tree().graph.pruning is None


def test_saved_and_loaded(fitted, queries, tmp_path):
    pruned = fitted.prune(top_k=8)
    pruned.save_pretrained(tmp_path / "index")
    loaded = LearnedGraphIndex.from_pretrained(tmp_path / "index")
    assert loaded.graph.pruning == pruned.graph.pruning
    assert loaded.is_graph_learned
    left, right = pruned.search(queries, k=9), loaded.search(queries, k=9)
    np.testing.assert_array_equal(left.ids, right.ids)
    np.testing.assert_array_equal(left.scores, right.scores)
    plain = tmp_path / "plain"
    fitted.save_pretrained(plain)
    sizes = [(p / "index.safetensors").stat().st_size for p in (tmp_path / "index", plain)]
    assert sizes[0] < sizes[1]


def test_weights_of_another_shape_are_refused(fitted, tmp_path):
    """The compiled search does not check bounds."""
    directory = tmp_path / "index"
    fitted.prune(top_k=5).save_pretrained(directory)
    arrays = load_arrays(directory / "index.safetensors")
    arrays["graph.edge_weights_CM"] = arrays["graph.edge_weights_CM"][:, :-1].copy()
    manifest = json.loads((directory / "manifest.json").read_text())
    save_arrays(directory / "index.safetensors", arrays)
    (directory / "manifest.json").unlink()
    write_manifest(directory, kind=manifest["kind"], config=manifest["config"])
    with pytest.raises(ModelFormatError, match="edge_weights_CM"):
        LearnedGraphIndex.from_pretrained(directory)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "nothing says what to prune"),
        ({"threshold": 1.5}, r"expected 0\.0 to 1\.0"),
        ({"threshold": float("nan")}, "finite number"),
        ({"top_k": 0}, "at least 1"),
        ({"top_k": 2, "keep": "some"}, "'reachable' or 'none'"),
    ],
)
def test_unusable_arguments(fitted, arguments, message):
    with pytest.raises(InputError, match=message):
        fitted.prune(**arguments)
