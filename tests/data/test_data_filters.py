"""Pairs of point and label that count neither as answers nor as truth; constants of PSP."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import scipy.sparse as sp

from learned_index.comparison.halves import split_queries
from learned_index.comparison.operating import NEIGHBOUR_RECALL
from learned_index.comparison.reference import DEPTH, Reference
from learned_index.data import LabelVocabulary, open_dataset
from learned_index.data.propensities import PUBLISHED, propensity_constants
from learned_index.errors import DataFormatError, InputError
from learned_index.evaluation.evaluate import evaluate
from learned_index.evaluation.truth import filtered_of
from learned_index.metrics import evaluate as metrics_of
from learned_index.metrics import most_of_a_point, without_pairs
from learned_index.types import PAD_ID, SearchResult


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    for split in ("train", "test"):
        (tmp_path / f"{split}_texts.txt").write_text("x\ny\nz\n")
        (tmp_path / f"{split}_labels.txt").write_text("0 1\n1\n2\n")
    return tmp_path


def test_pairs_leave_training_and_truth(folder):
    (folder / "filter_labels_train.txt").write_text("0 1\n2 2\n0 1\n1 0\n")
    opened = open_dataset(folder)
    train, test = opened.read("train"), opened.read("test")
    assert train.labels.toarray().tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert train.filtered.toarray().tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
    assert test.filtered is None and test.labels.nnz == 4 and opened.ignored == ()
    some = train.subset(np.array([2, 0]))
    assert some.filtered.toarray().tolist() == [[0, 0, 1], [0, 1, 0]]


@pytest.mark.parametrize("line", ["0", "0 1 2", "a b", "3 0", "0 3", "-1 0", f"{10**30} 0"])
def test_a_line_that_is_no_pair(folder, line):
    (folder / "filter_labels_test.txt").write_text(f"0 0\n\n{line}\n")
    with pytest.raises(DataFormatError, match=r"filter_labels_test\.txt:3: "):
        open_dataset(folder).read("test")


def plain_without(ids, scores, pairs):
    """One row after the other."""
    for row_ids, row_scores, row_pairs in zip(ids, scores, pairs, strict=True):
        kept = [
            (i, s) for i, s in zip(row_ids, row_scores, strict=True) if i < 0 or not row_pairs[i]
        ]
        yield kept + [(PAD_ID, -np.inf)] * (len(row_ids) - len(kept))


def test_answers_move_up():
    rng = np.random.default_rng(0)
    pairs = rng.random((50, 12)) < 0.3
    ids = np.argsort(rng.random((50, 12)), axis=1)[:, :7]
    ids[::3, 5:] = PAD_ID
    scores = -np.sort(-rng.random((50, 7)).astype(np.float32), axis=1)
    scores[ids == PAD_ID] = -np.inf
    found = without_pairs(SearchResult(ids, scores), sp.csr_matrix(pairs.astype(np.float32)))
    expected = np.array(list(plain_without(ids, scores, pairs)))
    np.testing.assert_array_equal(found.ids, expected[:, :, 0])
    np.testing.assert_array_equal(found.scores, expected[:, :, 1].astype(np.float32))
    assert most_of_a_point(sp.csr_matrix(pairs)) == pairs.sum(axis=1).max()


class Model(SimpleNamespace):
    """As much of a model as is measured: it answers the labels in the order of their ids."""

    def search(self, points, k, *, vectors=None, **query):
        self.asked = k
        ids = np.tile(np.arange(k), (len(points), 1))
        ids[:, len(self.vocabulary) :] = PAD_ID
        return SearchResult(ids, np.where(ids < 0, -np.inf, 1 / (2 + ids)).astype(np.float32))

    def merged(self, labels):
        return labels


def model(keys):
    return Model(
        vocabulary=LabelVocabulary(keys), calibrator_=None, n_points=9,
        label_counts=np.array([4, 3, 2]),
    )  # fmt: skip


def test_a_model_is_measured_without_the_pairs(folder):
    # The model numbers the labels c, a, b; its answers are these, in this order.
    asked = model(["c", "a", "b"])
    whole = evaluate(asked, open_dataset(folder).read("test"))
    assert asked.asked == 100 and "n_filtered" not in whole
    (folder / "filter_labels_test.txt").write_text("0 2\n1 2\n2 0\n2 1\n")
    test = open_dataset(folder).read("test")
    assert filtered_of(asked, test).toarray().tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 1]]
    found = evaluate(asked, test)
    assert asked.asked == 102 and found["n_filtered"] == 4
    # First answers: a (right), a (wrong), c (right); before c (wrong, wrong, right).
    assert found["P@1"] == pytest.approx(200 / 3) and whole["P@1"] == pytest.approx(100 / 3)


def test_constants_change_psp_alone(folder):
    test = open_dataset(folder).read("test")
    plain, other = (
        evaluate(model(["a", "c", "b"]), test, propensity=p) for p in ((0.55, 1.5), (2, 9))
    )
    psp = {"PSP@1", "PSP@3", "PSP@5"}
    changed = {name for name in plain if plain[name] != other[name]} - {"by_frequency"}
    assert changed and changed <= psp
    for band, values in plain["by_frequency"].items():
        assert all(other["by_frequency"][band][n] == values[n] for n in values.keys() - psp)


def test_a_comparison_is_measured_without_the_pairs():
    rng = np.random.default_rng(1)
    items, queries = rng.normal(size=(130, 4)), rng.normal(size=(6, 4))
    truth = sp.csr_matrix((rng.random((6, 130)) < 0.1).astype(np.float32))
    order = np.argsort(-(queries @ items.T), axis=1)
    pairs = np.zeros((6, 130), np.float32)
    pairs[np.arange(6), order[:, 0]] = 1
    pairs[0, order[0, 1]] = 1
    truth = truth - truth.multiply(pairs)
    arrays = {"items": items.astype(np.float32), "lifted": queries.astype(np.float32)}
    workspace = SimpleNamespace(load=arrays.__getitem__)
    halves = split_queries(6, seed=0)
    reference = Reference(workspace, truth, np.ones(130), halves, sp.csr_matrix(pairs))
    assert reference.k == DEPTH + 2
    kept = [[i for i in row if not p[i]][:DEPTH] for row, p in zip(order, pairs, strict=True)]
    expected = metrics_of(np.array(kept), truth, propensities=np.ones(130))
    measured = reference.measured(order[:, : reference.k], neighbours=True)
    assert reference.metrics == measured
    assert {name: measured[name] for name in expected} == pytest.approx(expected)
    assert measured[NEIGHBOUR_RECALL] == 100.0
    rows = halves["choosing"]
    half = metrics_of(np.array(kept)[rows], truth[rows], propensities=np.ones(130))
    assert measured["R@100/choosing"] == pytest.approx(half["R@100"])


def test_constants_by_name_or_number():
    assert (
        propensity_constants("0.5, 0.4") == propensity_constants("lf_wikipedia-500k") == (0.5, 0.4)
    )
    assert propensity_constants("LF-AmazonTitles-131K") == (0.6, 2.6)
    assert PUBLISHED["AmazonCat-13K"] == PUBLISHED["EURLex-4K"] == (0.55, 1.5)
    for wrong in ("", "1", "0,1", "1,-1", "a,b", "nan,1", "inf,1", "1,2,3", "Amazon"):
        with pytest.raises(InputError, match="expected A,B"):
            propensity_constants(wrong)
