"""Equation (21) and the edges of new labels for all labels at once, against loops over them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from learned_index.engine.new_edges import (
    CONCENTRATION,
    ENOUGH_LABELS,
    MOST_CLUSTERS,
    Background,
    background,
    drawn_rows,
    new_edges,
    strongest_weights,
    visits_of,
)
from learned_index.engine.new_labels import (
    N_SIMILAR,
    OWN_LOGIT,
    Examples,
    Known,
    known_means,
    new_classifiers,
)
from learned_index.engine.new_steps import N_STEPS, RATE, stepped
from learned_index.errors import InputError

D, K, N_LABELS, N_CLUSTERS = 12, 60, 70, 50


@pytest.fixture(scope="module")
def known() -> tuple[np.ndarray, sp.csr_matrix]:
    rng = np.random.default_rng(0)
    has = sp.random(400, N_LABELS, 0.04, format="lil", random_state=1, dtype=np.float32)
    has[:, K:] = 0  # the last labels have no point
    labels = has.tocsr()
    labels.data[:] = 1
    labels.eliminate_zeros()
    return rng.normal(size=(400, D)).astype(np.float32) / np.sqrt(D, dtype=np.float32), labels


@pytest.fixture(scope="module")
def examples() -> Examples:
    counts = np.array([1, 4, 2, 1, 7])
    x = np.random.default_rng(2).normal(size=(counts.sum(), D)).astype(np.float32) / np.sqrt(D)
    return Examples.of(x.astype(np.float32), counts)


def split(examples: Examples) -> list[np.ndarray]:
    return np.split(examples.vectors_nD, np.cumsum(examples.counts)[:-1])


def test_classifiers_are_those_of_a_loop_over_the_labels(known, examples):
    x, labels = known
    weights = np.random.default_rng(3).normal(size=(N_LABELS, D + 1)) - 2.0
    table = labels.toarray() > 0
    mine = [label for label in range(N_LABELS) if table[:, label].any()]
    means = np.array([x[table[:, label]].mean(axis=0, dtype=np.float64) for label in mine])
    counts = np.array([table[:, label].sum() for label in mine])

    def row(mean, count):
        return np.array([*mean, 1.0, np.log(1 + count)])

    features = np.array([row(*pair) for pair in zip(means, counts, strict=True)])
    ridge = features.T @ features + 10.0 * np.eye(D + 2)
    map_FO = np.linalg.inv(ridge) @ features.T @ weights[mine]
    expected = []
    for each in split(examples):
        mean = each.astype(np.float64).mean(axis=0)
        made = row(mean, len(each)) @ map_FO
        cosines = means @ mean / np.linalg.norm(means, axis=1) / np.linalg.norm(mean)
        near = np.argsort(-cosines)[:N_SIMILAR]
        share = np.exp(cosines[near] / 0.05) / np.exp(cosines[near] / 0.05).sum()
        for label, part in zip(near, share, strict=True):
            made = made + part * (weights[mine][label] - features[label] @ map_FO)
        logit = mean @ made[:-1] + made[-1]
        made[-1] += max(0.0, OWN_LOGIT - logit)
        expected.append(made)
    labels_K, means_KD, counts_K = known_means(x, labels)
    assert labels_K.tolist() == mine and counts_K.tolist() == counts.tolist()
    np.testing.assert_allclose(means_KD, means, atol=1e-6)
    found = new_classifiers(
        Known(means_KD, counts_K, weights[labels_K].__getitem__), examples.vectors_nD, examples
    )
    np.testing.assert_allclose(found, np.array(expected), atol=1e-4)
    with pytest.raises(InputError, match="no known point has a label"):
        known_means(x, sp.csr_matrix(labels.shape, dtype=np.float32))


def test_a_label_does_not_depend_on_those_that_join_with_it(known, examples):
    x, labels = known
    labels_K, means, counts = known_means(x, labels)
    weights = np.random.default_rng(3).normal(size=(len(labels_K), D + 1))
    whole = new_classifiers(
        Known(means, counts, weights.__getitem__), examples.vectors_nD, examples
    )
    for number, each in enumerate(split(examples)):
        alone = Examples.of(each, np.array([len(each)]))
        found = new_classifiers(Known(means, counts, weights.__getitem__), each, alone)
        np.testing.assert_allclose(found[0], whole[number], atol=1e-5)


@pytest.fixture(scope="module")
def routed(examples) -> tuple[np.ndarray, np.ndarray]:
    """Clusters and scores of the examples' beams."""
    rng, width = np.random.default_rng(4), 8
    n = len(examples.vectors_nD)
    clusters = np.array([rng.permutation(N_CLUSTERS)[:width] for _ in range(n)])
    scores = rng.random((n, width)) ** 4
    clusters[0, 3:] = -1  # fewer were reached
    scores[1:5] = 0.0  # all scores of one label round to 0
    scores[6, 0] = 3.0  # counts 1
    return clusters, scores


def test_edges_count_the_visits_of_the_examples(examples, routed):
    clusters, scores = routed
    rng = np.random.default_rng(6)
    all_C, strongest = 200 * rng.random(N_CLUSTERS), rng.random(examples.n_labels)
    edges = new_edges(visits_of(*routed, N_CLUSTERS), examples, all_C, strongest).toarray()
    owner = np.repeat(np.arange(examples.n_labels), examples.counts)
    for label in range(examples.n_labels):
        visits = np.zeros(N_CLUSTERS)
        for row in np.flatnonzero(owner == label):
            for cluster, score in zip(clusters[row], scores[row], strict=True):
                if cluster >= 0:
                    visits[cluster] += min(score, 1.0)
        kept = np.argsort(-visits, kind="stable")[:MOST_CLUSTERS]
        if visits.max() > 0:
            shares = visits[kept] / (all_C + visits)[kept]
            expected = np.zeros(N_CLUSTERS)
            relative = (shares / shares.max()) ** CONCENTRATION
            expected[kept] = strongest[label] * np.where(relative > 1e-3, relative, 0)
            np.testing.assert_allclose(edges[label], expected, atol=1e-9)
        assert edges[label].max() == pytest.approx(strongest[label])
        assert 0 < (edges[label] > 0).sum() <= MOST_CLUSTERS


