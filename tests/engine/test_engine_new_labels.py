"""Equation (21) and the edges of new labels for all labels at once, against loops over them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from learned_index.engine.new_labels import (
    MOST_CLUSTERS,
    N_SIMILAR,
    OWN_LOGIT,
    Examples,
    Known,
    known_means,
    largest_of_rows,
    new_classifiers,
    new_edges,
)
from learned_index.errors import InputError

D, K, N_LABELS = 12, 60, 70


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
        Known(means_KD, counts_K, weights[labels_K]), examples.vectors_nD, examples
    )
    np.testing.assert_allclose(found, np.array(expected), atol=1e-4)
    with pytest.raises(InputError, match="no known point has a label"):
        known_means(x, sp.csr_matrix(labels.shape, dtype=np.float32))


def test_a_label_does_not_depend_on_those_that_join_with_it(known, examples):
    x, labels = known
    labels_K, means, counts = known_means(x, labels)
    weights = np.random.default_rng(3).normal(size=(len(labels_K), D + 1))
    whole = new_classifiers(Known(means, counts, weights), examples.vectors_nD, examples)
    for number, each in enumerate(split(examples)):
        alone = Examples.of(each, np.array([len(each)]))
        found = new_classifiers(Known(means, counts, weights), each, alone)
        np.testing.assert_allclose(found[0], whole[number], atol=1e-5)


def test_edges_count_the_visits_of_the_examples(examples):
    rng, n_clusters, width = np.random.default_rng(4), 50, 8
    n = len(examples.vectors_nD)
    clusters = np.array([rng.permutation(n_clusters)[:width] for _ in range(n)])
    scores = rng.random((n, width)) ** 4
    clusters[0, 3:] = -1  # fewer were reached
    scores[1:5] = 0.0  # all scores of one label round to 0
    scores[6, 0] = 3.0  # counts 1
    edges = new_edges(clusters, scores, examples, n_clusters).toarray()
    owner = np.repeat(np.arange(examples.n_labels), examples.counts)
    for label in range(examples.n_labels):
        visits = np.zeros(n_clusters)
        for row in np.flatnonzero(owner == label):
            for cluster, score in zip(clusters[row], scores[row], strict=True):
                if cluster >= 0:
                    visits[cluster] += min(score, 1.0)
        kept = np.argsort(-visits, kind="stable")[:MOST_CLUSTERS]
        expected = np.zeros(n_clusters)
        if visits.max() > 0:
            expected[kept] = visits[kept] / visits.max()
            np.testing.assert_allclose(edges[label], expected, atol=1e-9)
        assert edges[label].max() == 1.0 and (edges[label] > 0).sum() <= MOST_CLUSTERS
    assert (edges[1] > 0).sum() == 1


def test_the_largest_of_a_row_are_the_first_of_equals():
    rng = np.random.default_rng(5)
    values = rng.integers(0, 6, size=(40, 30)).astype(np.float32)
    for count in (1, 7, 29, 30):
        expected = np.sort(np.argsort(-values, axis=1, kind="stable")[:, :count], axis=1)
        np.testing.assert_array_equal(largest_of_rows(values, count), expected)
