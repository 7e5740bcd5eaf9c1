"""Balanced clustering: exact sizes, planted clusters, sparse == dense, seeds and threads."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from learned_index.errors import InputError
from learned_index.index.build.clustering import (
    balanced_partition,
    label_centroids,
    sparse_label_centroids,
)


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@given(n_labels=st.integers(1, 60), data=st.data())
@settings(max_examples=60, deadline=None)
def test_cluster_sizes_differ_by_one_at_most(n_labels, data):
    n_clusters = data.draw(st.integers(1, n_labels))
    rows = np.random.default_rng(n_labels).normal(size=(n_labels, 4)).astype(np.float32)
    sizes = np.bincount(balanced_partition([rows], n_clusters), minlength=n_clusters)
    assert sizes.sum() == n_labels
    assert sizes.max() - sizes.min() <= 1


def test_equal_rows_are_split_evenly_too():
    sizes = np.bincount(balanced_partition([np.ones((40, 3), np.float32)], 8))
    assert sizes.tolist() == [5] * 8


def test_planted_clusters_are_found():
    rng = np.random.default_rng(1)
    centres = unit(rng.normal(size=(8, 32)))
    planted = np.repeat(np.arange(8), 25)
    rows = unit(centres[planted] + 0.05 * rng.normal(size=(200, 32)))
    found = balanced_partition([rows], 8, seed=3)
    for c in range(8):
        assert len(set(planted[found == c])) == 1


def test_sparse_and_dense_features_give_the_same_partition():
    rng = np.random.default_rng(2)
    dense = unit(rng.random((90, 40)) * (rng.random((90, 40)) < 0.2) + 1e-3 * np.eye(90, 40))
    assert np.array_equal(
        balanced_partition([dense], 9), balanced_partition([sp.csr_matrix(dense)], 9)
    )
    split = [dense[:, :15].copy(), sp.csr_matrix(dense[:, 15:])]
    assert np.array_equal(balanced_partition([dense], 9), balanced_partition(split, 9))


def test_partition_depends_on_the_seed_and_not_on_the_threads(with_threads):
    rows = unit(np.random.default_rng(0).normal(size=(6000, 8)))
    with with_threads(1):
        one = balanced_partition([rows], 12, seed=5)
    with with_threads(2):
        two = balanced_partition([rows], 12, seed=5)
    assert np.array_equal(one, two)
    assert not np.array_equal(one, balanced_partition([rows], 12, seed=6))


@pytest.mark.parametrize("n_clusters", [0, 11])
def test_impossible_numbers_of_clusters_are_refused(n_clusters):
    with pytest.raises(InputError, match="expected 1 to 10"):
        balanced_partition([np.eye(10, dtype=np.float32)], n_clusters)


def test_centroids_equal_the_plain_loop_in_chunks_of_any_size():
    rng = np.random.default_rng(4)
    labels = sp.csr_matrix((rng.random((30, 9)) < 0.3).astype(np.float32))
    labels[:, 8] = 0
    labels.eliminate_zeros()
    vectors = rng.normal(size=(30, 5))
    expected = np.zeros((9, 5))
    for i, j in zip(*labels.nonzero(), strict=True):
        expected[j] += vectors[i] / np.linalg.norm(vectors[i])
    expected[:8] /= np.linalg.norm(expected[:8], axis=1, keepdims=True)
    for chunk in (7, 1000):
        got = label_centroids(labels, vectors, chunk_rows=chunk)
        np.testing.assert_allclose(got, expected, atol=1e-5)
    got = sparse_label_centroids(labels, sp.csr_matrix(vectors)).toarray()
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_sparse_centroids_keep_the_largest_features():
    labels = sp.csr_matrix(np.ones((1, 2), np.float32))
    features = sp.csr_matrix(np.array([[0.1, 0.9, 0.0, 0.5]], np.float32))
    kept = sparse_label_centroids(labels, features, max_features=2).toarray()
    assert (kept > 0).tolist() == [[False, True, False, True]] * 2
    np.testing.assert_allclose(np.linalg.norm(kept, axis=1), 1.0, rtol=1e-6)