def test_the_strongest_edge_is_that_of_known_labels_with_as_many_points():
    rng = np.random.default_rng(9)
    counts = np.concatenate([np.zeros(30, int), np.ones(300, int), rng.integers(2, 60, 400)])
    strongest = np.minimum(1, 0.1 * (1 + counts) * rng.random(len(counts))).astype(np.float32)
    strongest[40:60] = 0  # without an edge
    asked = np.array([1, 500, 1, 20, 0])
    found = strongest_weights(counts, strongest, asked)
    usable = np.flatnonzero((strongest > 0) & (counts > 0))
    ones = usable[counts[usable] == 1]
    most = usable[np.argsort(counts[usable], kind="stable")[-ENOUGH_LABELS:]]
    assert len(ones) > ENOUGH_LABELS
    for got, labels in ((found[0], ones), (found[2], ones), (found[1], most)):
        assert got == pytest.approx(np.exp(np.log(strongest[labels]).mean()), rel=1e-4)
    near = usable[np.argsort(abs(counts[usable] - 20), kind="stable")[:ENOUGH_LABELS]]
    assert found[3] == pytest.approx(np.exp(np.log(strongest[near]).mean()), rel=0.15)
    assert found[0] < found[3] <= found[1] <= 1 and found[4] < found[3]
    assert strongest_weights(counts, np.ones(len(counts)), asked).tolist() == [1.0] * 5
    assert strongest_weights(counts[:30], strongest[:30], asked).tolist() == [1.0] * 5


def test_what_clusters_get_is_told_from_a_sample(known, routed):
    x, labels = known
    rng = np.random.default_rng(7)
    clusters = np.array([rng.permutation(N_CLUSTERS)[:4] for _ in x])
    scores = rng.random(clusters.shape)
    counts = rng.integers(0, 90, N_LABELS)
    rows = drawn_rows(labels)
    assert (np.diff(labels.indptr)[rows] > 0).all() and len(rows) == (labels.sum(axis=1) > 0).sum()
    rows = rows[::3]
    beside = background(
        x[rows], visits_of(clusters, scores, N_CLUSTERS)[rows], labels[rows], labels, counts
    )
    expected, pairs = np.zeros(N_CLUSTERS), 0
    for row in rows:
        n = int(labels[row].sum())
        pairs += n
        for cluster, score in zip(clusters[row], scores[row], strict=True):
            expected[cluster] += n * score
    assert beside.each == pytest.approx(counts.sum() / pairs)
    np.testing.assert_allclose(beside.all_C, expected * counts.sum() / pairs)


def curvature(logit, path, relevant, x) -> float:
    p = torch.sigmoid(logit)
    if relevant:
        return float(p * (1 - p) * (1 + x @ x))
    push = path * p * (1 - p) / (1 - path * p)
    return float(push * (abs(1 - 2 * p) + push) * (1 + x @ x))


def test_steps_follow_the_gradient_of_the_loss_of_each_label(known, examples, routed):
    """The oracle: torch's gradient of equation 7, label by label."""
    x, _ = known
    rng = np.random.default_rng(8)
    clusters = np.array([rng.permutation(N_CLUSTERS)[:10] for _ in x])
    visits_SC = visits_of(clusters, rng.random(clusters.shape), N_CLUSTERS)
    edges = new_edges(
        visits_of(*routed, N_CLUSTERS), examples, rng.random(N_CLUSTERS), np.full(5, 0.6)
    )
    beside = Background(x, visits_SC, np.ones(N_CLUSTERS), 3.0)
    made = rng.normal(size=(examples.n_labels, D + 1))
    found = stepped(made, edges, examples.vectors_nD, examples, beside)
    dense, visits = edges.toarray(), visits_SC.toarray()
    for label, own in enumerate(split(examples)):
        row = torch.tensor(made[label], requires_grad=True)
        paths = torch.tensor((visits * dense[label]).max(axis=1))
        for _ in range(N_STEPS):
            w, b = row[:-1], row[-1]
            loss = -torch.nn.functional.logsigmoid(torch.tensor(own).double() @ w + b).sum()
            p = paths * torch.sigmoid(torch.tensor(x).double() @ w + b)
            loss = loss - 3.0 * torch.log(1 - p).sum()
            (gradient,) = torch.autograd.grad(loss, row)
            bends = sum(curvature(v @ row.detach()[:-1] + row.detach()[-1], 1.0, True, v)
                        for v in torch.tensor(own).double())  # fmt: skip
            bends += 3.0 * sum(
                curvature(v @ row.detach()[:-1] + row.detach()[-1], float(y), False, v)
                for v, y in zip(torch.tensor(x).double(), paths, strict=True)
            )
            row = (row - gradient / (1 / RATE + bends)).detach()
            mean = torch.tensor(own).double().mean(0)
            first = float(mean @ made[label, :-1] + made[label, -1])
            row[-1] += max(0.0, first - float(mean @ row[:-1] + row[-1]))
            row.requires_grad_()
        np.testing.assert_allclose(found[label], row.detach().numpy(), atol=2e-4)
    assert np.abs(found - made).max() > 0.05
