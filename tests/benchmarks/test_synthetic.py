"""Synthetic instances: what they promise, and statistics of trained classifiers."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import synthetic as synthetic_module
from synthetic import asymmetric_instance, unit_rows, write_instance

from learned_index.data import open_dataset
from learned_index.errors import InputError

SIZE = {"n_labels": 3000, "dim": 128}


def centroids(instance):
    return unit_rows(np.asarray(instance.labels_NL.T @ instance.vectors_ND))


def cosines(instance):
    """Of each label's classifier with the centroid of its points."""
    return np.einsum("ld,ld->l", unit_rows(instance.label_weights_LD), centroids(instance))


@pytest.fixture(scope="module")
def skewed():
    return asymmetric_instance(**SIZE, seed=1)


@pytest.fixture(scope="module")
def plain():
    return asymmetric_instance(**SIZE, seed=1, asymmetry=0.0)


def recall_of_labels(instance, weights, bias, k=100):
    scores = instance.test_vectors_QD @ weights.T + bias
    best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    truth = instance.test_labels_QL
    found = [np.isin(truth[row].indices, best[row]).mean() for row in range(truth.shape[0])]
    return float(np.mean(found))


def test_shapes_and_kinds(skewed):
    assert skewed.vectors_ND.shape == (6000, 128) and skewed.test_vectors_QD.shape == (2000, 128)
    assert skewed.labels_NL.shape == (6000, 3000) and skewed.test_labels_QL.shape == (2000, 3000)
    for array in (skewed.vectors_ND, skewed.label_weights_LD, skewed.label_bias_L):
        assert array.dtype == np.float32 and np.isfinite(array).all()
    np.testing.assert_allclose(np.linalg.norm(skewed.vectors_ND, axis=1), 1, rtol=1e-5)
    for labels in (skewed.labels_NL, skewed.test_labels_QL):
        assert labels.has_canonical_format and (labels.data == 1).all()
        assert np.diff(labels.indptr).min() >= 1
        assert labels.nnz / labels.shape[0] == pytest.approx(3, abs=0.25)


def test_every_label_has_a_point_and_frequencies_are_uneven(skewed):
    counts = np.diff(skewed.labels_NL.tocsc().indptr)
    assert counts.min() >= 1
    assert np.median(counts) <= 4 and counts.max() > 40 * np.median(counts)


def test_few_points_cover_what_they_can():
    few = asymmetric_instance(500, 16, n_points=200, n_queries=5, seed=3)
    assert (np.diff(few.labels_NL.tocsc().indptr) > 0).sum() > 350
    assert np.isfinite(few.label_weights_LD).all()


def test_equal_arguments_give_equal_bits_and_another_seed_others(skewed):
    again = asymmetric_instance(**SIZE, seed=1)
    other = asymmetric_instance(**SIZE, seed=2)
    for name in ("vectors_ND", "test_vectors_QD", "label_weights_LD", "label_bias_L"):
        np.testing.assert_array_equal(getattr(again, name), getattr(skewed, name))
        assert not np.array_equal(getattr(other, name), getattr(skewed, name))
    np.testing.assert_array_equal(again.labels_NL.indices, skewed.labels_NL.indices)


def test_without_asymmetry_classifiers_are_centroids(plain, skewed):
    np.testing.assert_allclose(plain.label_weights_LD, centroids(plain), atol=2e-5)
    assert (plain.label_bias_L == 0).all()
    # Only the classifiers differ.
    np.testing.assert_array_equal(plain.vectors_ND, skewed.vectors_ND)


def test_classifiers_are_as_far_from_centroids_as_trained_ones(skewed):
    """Figures of a trained index: see the module."""
    counts = np.diff(skewed.labels_NL.tocsc().indptr)
    cosine = cosines(skewed)
    assert np.median(cosine[counts == 1]) == pytest.approx(0.79, abs=0.06)
    assert np.median(cosine[counts > 20]) == pytest.approx(0.65, abs=0.12)
    norms = np.linalg.norm(skewed.label_weights_LD, axis=1)
    low, middle, high = np.percentile(norms, (5, 50, 99))
    assert 14 < low < 17 and 16 < middle < 20 and 20 < high < 28
    assert np.corrcoef(norms, np.log(counts))[0, 1] > 0.6
    assert np.median(skewed.label_bias_L) == pytest.approx(-9.2, abs=0.2)


def test_queries_are_near_queries_and_far_from_classifiers(skewed):
    queries = skewed.test_vectors_QD[:300]
    near = (queries @ skewed.vectors_ND.T).max(axis=1)
    classifiers = np.sort(queries @ unit_rows(skewed.label_weights_LD).T, axis=1)[:, ::-1]
    centres = (queries @ centroids(skewed).T).max(axis=1)
    assert np.median(near) == pytest.approx(0.58, abs=0.12)
    assert np.median(classifiers[:, 0]) == pytest.approx(0.44, abs=0.1)
    assert np.median(classifiers[:, 0]) < np.median(centres) - 0.1
    assert abs(classifiers.mean()) < 0.02


def test_asymmetry_moves_classifiers_steadily():
    medians = [
        np.median(cosines(asymmetric_instance(800, 64, n_queries=2, asymmetry=value)))
        for value in (0, 0.3, 0.6, 1)
    ]
    assert np.diff(medians).max() < -0.01


def test_classifiers_find_the_labels(skewed):
    chance = 100 / 3000
    assert recall_of_labels(skewed, skewed.label_weights_LD, skewed.label_bias_L) > 12 * chance


def test_memory_is_no_more_than_twice_the_result(monkeypatch):
    monkeypatch.setattr(synthetic_module, "BLOCK_FLOATS", 2**16)
    tracemalloc.start()
    try:
        instance = asymmetric_instance(20_000, 64, n_queries=10)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    labels = instance.labels_NL
    size = sum(
        array.nbytes
        for array in (
            instance.vectors_ND, instance.label_weights_LD, labels.data, labels.indices,
            labels.indptr,
        )
    )  # fmt: skip
    assert peak < 2 * size


@pytest.mark.parametrize(
    "change",
    [{"n_labels": 1}, {"dim": 1}, {"n_points": 0}, {"n_queries": 0}, {"asymmetry": 1.1},
     {"labels_per_point": 0.5}, {"asymmetry": float("nan")}],
)  # fmt: skip
def test_wrong_sizes_are_refused(change):
    with pytest.raises(InputError, match="got"):
        asymmetric_instance(**{"n_labels": 10, "dim": 4, **change})


def test_a_written_folder_reads_as_data(tmp_path):
    instance = asymmetric_instance(40, 8, n_points=90, n_queries=7)
    folder = write_instance(instance, tmp_path / "data")
    assert folder.splits == ("train", "test") and folder.format == "npz"
    train = folder.read("train")
    np.testing.assert_array_equal(train.features.toarray(), instance.vectors_ND)
    assert (train.labels != instance.labels_NL).nnz == 0
    np.testing.assert_array_equal(
        np.load(tmp_path / "data" / "label_weights.npy"), instance.label_weights_LD
    )
    with pytest.raises(InputError, match="not empty"):
        write_instance(instance, tmp_path / "data")


def test_the_command_writes_a_folder(tmp_path, monkeypatch):
    arguments = ["--labels", "60", "--dim", "8", "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", ["synthetic", *arguments, "--queries", "9", "--points", "70"])
    synthetic_module.main()
    folder = open_dataset(tmp_path / "out")
    assert folder.read("test").n_points == 9 and folder.read("train").n_points == 70
    with pytest.raises(InputError, match="not empty"):
        synthetic_module.main()
