"""The baselines that learn from training points: nearest neighbours and one-vs-all."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from compare_cases import labelled_points

from learned_index.baselines.knn import NeighbourVotes, TfidfNeighbours
from learned_index.baselines.ova import OneVsAll
from learned_index.baselines.ova_step import Step
from learned_index.errors import InputError, NotFittedError


def shuffled_rows(labels):
    """The same labels, indices descending in each row."""
    messy = labels.copy()
    for row in range(messy.shape[0]):
        part = slice(messy.indptr[row], messy.indptr[row + 1])
        messy.indices[part] = messy.indices[part][::-1].copy()
    messy.has_sorted_indices = False
    return messy


def vote_oracle(points, labels, queries, k, neighbours):
    points = points / np.linalg.norm(points, axis=1, keepdims=True)
    queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    rows = []
    for query in queries:
        similarity = points @ query
        near = np.argsort(-similarity)[:neighbours]
        votes = np.zeros(labels.shape[1])
        for point in near:
            votes[labels.indices[labels.indptr[point] : labels.indptr[point + 1]]] += similarity[
                point
            ]
        rows.append([i for i in np.argsort(-votes, kind="stable") if votes[i] > 0][:k])
    return rows


def test_votes_equal_a_plain_loop():
    points, labels = labelled_points()
    points *= np.random.default_rng(4).uniform(0.1, 9, (len(points), 1)).astype(np.float32)
    adapter = NeighbourVotes()
    adapter.build(points, labels)
    queries = labelled_points(seed=5)[0][:25] * 3
    for neighbours in (1, 20):
        found = adapter.search(queries, 40, neighbours=neighbours)
        for row, expected in zip(
            found.ids, vote_oracle(points, labels, queries, 40, neighbours), strict=True
        ):
            assert row[row >= 0].tolist() == expected


def test_votes_pad_and_survive_k_and_neighbours_beyond_the_data():
    points, labels = labelled_points(20)
    adapter = NeighbourVotes()
    adapter.build(points, labels)
    found = adapter.search(points[:3], 50, neighbours=500)
    assert found.ids.shape == (3, 50)
    assert ((found.ids == -1) == np.isneginf(found.scores)).all() and (found.ids == -1).any()
    assert (np.diff(np.where(np.isfinite(found.scores), found.scores, -1), axis=1) <= 0).all()


def test_a_query_of_zeros_and_points_without_labels_are_answered():
    points, labels = labelled_points(50)
    labels[:25] = 0
    labels.eliminate_zeros()
    points[3] = 0
    adapter = NeighbourVotes()
    adapter.build(points, labels)
    found = adapter.search(np.vstack([points[:2], np.zeros((1, 12), np.float32)]), 5)
    assert np.isfinite(found.scores[found.ids >= 0]).all()


@pytest.mark.parametrize("method", [NeighbourVotes, OneVsAll])
def test_unsorted_and_duplicated_csr_changes_nothing(method):
    points, labels = labelled_points()
    options = {"epochs": 2} if method is OneVsAll else {}
    expected, messy = method(**options), method(**options)
    expected.build(points, labels)
    messy.build(points, shuffled_rows(labels))
    left, right = expected.search(points[:30], 10), messy.search(points[:30], 10)
    np.testing.assert_array_equal(left.ids, right.ids)
    np.testing.assert_array_equal(left.scores, right.scores)


@pytest.mark.parametrize("method", [NeighbourVotes, OneVsAll])
def test_wrong_input_is_refused(method):
    points, labels = labelled_points(60)
    options = {"epochs": 1} if method is OneVsAll else {}
    with pytest.raises(NotFittedError):
        method(**options).search(points, 3)
    with pytest.raises(InputError, match="60 rows"):
        method(**options).build(points, labels[:10])
    with pytest.raises(InputError, match="sparse matrix"):
        method(**options).build(points, labels.toarray())
    adapter = method(**options)
    adapter.build(points, labels)
    broken = points.copy()
    broken[4, 1] = np.nan
    with pytest.raises(InputError, match="row 4"):
        adapter.search(broken, 3)
    with pytest.raises(InputError, match="NaN"):
        method(**options).build(broken, labels)
    with pytest.raises(InputError, match="not know"):
        adapter.search(points, 3, nprobe=3)
    with pytest.raises(InputError, match="12"):
        adapter.search(points[:, :5], 3)


def test_votes_by_words_equal_those_over_the_same_vectors():
    points, labels = labelled_points(120, dim=20)
    values = np.where(points > 0.15, points, 0)
    values[:, 0] = 0.2  # no row is empty
    idf = np.log(121 / (1 + (values > 0).sum(axis=0))) + 1
    for weights, scaled in (("none", values), ("idf", values * idf)):
        scaled = (scaled / np.linalg.norm(scaled, axis=1, keepdims=True)).astype(np.float32)
        rows = sp.csr_matrix((scaled if weights == "none" else values).astype(np.float32))
        adapter, dense = TfidfNeighbours(weights=weights), NeighbourVotes()
        adapter.build(rows, labels)
        dense.build(scaled, labels)
        parts = adapter.prepare_queries(rows)
        assert 0 < parts.dense.shape[1] < 20  # both ways of storing columns are met
        norms = (parts.dense**2).sum(axis=1) + np.asarray(parts.sparse.power(2).sum(axis=1)).ravel()
        np.testing.assert_allclose(norms, 1.0, rtol=1e-5)
        found = adapter.search(rows[:30], 10, neighbours=7)
        expected = dense.search(scaled[:30], 10, neighbours=7)
        np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-4)
        assert np.mean(found.ids == expected.ids) > 0.95 and adapter.disk_bytes() > 100


def test_hand_written_gradients_equal_autograd():
    generator = torch.Generator().manual_seed(0)
    points, labels = labelled_points(16, 5, 9)
    weights = torch.randn(9, 5, generator=generator, dtype=torch.float32)
    bias = torch.randn(9, generator=generator)
    projection = 0.1 * torch.randn(5, 5, generator=generator)
    step = Step(weights, bias, projection, 20)
    loss = step.gradients(torch.from_numpy(points), labels, with_loss=True)

    leaves = [part.clone().double().requires_grad_() for part in (weights, bias, projection)]
    x = torch.from_numpy(points).double()
    scores = (x + x @ leaves[2].T) @ leaves[0].T + leaves[1]
    target = torch.from_numpy(labels.toarray()).double()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        scores, target, reduction="sum"
    ) / len(points)
    expected.backward()
    assert loss == pytest.approx(float(expected.detach()), rel=1e-5)
    for part, leaf in zip((weights, bias, projection), leaves, strict=True):
        torch.testing.assert_close(part.grad, leaf.grad.float(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("projection", ["none", "residual"])
def test_one_vs_all_learns(projection):
    points, labels = labelled_points(1500)
    start = OneVsAll(epochs=1, learning_rate=1e-9, projection=projection, centroid_scale=0)
    trained = OneVsAll(epochs=15, projection=projection, batch_size=64)
    start.build(points[:1200], labels[:1200])
    trained.build(points[:1200], labels[:1200])

    def precision(adapter):
        best = adapter.search(points[1200:], 1).ids[:, 0]
        return np.asarray(labels[1200:][np.arange(300), best]).mean()

    assert precision(trained) > 0.9 > precision(start)


def test_one_vs_all_is_reproducible_and_reads_memory_mapped_float16(tmp_path):
    points, labels = labelled_points()
    half = points.astype(np.float16)
    np.save(tmp_path / "points.npy", half)
    mapped = np.load(tmp_path / "points.npy", mmap_mode="r")
    answers = []
    for source in (half.astype(np.float32), mapped):
        adapter = OneVsAll(epochs=2)
        adapter.build(source, labels)
        answers.append(adapter.search(points, 10))
    np.testing.assert_array_equal(answers[0].scores, answers[1].scores)
    other = OneVsAll(epochs=2, seed=1)
    other.build(half, labels)
    assert not np.array_equal(other.search(points, 10).scores, answers[0].scores)


def test_labels_without_points_rank_behind():
    """A one-vs-rest whose constant predictors outrank trained ones is a known trap."""
    points, labels = labelled_points()
    wider = sp.csr_matrix((labels.data, labels.indices, labels.indptr), shape=(400, 60))
    adapter = OneVsAll(epochs=10, batch_size=64)
    adapter.build(points, wider)
    assert adapter.search(points, 1).ids.max() < 30


def test_progress_is_told():
    points, labels = labelled_points(100)
    adapter = OneVsAll(epochs=3, batch_size=50)
    told = []
    adapter.progress = lambda done, total, text="": told.append((done / total, text))
    adapter.build(points, labels)
    assert len(told) == 6 and told[-1][0] == 1.0 and "epoch 3 of 3" in told[-1][1]
    assert [share for share, _ in told] == sorted(share for share, _ in told)


def test_disk_bytes():
    points, labels = labelled_points(50)
    adapter = OneVsAll(epochs=1)
    adapter.build(points, labels)
    assert adapter.disk_bytes() == 4 * (30 * 12 + 30 + 12 * 12)
    votes = NeighbourVotes()
    votes.build(points, labels)
    assert votes.disk_bytes() >= 4 * 50 * 12


def test_wrong_options_are_refused():
    with pytest.raises(InputError, match="epochs"):
        OneVsAll(epochs=0)
    with pytest.raises(InputError, match="projection"):
        OneVsAll(projection="linear")
    with pytest.raises(InputError, match="non-empty"):
        OneVsAll().build(np.empty((0, 4), np.float32), sp.csr_matrix((0, 3)))
